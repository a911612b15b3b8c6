"""The energy of Spiking Vocos as its paper reckons it: equations 15 and 16, table 3."""

from collections.abc import Sequence
from typing import NamedTuple

from imlspike.analysis.energy import Costs


class VocoderEnergy(NamedTuple):
    """Energy in pJ. The paper's figure is `blocks` alone.

    Attributes:
        blocks: the convolutions of the ConvNeXt blocks.
        embedding: the first convolution, from mel bands to channels.
        head: the linear map to magnitudes and phases.
    """

    blocks: float
    embedding: float
    head: float

    @property
    def model(self) -> float:
        """All three."""
        return self.blocks + self.embedding + self.head


def spiking_vocos_energy(
    frames: int = 1000,
    rate: float | Sequence[float] | None = None,
    steps: int = 4,
    dim: int = 512,
    intermediate_dim: int = 1536,
    num_layers: int = 8,
    n_mels: int = 100,
    n_fft: int = 1024,
    kernel: int = 7,
    costs: Costs = Costs(),  # noqa: B008
) -> VocoderEnergy:
    r"""Energy of Vocos or Spiking Vocos by the paper's equations, in pJ.

    .. math::
        E_\mathrm{dwConv} = K_d C L T E_\mathrm{MAC}, \qquad
        E_\mathrm{pwConv} = C_\mathrm{in} C_\mathrm{out} L T r E_\mathrm{AC}

    Table 3 leaves out the embedding and the head, which cost the same in both networks: with them the final
    model takes 20.2 % of the ANN's energy, not 14.7 %. The equations also leave out the neurons themselves,
    norms, GELU, the amplitude shortcut, the temporal shift and the inverse Fourier transform; the figure
    "full" of `imlspike profile` counts them.

    Args:
        frames: L.
        rate: r, share of the time steps in which a neuron fires: of all layers (their mean, which is exact,
            for all pointwise convolutions have as many connections), or of each neuron layer. None: the ANN,
            whose pointwise convolutions take MACs, once.
        steps: T; plays no part for the ANN.
        dim, intermediate_dim, num_layers, n_mels, n_fft, kernel: sizes of the model.
        costs: of a MAC and of an accumulate.

    Raises:
        ValueError: a rate outside 0 to 1, or as many rates as the model has no layers.

    >>> ann, final = spiking_vocos_energy(), spiking_vocos_energy(rate=0.176)
    >>> f"{ann.blocks:.3g} {final.blocks:.3g}"
    '5.8e+10 8.5e+09'
    >>> round(100 * final.blocks / ann.blocks, 2), round(100 * final.model / ann.model, 1)
    (14.65, 20.2)
    """
    pointwise = 2 * num_layers * dim * intermediate_dim * frames
    depthwise = num_layers * kernel * dim * frames * costs.mac
    if rate is None:
        blocks = depthwise + pointwise * costs.mac
    else:
        rates = [rate] if isinstance(rate, int | float) else list(rate)
        if len(rates) not in (1, 2 * num_layers):
            raise ValueError(
                f"{len(rates)} rates for {2 * num_layers} neuron layers; give each its own, or one"
            )
        if not all(0 <= r <= 1 for r in rates):
            raise ValueError(f"a firing rate is a share of the time steps, 0 to 1, not {rate}")
        blocks = steps * (depthwise + pointwise * sum(rates) / len(rates) * costs.accumulate)
    embedding = kernel * n_mels * dim * frames * costs.mac
    return VocoderEnergy(blocks, embedding, dim * (n_fft + 2) * frames * costs.mac)
