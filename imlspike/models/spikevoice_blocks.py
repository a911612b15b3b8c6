"""Parts of SpikeVoice: the block of its encoder and decoder, the PostNet, the read-out over time."""

import torch
from torch import Tensor, nn

from imlspike.layers import Layout, MaskedBatchNorm
from imlspike.layers.over_time import GAIN, StepDropout, blank, over_time
from imlspike.layers.stsa import STSA, SoftmaxAttention
from imlspike.layers.token_conv import NormedConv, TokenConv
from imlspike.models.neuron_choice import NeuronChoice, import_own
from imlspike.models.spikeformer import sinusoids
from imlspike.neurons import NEURONS

ATTENTIONS = ("stsa", "sequential", "ann")


def default_attention(neuron: str) -> str:
    """Attention of a voice of such neurons unless told otherwise; one pass has no time axis to mix.

    >>> [default_attention(neuron) for neuron in ("lif", "imls", "none")]
    ['stsa', 'sequential', 'ann']
    """
    if neuron == "none":
        return "ann"
    import_own(neuron)
    return "stsa" if NEURONS[neuron].stateful else "sequential"


class SpikeVoiceBlock(nn.Module):
    """Attention and feed-forward, each SN -> map -> dropout -> add -> layer norm; as an ANN FastSpeech 2's.

    ``stsa``: temporal, then sequential mixing; ``sequential``: without the temporal half (the paper's
    ablation); ``ann``: softmax attention. The feed-forward is SN -> convolution (-> batch norm) -> SN ->
    linear map; the norm, ours, only in front of spiking neurons, which without it would be silent at first.
    Where neurons fire up to T spikes at once, the last map of each branch starts T times smaller (ours).

    Args:
        channels: C.
        heads: H, divides C.
        hidden: width of the feed-forward.
        kernel: tokens under its convolution, odd.
        attention: one of `ATTENTIONS`.
        dropout: rate on the output of each branch (and on the weights of a softmax).
        neurons: the neurons.

    Forward: x (T, B, N, C), zero at padding, and the `Layout` of its tokens -> the same.

    >>> block = SpikeVoiceBlock(8, 2, 16, 3, "stsa", 0.1, NeuronChoice("lif", steps=4))
    >>> block(torch.randn(4, 2, 5, 8), Layout(torch.tensor([5, 5]), 5)).shape
    torch.Size([4, 2, 5, 8])
    """

    def __init__(
        self,
        channels: int,
        heads: int,
        hidden: int,
        kernel: int,
        attention: str,
        dropout: float,
        neurons: NeuronChoice,
    ):
        super().__init__()
        if attention == "ann":
            mixers = [SoftmaxAttention(channels, heads, dropout, neurons)]
        else:
            axes = ("temporal", "sequential") if attention == "stsa" else ("sequential",)
            mixers = [STSA(channels, heads, axis, neurons) for axis in axes]
        self.mixers = nn.ModuleList(mixers)
        self.norms = nn.ModuleList(layer_norm(channels, neurons) for _ in mixers)
        self.neuron = neurons()
        self.expand = (
            NormedConv(channels, hidden, kernel, GAIN)
            if neurons.spiking
            else TokenConv(channels, hidden, kernel)
        )
        self.hidden_neuron = neurons(nn.ReLU())
        self.project = TokenConv(hidden, channels)
        self.last_norm, self.dropout = layer_norm(channels, neurons), StepDropout(dropout)
        # Counts up to T are T times what binary spikes are: without this, gradients double with each branch.
        for last in [mix.out for mix in mixers] + [self.project]:
            last.weight.data.div_(max(neurons.levels, 1))

    def forward(self, x: Tensor, layout: Layout) -> Tensor:
        for mix, norm in zip(self.mixers, self.norms, strict=True):
            x = blank(norm(x + self.dropout(mix(x, layout))), layout)
        hidden = self.hidden_neuron(self.expand(self.neuron(x), layout))
        return blank(self.last_norm(x + self.dropout(self.project(hidden))), layout)


class SpikeVoiceStack(nn.Module):
    """Positions, time embedding and blocks: the encoder of phonemes, and the decoder of frames.

    Positions are computed, so there is no longest sequence. The time embedding, a vector for each of the T
    steps, starts at zero; where the time axis has length 1 by construction there is none. There is
    no dropout in front of the first block: its neurons would fire on currents that dropout scales up.

    Args:
        blocks: how many.
        channels, heads, hidden, kernel, attention, dropout, neurons: of `SpikeVoiceBlock`.

    Forward: x (T or 1, B, N, C) and the `Layout` of its tokens -> (T, B, N, C), zero at padding.

    >>> stack = SpikeVoiceStack(2, 8, 2, 16, 3, "stsa", 0.1, NeuronChoice("lif", steps=4))
    >>> stack(torch.randn(1, 2, 5, 8), Layout(torch.tensor([5, 4]), 5)).shape
    torch.Size([4, 2, 5, 8])
    """

    def __init__(
        self,
        blocks: int,
        channels: int,
        heads: int,
        hidden: int,
        kernel: int,
        attention: str,
        dropout: float,
        neurons: NeuronChoice,
    ):
        super().__init__()
        self.time = nn.Parameter(torch.zeros(neurons.time, channels)) if neurons.stepwise else None
        arguments = (channels, heads, hidden, kernel, attention, dropout, neurons)
        self.blocks = nn.ModuleList(SpikeVoiceBlock(*arguments) for _ in range(blocks))

    def forward(self, x: Tensor, layout: Layout) -> Tensor:
        x = x + sinusoids(torch.arange(layout.tokens, device=x.device), x.shape[-1]).to(x.dtype)
        if self.time is not None:
            x = x + self.time[:, None, None]
        x = blank(x, layout)
        for block in self.blocks:
            x = block(x, layout)
        return x


class PostNet(nn.Module):
    """A residual for the mel spectrogram from convolutions over time (Tacotron 2, section 2.2), spiking.

    A log-mel lies about -5, far below any threshold, so it is normalised before the first neuron (ours). It
    is the same current at each of the T steps. The last convolution, being linear, works on the mean of the
    spikes over T.

    Args:
        n_mels: M.
        channels: of the convolutions between the first and the last.
        layers: convolutions, at least 2.
        kernel: frames under each, odd.
        dropout: rate behind each neuron but the first, and behind the last convolution. As in Tacotron 2 it
            acts on what fires: larger currents for those that stay would cross thresholds that they don't
            reach in evaluation.
        neurons: the neurons; in an ANN tanh, as in Tacotron 2.

    Forward: mel (B, L, M), zero at padding, and the `Layout` of its frames -> (B, L, M), what to add to it.

    Raises:
        ValueError: fewer than 2 layers.

    >>> net = PostNet(8, 16, 3, 5, 0.5, NeuronChoice("lif", steps=4))
    >>> net(torch.randn(2, 7, 8), Layout(torch.tensor([7, 5]), 7)).shape
    torch.Size([2, 7, 8])
    """

    def __init__(
        self, n_mels: int, channels: int, layers: int, kernel: int, dropout: float, neurons: NeuronChoice
    ):
        super().__init__()
        if layers < 2:
            raise ValueError(f"a PostNet has at least 2 layers, got {layers}")
        widths = [n_mels] + [channels] * (layers - 1) + [n_mels]
        pairs = list(zip(widths[:-1], widths[1:], strict=True))
        self.time, self.last_dropout = neurons.time, nn.Dropout(dropout)
        self.dropout = StepDropout(dropout)
        self.norm = MaskedBatchNorm(n_mels)
        gain = GAIN if neurons.spiking else 1.0
        nn.init.constant_(self.norm.weight, gain)
        first = [neurons()]
        self.neurons = nn.ModuleList(first + [neurons(nn.Tanh()) for _ in pairs[1:]])
        # The last convolution sees means over T, and nothing fires on what it gives.
        gains = [gain] * (layers - 1) + [1.0]
        self.convs = nn.ModuleList(
            NormedConv(*pair, kernel, gain) for pair, gain in zip(pairs, gains, strict=True)
        )

    def forward(self, mel: Tensor, layout: Layout) -> Tensor:
        x = blank(over_time(self.norm, mel[None], layout), layout)
        spikes = self.neurons[0](x.expand(self.time, *(-1,) * 3))
        for neuron, conv in zip(self.neurons[1:], self.convs, strict=False):
            spikes = self.dropout(neuron(blank(conv(spikes, layout), layout)))
        residual = self.convs[-1](read_out(spikes)[None], layout)[0]
        return blank(self.last_dropout(residual), layout)


def read_out(spikes: Tensor) -> Tensor:
    """Mean over T, (T, ...) -> (...).

    A linear map of the mean is the mean of the linear maps, so what is read out is mapped once instead of T
    times. On a chip the map accumulates spike by spike all the same; only the factor 1 / T is left to do.

    >>> read_out(torch.tensor([[1.0, 0.0], [1.0, 1.0]]))
    tensor([1.0000, 0.5000])
    """
    return spikes[0] if len(spikes) == 1 else spikes.mean(0)


def layer_norm(channels: int, neurons: NeuronChoice) -> nn.LayerNorm:
    """A layer norm whose output makes the neurons behind it fire from the start.

    >>> [layer_norm(2, NeuronChoice(kind)).weight.tolist() for kind in ("lif", "none")]
    [[2.0, 2.0], [1.0, 1.0]]
    """
    norm = nn.LayerNorm(channels)
    if neurons.spiking:
        nn.init.constant_(norm.weight, GAIN)
    return norm
