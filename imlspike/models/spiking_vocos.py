"""Spiking Vocos: mel spectrogram to waveform (Chen et al., arXiv 2509.13049), and Vocos, its ANN twin."""

from typing import Any, NamedTuple

from torch import Tensor, nn

from imlspike.data.keys import check_choice, construct, constructor_keys
from imlspike.layers.log_mel import LogMel
from imlspike.layers.spiking_convnext import SHORTCUTS, SpikingConvNeXtBlock
from imlspike.layers.temporal_shift import TemporalShift
from imlspike.models.neuron_choice import NeuronChoice
from imlspike.models.vocoder_parts import KERNEL, ISTFTHead, SpikingVocosBackbone

SHIFTS = ("off", "fixed", "learnable")
WHOLE_NUMBERS = "sampling_rate n_fft hop_length n_mels dim intermediate_dim num_layers steps".split()
NUMBERS = {"f_min": False, "f_max": True, "shift_alpha": False, "readout_decay": True, "layer_scale": True}


class VocoderOutput(NamedTuple):
    """A vocoder's output for a mel spectrogram.

    Attributes:
        audio: (B, S).
        log_magnitude: natural logarithm of the magnitudes, capped at log 100, (B, F, L).
        phase: radians, not wrapped, (B, F, L).
        hidden: a tensor (T, B, L, C) for each block, on which it is distilled: its output; with a temporal
            shift, what the block after it reads (of the last block: its output).
    """

    audio: Tensor
    log_magnitude: Tensor
    phase: Tensor
    hidden: tuple[Tensor, ...]


class SpikingVocos(nn.Module):
    r"""Spiking Vocos, and with ``neuron="none"`` Vocos itself: its ANN twin and teacher.

    Three parts that can be replaced: `feature_extractor` (audio to log-mel), `backbone` and `head` (see
    `imlspike.models.vocoder_parts`). The defaults are the paper's model with four steps: 24 kHz,
    13.53 million parameters.

    Args:
        sampling_rate, n_fft, hop_length, n_mels, f_min, f_max: of the features and of the audio that comes
            out, see `LogMel`.
        dim, intermediate_dim: channels of the blocks and inside them.
        num_layers: blocks.
        neuron: ``plif``, ``lif``: T passes of each block on binary spikes. ``imls``: one pass, in which a
            neuron spikes up to `steps` times at once; any other that is registered. ``none``: Vocos; the
            arguments below play no part.
        steps: T.
        neuron_conf: further arguments of `imlspike.neurons.PLIF`, `LIF` or `IMLS`; thresholds of IMLS over a
            whole recording (``channel``, ``layer``) are not offered.
        temporal_shift: ``off``, ``fixed`` or ``learnable``: a `TemporalShift` at the head of each block.
        shift_alpha: its (first) weight.
        amplitude_shortcut: ``abs``, ``signed`` or ``off``, see `SpikingConvNeXtBlock`.
        readout_decay: step t weighs readout_decay ** (T - 1 - t) in the sum over T; None: the mean.
        layer_scale: first weight of a block's branch; None: 1 / num_layers.

    Raises:
        ValueError: on an argument outside its range or choices; the nearest right one is named.

    >>> import torch
    >>> vocoder = SpikingVocos(16000, 512, 128, 40, dim=16, intermediate_dim=32, num_layers=2)
    >>> mel = vocoder.features(torch.randn(1, 1280))
    >>> mel.shape, vocoder(mel).shape
    (torch.Size([1, 40, 11]), torch.Size([1, 1280]))
    """

    def __init__(
        self,
        sampling_rate: int = 24000,
        n_fft: int = 1024,
        hop_length: int = 256,
        n_mels: int = 100,
        f_min: float = 0.0,
        f_max: float | None = None,
        dim: int = 512,
        intermediate_dim: int = 1536,
        num_layers: int = 8,
        neuron: str = "plif",
        steps: int = 4,
        neuron_conf: dict[str, Any] | None = None,
        temporal_shift: str = "off",
        shift_alpha: float = 0.5,
        amplitude_shortcut: str = "abs",
        readout_decay: float | None = 0.9,
        layer_scale: float | None = None,
    ):
        arguments = {key: value for key, value in locals().items() if key in constructor_keys(SpikingVocos)}
        super().__init__()
        self.config: dict[str, Any] = {**arguments, "neuron_conf": dict(neuron_conf or {})}
        _check(self.config)
        self.sampling_rate, self.hop_length, self.n_mels = sampling_rate, hop_length, n_mels
        self.feature_extractor = LogMel(sampling_rate, n_fft, hop_length, n_mels, f_min, f_max)
        layer_scale = 1 / num_layers if layer_scale is None else layer_scale
        neurons = _neurons(self.config)
        shortcut = amplitude_shortcut if neurons.spiking else "off"
        blocks = []
        for _ in range(num_layers):
            shift = None
            if neurons.spiking and temporal_shift != "off":
                shift = TemporalShift(dim, shift_alpha, learnable=temporal_shift == "learnable")
            sizes = (dim, intermediate_dim, neurons, neurons.time)
            blocks.append(SpikingConvNeXtBlock(*sizes, layer_scale, shortcut, shift, KERNEL))
        self.backbone = SpikingVocosBackbone(n_mels, dim, blocks, readout_decay)
        self.head = ISTFTHead(dim, n_fft, hop_length)

    @property
    def context(self) -> int:
        """Frames of mel on each side of i on which samples i hop_length to (i + 1) hop_length - 1 rest."""
        return (1 + self.config["num_layers"]) * (KERNEL // 2) + self.head.overlap

    def features(self, audio: Tensor) -> Tensor:
        """Audio (B, S) at `sampling_rate` -> log-mel (B, n_mels, S // hop_length + 1)."""
        return self.feature_extractor(audio)

    def forward(self, mel: Tensor) -> Tensor:
        """The same as `decode`."""
        return self.decode(mel)

    def decode(self, mel: Tensor, sampling_rate: int | None = None, hop_length: int | None = None) -> Tensor:
        """Log-mel (B, n_mels, L) as from `features` -> audio (B, (L - 1) hop_length).

        Args:
            mel: at least two frames.
            sampling_rate, hop_length: those that the mel was made with, if known.

        Raises:
            ValueError: if the mel has another shape, sampling rate or hop than this model's.
        """
        self.check_mel(mel, sampling_rate, hop_length)
        return self.head(self.backbone(mel)[0])[0]

    def generate(self, mel: Tensor) -> VocoderOutput:
        """Log-mel (B, n_mels, L) -> audio, spectrum and the hidden features on which blocks are distilled."""
        self.check_mel(mel)
        x, hidden = self.backbone(mel, keep_hidden=True)
        return VocoderOutput(*self.head(x), hidden)

    def check_mel(self, mel: Tensor, sampling_rate: int | None = None, hop_length: int | None = None) -> None:
        """Raises ValueError unless `mel` is what this model decodes; arguments as of `decode`."""
        if mel.dim() != 3 or mel.shape[1] != self.n_mels or mel.shape[2] < 2:
            raise ValueError(
                f"expected a log-mel spectrogram (B, {self.n_mels}, L) of at least 2 frames, "
                f"got {tuple(mel.shape)}; make it with this model's features()"
            )
        for name, given in (("sampling_rate", sampling_rate), ("hop_length", hop_length)):
            own = getattr(self, name)
            if given is not None and given != own:
                raise ValueError(
                    f"the mel has {name} {given}, this model {own}; make it with this model's features()"
                )

    @classmethod
    def from_config(cls, config: dict[str, Any], source: str = "generator") -> "SpikingVocos":
        """The model of these arguments; `source` is named in errors.

        Raises:
            ValueError: on an unknown argument (the nearest right one is named), or a value out of range.

        >>> SpikingVocos.from_config({"n_mel": 80})
        Traceback (most recent call last):
        imlspike.data.yaml_file.ConfigError: generator: unknown key 'n_mel'; did you mean 'n_mels'? ...
        """
        return construct(cls, config, source)


def _check(config: dict[str, Any]) -> None:
    for name in WHOLE_NUMBERS:
        if not isinstance(config[name], int) or config[name] < 1:
            raise ValueError(f"{name} must be a whole number of at least 1, not {config[name]!r}")
    for name, may_be_none in NUMBERS.items():
        if not isinstance(config[name], int | float) and not (may_be_none and config[name] is None):
            raise ValueError(f"{name} must be a number{' or null' * may_be_none}, not {config[name]!r}")
    n_fft, hop, rate = config["n_fft"], config["hop_length"], config["sampling_rate"]
    if n_fft % 2 or 2 * hop > n_fft:
        raise ValueError(f"n_fft must be even and at least twice hop_length ({hop}), not {n_fft}")
    top = rate / 2 if config["f_max"] is None else config["f_max"]
    if not 0 <= config["f_min"] < top <= rate / 2:
        raise ValueError(
            f"0 <= f_min < f_max <= half the sampling rate ({rate / 2:g}) must hold; they are "
            f"{config['f_min']:g} and {top:g}"
        )
    check_choice("temporal_shift", config["temporal_shift"], SHIFTS)
    check_choice("amplitude_shortcut", config["amplitude_shortcut"], SHORTCUTS)
    neurons = _neurons(config)
    if neurons.spiking and not neurons.stepwise and config["temporal_shift"] != "off":
        raise ValueError(f"temporal_shift must be off with {neurons.kind}: one pass has no steps to shift")
    decay = config["readout_decay"]
    if decay is not None and not 0 < decay <= 1:
        raise ValueError(f"readout_decay must be above 0 and at most 1, or None for the mean, not {decay}")


def _neurons(config: dict[str, Any]) -> NeuronChoice:
    """Makes the neurons. As in the paper's code the reset has a gradient; IMLS sends theta times counts."""
    defaults = {"amplitude": "theta", "detach_reset": False}
    kind = config["neuron"]
    return NeuronChoice(kind, config["steps"], {} if kind == "none" else config["neuron_conf"], defaults)
