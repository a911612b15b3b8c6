"""The variance adaptor of FastSpeech 2, spiking: durations, pitch and energy of every token."""

import torch
from torch import Tensor, nn

from imlspike.data.controls import Controls
from imlspike.layers import Layout
from imlspike.layers.over_time import StepDropout, blank
from imlspike.layers.token_conv import TokenConv
from imlspike.models.neuron_choice import NeuronChoice
from imlspike.models.spikevoice_blocks import layer_norm, read_out


class VariancePredictor(nn.Module):
    """One number for each token: (SN -> convolution -> layer norm) twice, SN -> linear map.

    Dropout acts on what a neuron fires, not on what it gets: larger currents for those that stay would cross
    thresholds that they don't reach in evaluation. In front of a convolution the others aren't scaled up, so
    that spikes stay whole numbers; the layer norm behind it takes the scale away.

    Args:
        channels: C, also of the convolutions.
        kernel: tokens under a convolution, odd.
        dropout: rate.
        neurons: the neurons; in an ANN ReLU behind the convolutions, as in FastSpeech 2.

    Forward: x (T, B, N, C), zero at padding, and its `Layout` -> (B, N), the mean over T, zero at padding.

    >>> predictor = VariancePredictor(8, 3, 0.5, NeuronChoice("lif", steps=4))
    >>> predictor(torch.randn(4, 2, 5, 8), Layout(torch.tensor([5, 4]), 5)).shape
    torch.Size([2, 5])
    """

    def __init__(self, channels: int, kernel: int, dropout: float, neurons: NeuronChoice):
        super().__init__()
        self.neurons = nn.ModuleList([neurons(), neurons(nn.ReLU()), neurons(nn.ReLU())])
        self.convs = nn.ModuleList(TokenConv(channels, channels, kernel) for _ in range(2))
        self.norms = nn.ModuleList(layer_norm(channels, neurons) for _ in range(2))
        self.dropout, self.last_dropout = StepDropout(dropout, scaled=False), nn.Dropout(dropout)
        self.out = nn.Linear(channels, 1)

    def forward(self, x: Tensor, layout: Layout) -> Tensor:
        first, second, last = self.neurons
        x = blank(self.norms[0](self.convs[0](first(x))), layout)
        x = blank(self.norms[1](self.convs[1](self.dropout(second(x)))), layout)
        value = self.out(self.last_dropout(read_out(last(x))))
        return blank(value, layout).squeeze(-1)


class BinnedEmbedding(nn.Module):
    """A trained vector for each of so many equal bins of a range; what lies beyond falls in the last bin.

    Args:
        low, high: the range.
        bins: how many.
        channels: C.

    Forward: (B, N) -> (B, N, C).

    Raises:
        ValueError: a range that is empty, or fewer than 2 bins.

    >>> embedding = BinnedEmbedding(-1.0, 1.0, 4, 8)
    >>> embedding.bin(torch.tensor([-9.0, -0.3, 0.3, 9.0])).tolist()
    [0, 1, 2, 3]
    """

    def __init__(self, low: float, high: float, bins: int, channels: int):
        super().__init__()
        if not low < high or bins < 2:
            raise ValueError(f"expected a range and at least 2 bins, got {low} to {high} in {bins}")
        self.low, self.high, self.bins = low, high, bins
        self.embedding = nn.Embedding(bins, channels)

    def bin(self, values: Tensor) -> Tensor:
        """The bin of each value: whole numbers from 0 to bins - 1."""
        place = (values - self.low) * (self.bins / (self.high - self.low))
        return place.floor().clamp(0, self.bins - 1).long()

    def forward(self, values: Tensor) -> Tensor:
        return self.embedding(self.bin(values))


class VarianceAdaptor(nn.Module):
    """Predicts log(frames + 1), pitch and energy of each token, and adds the embeddings of the latter two.

    What is embedded is one value for a token, whether given or predicted (the mean over T), and the same at
    all T steps: training and inference do not differ. Pitch and energy are normalised: (log F0 - mean) / std
    and (energy - mean) / std of the training data. `set_statistics` tells the adaptor these means and
    deviations, which the controls need.

    Args:
        channels, kernel, dropout, neurons: of `VariancePredictor`.
        bins: of each embedding.
        pitch_range, energy_range: what the bins cover, in deviations.

    Forward: x (T, B, N, C) and its `Layout`; `pitch`, `energy` (B, N) normalised and `durations` (B, N) whole
    frames, each None to be predicted; `controls` act on predictions only. Returns x with the embeddings
    added, and a dictionary of (B, N): log_durations, pitch, energy (predictions), durations (used).

    >>> adaptor = VarianceAdaptor(8, 3, 0.5, 256, (-4, 4), (-4, 4), NeuronChoice("lif", steps=4))
    >>> x, found = adaptor(torch.randn(4, 2, 5, 8), Layout(torch.tensor([5, 4]), 5))
    >>> x.shape, sorted(found)
    (torch.Size([4, 2, 5, 8]), ['durations', 'energy', 'log_durations', 'pitch'])
    """

    def __init__(
        self,
        channels: int,
        kernel: int,
        dropout: float,
        bins: int,
        pitch_range: tuple[float, float],
        energy_range: tuple[float, float],
        neurons: NeuronChoice,
    ):
        super().__init__()
        arguments = (channels, kernel, dropout, neurons)
        self.duration, self.pitch, self.energy = (VariancePredictor(*arguments) for _ in range(3))
        self.pitch_embedding = BinnedEmbedding(*pitch_range, bins, channels)
        self.energy_embedding = BinnedEmbedding(*energy_range, bins, channels)
        self.register_buffer("statistics", torch.tensor([[0.0, 1.0], [0.0, 1.0]]))

    def set_statistics(self, pitch: tuple[float, float], energy: tuple[float, float]) -> None:
        """Mean and deviation of log F0 and of the energy in the training data; saved with the weights.

        Raises:
            ValueError: a deviation that isn't positive.
        """
        if min(pitch[1], energy[1]) <= 0:
            raise ValueError(f"deviations must be positive, got {pitch[1]} (pitch) and {energy[1]} (energy)")
        self.statistics.copy_(torch.tensor([pitch, energy]))

    def forward(
        self,
        x: Tensor,
        layout: Layout,
        durations: Tensor | None = None,
        pitch: Tensor | None = None,
        energy: Tensor | None = None,
        controls: Controls | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        controls = controls or Controls()
        found = {"log_durations": self.duration(x, layout), "pitch": self.pitch(x, layout)}
        if pitch is None:
            deviation = self.statistics[0, 1]
            pitch = found["pitch"] + torch.as_tensor(controls.pitch).to(deviation).log() / deviation
        x = x + self.pitch_embedding(pitch)
        found["energy"] = self.energy(blank(x, layout), layout)
        if energy is None:
            mean, deviation = self.statistics[1]
            energy = found["energy"] * controls.energy + (controls.energy - 1) * mean / deviation
        x = blank(x + self.energy_embedding(energy), layout)
        if durations is None:
            durations = self.frames(found["log_durations"], layout, controls.speed)
        return x, found | {"durations": durations}

    @staticmethod
    def frames(log_durations: Tensor, layout: Layout, speed: float = 1.0) -> Tensor:
        """Whole frames from log(frames + 1): at least one for every token, none at padding.

        >>> layout = Layout(torch.tensor([2]), 3)
        >>> VarianceAdaptor.frames(torch.tensor([[1.8, -3.0, 9.0]]), layout).tolist()
        [[5, 1, 0]]
        """
        frames = (log_durations.detach().expm1() / speed).round().clamp(min=1).long()
        return frames if layout.mask is None else frames * layout.mask
