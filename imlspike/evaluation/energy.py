"""Energy from operation counts: three figures that only mean something together.

paper   what the papers count: linear maps and convolutions. MACs on real-valued input at the price of a MAC,
        accumulates at that of an addition.
full    everything that runs: also attention products, neuron updates, threshold statistics, scalings, decay
        masks, norms that are not folded, softmax, residuals, biases and activation functions.
int8    the same network as an ANN with 8-bit weights and activations: all matrix products and convolutions
        dense, its other operations (not the neurons', not the scalings) at the full price. Taken from the ANN
        twin it is the **bit-matched baseline**, which a spiking network has to beat in its full figure.

Left out everywhere: memory traffic, which dominates on real hardware, and the front end (audio to features).
So these figures compare networks; they don't predict a battery's life.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple

from imlspike.evaluation.operations import AMOUNTS, Operations

FIGURES = ("paper", "full", "int8")
MEANING = {
    "paper": "paper accounting (linear maps and convolutions)",
    "full": "full accounting (everything that runs)",
    "int8": "dense int8 network of the same shape",
}
# Projections of the encoder's output inside a decoder: computed once, whatever the beam. First the names of
# ESPnet's decoder, then those of `IMLSpikeformerDecoder`.
_ONCE_PER_UTTERANCE = (
    *(".src_attn.linear_k", ".src_attn.linear_v"),
    *(".src_attn.k", ".src_attn.v", ".src_attn.k_neuron", ".src_attn.v_neuron", ".memory_neuron"),
)


@dataclass(frozen=True)
class Costs:
    """Energy of one operation in pJ at 45 nm (Horowitz, "Computing's energy problem", ISSCC 2014, 1.1.9).

    >>> Costs().multiplication
    3.7
    """

    mac: float = 4.6  # 32-bit floating-point multiplication (3.7) and addition (0.9)
    accumulate: float = 0.9  # also the price of an addition or comparison elsewhere
    int8_mac: float = 0.23  # multiplication (0.2), addition (0.03); with a 32-bit accumulator it is 0.3

    @property
    def multiplication(self) -> float:
        """A MAC without its addition."""
        return round(self.mac - self.accumulate, 9)


HOROWITZ = Costs()


def energy(rows: Iterable[Operations], costs: Costs = HOROWITZ) -> dict[str, float]:
    """The three figures, in pJ, of the operations that `OperationCounter` counted.

    >>> weights = Operations("w", "weights", accumulates=10, dense_macs=100)
    >>> neuron = Operations("n", "neuron", additions=5)
    >>> energy([weights, neuron])
    {'paper': 9.0, 'full': 13.5, 'int8': 23.0}
    """
    figures = dict.fromkeys(FIGURES, 0.0)
    for row in rows:
        products = costs.mac * row.macs + costs.accumulate * row.accumulates
        others = costs.accumulate * row.additions + costs.multiplication * row.multiplications
        figures["full"] += products + others
        if row.kind == "weights":
            figures["paper"] += products
        if row.kind in ("weights", "product"):
            figures["int8"] += costs.int8_mac * row.dense_macs
        elif row.kind == "elementwise":
            figures["int8"] += others
    return figures


def for_beam(rows: Iterable[Operations], beam: int) -> list[Operations]:
    """A decoder's operations for `beam` hypotheses, from those for one; keys and values are kept.

    >>> rows = Operations("d.ff", "weights", 2), Operations("d.src_attn.linear_k", "weights", 2)
    >>> [row.macs for row in for_beam(rows, 5)]
    [10, 2]
    """
    return [row if row.name.endswith(_ONCE_PER_UTTERANCE) else row.times(beam) for row in rows]


def summarize(
    parts: dict[str, list[Operations]], seconds: float, costs: Costs = HOROWITZ, scope: str = "encoder"
) -> dict:
    """Energies and operations per second of audio, ready to be JSON.

    Args:
        parts: name ("encoder", "ctc", "decoder"; "backbone", "head") to operations over all the audio.
        seconds: length of that audio.
        scope: the part that stands beside the whole model, one of `parts`.

    Returns:
        ``{"scope": scope, scope: ..., "model": ..., "parts": {name: ...}, ...}``, of each `scope_of`.
    """
    scopes = {name: scope_of(rows, seconds, costs) for name, rows in parts.items()}
    return {
        "unit": "microjoules per second of audio",
        "figures": MEANING,
        "costs_pj": asdict(costs) | {"multiplication": costs.multiplication},
        "seconds": seconds,
        "scope": scope,
        scope: scopes[scope],
        "model": scope_of([row for rows in parts.values() for row in rows], seconds, costs),
        "parts": scopes,
    }


def scope_of(rows: Sequence[Operations], seconds: float, costs: Costs = HOROWITZ) -> dict:
    """The three figures in microjoules per second of audio, and the operations per second."""
    figures = {name: pj / seconds * 1e-6 for name, pj in energy(rows, costs).items()}
    amounts = {amount: sum(getattr(row, amount) for row in rows) / seconds for amount in AMOUNTS}
    return figures | {"operations_per_second": amounts}


def times(above: float, below: float) -> float:
    """Quotient of two energies; infinite for a network that takes nothing (no spike)."""
    return above / below if below else float("inf")


def verdict(spiking: dict, twin: dict) -> str:
    """One sentence that compares a scope of a spiking model with the same scope of its ANN twin.

    >>> print(verdict({"paper": 1, "full": 2, "int8": 1}, {"paper": 5, "full": 5.5, "int8": 0.5}))
    5.00 times less than the ANN (paper), 2.75 times less (full); LOSES to int8: 4.00 times its energy
    """
    saved = [times(twin[figure], spiking[figure]) for figure in ("paper", "full")]
    paper, full = (f"{one:.2f} times less" if one >= 1 else f"{1 / one:.2f} times MORE" for one in saved)
    against = times(spiking["full"], twin["int8"])
    loses = f"LOSES to int8: {against:.2f} times its energy"
    return f"{paper} than the ANN (paper), {full} (full); " + (
        loses if against > 1 else f"{times(1, against):.2f} times less than int8"
    )


class VocoderEnergy(NamedTuple):
    """Energy in pJ of the convolutions of the ConvNeXt blocks, which alone is the paper's figure, of the
    embedding (the first convolution, from mel bands to channels) and the head (to magnitudes and phases)."""

    blocks: float
    embedding: float
    head: float

    @property
    def model(self) -> float:
        """All three."""
        return sum(self)


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
    costs: Costs = HOROWITZ,
) -> VocoderEnergy:
    r"""Energy of Vocos or Spiking Vocos by the paper's equations 15 and 16, in pJ.

    .. math::
        E_\mathrm{dwConv} = K_d C L T E_\mathrm{MAC}, \qquad
        E_\mathrm{pwConv} = C_\mathrm{in} C_\mathrm{out} L T r E_\mathrm{AC}

    The paper's table 3 leaves out the embedding and the head, which cost the same in both networks; the
    equations leave out neurons, norms, GELU, shortcut, temporal shift and Fourier transform, which "full"
    counts.

    Args:
        frames: L.
        rate: r, share of the time steps in which a neuron fires, 0 to 1: of all neuron layers (their mean,
            which is exact, for all pointwise convolutions have as many connections), or of each. None: the
            ANN, whose pointwise convolutions take MACs, once.
        steps: T; plays no part for the ANN.

    Raises:
        ValueError: a rate outside 0 to 1, or as many rates as the model has no layers.

    >>> ann, final = spiking_vocos_energy(), spiking_vocos_energy(rate=0.176)
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
            layers = f"{2 * num_layers} neuron layers"
            raise ValueError(f"{len(rates)} rates for {layers}; give each its own, or one")
        if not all(0 <= r <= 1 for r in rates):
            raise ValueError(f"a firing rate is a share of the time steps, 0 to 1, not {rate}")
        blocks = steps * (depthwise + pointwise * sum(rates) / len(rates) * costs.accumulate)
    embedding = kernel * n_mels * dim * frames * costs.mac
    return VocoderEnergy(blocks, embedding, dim * (n_fft + 2) * frames * costs.mac)
