"""Vocoder: a trained Spiking Vocos, or its ANN twin, in use: mel spectrograms and recordings to sound."""

import os
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import chain

import numpy as np
import torch
from torch import Tensor

from imlspike.data.audio import resample_blocks
from imlspike.data.keys import MOST_SECONDS, check_number, construct
from imlspike.data.level import gain_to, speech_power
from imlspike.data.mel import MEL_KEYS
from imlspike.inference.bundle import Bundle, names_damage
from imlspike.inference.common import as_float, windows
from imlspike.layers.rounding import round_weights
from imlspike.models import SpikingVocos


class Vocoder:
    """A trained vocoder: mel spectrograms or waveforms to waveforms. `from_pretrained` makes one.

    What is longer than `chunk_seconds` is worked off in chunks that overlap by what the network sees around a
    frame: the result is that of the whole, and memory doesn't grow. (Up to rounding: it can, rarely, move a
    spike of a spiking model, as another number of threads can.)

    Args:
        model: a `imlspike.models.SpikingVocos`; it is switched to evaluation.
        chunk_seconds: audio that is computed at once; None: all of it.
        name: of the model, for messages.
        level: dB, level of the speech it was trained on. A waveform is brought to it, and its output back, so
            that its own level changes nothing; None: waveforms are taken as they are.

    Attributes:
        sampling_rate: of the audio, in Hz; `hop_length`: samples in a frame; `n_mels`: channels of a mel.
        chunk_frames: frames in a chunk; None where all is computed at once.

    All methods raise ValueError for a mel or a waveform of another shape, type or number of mels, and for NaN
    or infinity in it; FloatingPointError if the audio isn't finite.

    >>> from imlspike.models import SpikingVocos
    >>> vocoder = Vocoder(SpikingVocos(dim=8, intermediate_dim=16, num_layers=1))
    >>> vocoder.decode(torch.zeros(100, 11)).shape  # 10 hops of 256 samples
    torch.Size([2560])
    >>> vocoder.vocode(np.zeros(1000, dtype=np.int16), sampling_rate=8000).shape
    torch.Size([3000])
    """

    def __init__(
        self,
        model: torch.nn.Module,
        chunk_seconds: float | None = 10.0,
        name: str = "unnamed",
        level: float | None = None,
    ):
        if chunk_seconds is not None:
            check_number("chunk_seconds", chunk_seconds, 0.001, MOST_SECONDS)
        self.model, self.name, self.level = model.eval(), name, level
        self._parameter = next(model.parameters())  # of the model's dtype and on its device
        self.sampling_rate: int = model.config["sampling_rate"]
        self.hop_length: int = model.config["hop_length"]
        self.n_mels: int = model.config["n_mels"]
        self._half_window: int = model.config["n_fft"] // 2
        self.chunk_frames: int | None = None
        if chunk_seconds is not None:
            self.chunk_frames = max(1, round(chunk_seconds * self.sampling_rate / self.hop_length))

    @classmethod
    def from_pretrained(
        cls,
        path: str | os.PathLike,
        device: str = "cpu",
        chunk_seconds: float | None = 10.0,
        cache_dir: str | os.PathLike | None = None,
        weight_bits: int | None = None,
    ) -> "Vocoder":
        """Open what `imlspike train-vocoder` trained; arguments as for `Bundle.load` and the class.

        Raises:
            ConfigError: if there is no such vocoder or its files are damaged or of another version.
        """
        bundle = Bundle.load(path, "vocoder", device, cache_dir=cache_dir, weight_bits=weight_bits)
        return cls(spiking_vocos(bundle), chunk_seconds, os.fspath(path), bundle.config.get("level"))

    def decode(
        self, mel: np.ndarray | Tensor, sampling_rate: int | None = None, hop_length: int | None = None
    ) -> Tensor:
        """The audio of a mel spectrogram.

        Args:
            mel: log-mel as `features` computes it, (n_mels, L) or (B, n_mels, L), floats.
            sampling_rate, hop_length: those of the mel, where they are known; others than the model's are
                refused.

        Returns:
            ((L - 1) * hop_length,) or (B, (L - 1) * hop_length), full scale at 1, on the mel's device.

        Raises:
            TypeError: for what is no array of numbers.
        """
        for key, given in (("sampling_rate", sampling_rate), ("hop_length", hop_length)):
            if given not in (None, own := getattr(self, key)):
                told = f"the mel spectrogram has {key} {given}, but {self.name} was trained with {own}"
                raise ValueError(f"{told}; compute it as Vocoder.features does, or take another vocoder")
        mel = self._checked(mel, "the mel spectrogram")
        if mel.shape[-1] == 0:
            raise ValueError("the mel spectrogram holds no frame; expected at least 1")
        return torch.cat(list(self._decode([mel])), dim=-1)

    def features(self, audio: np.ndarray | Tensor, sampling_rate: int | None = None) -> Tensor:
        """The log-mel spectrogram that the model expects of a waveform.

        Args:
            audio: (S,), floats with full scale at 1, int8, int16 or int32; longer than half a window of the
                spectrum.
            sampling_rate: of the audio, in Hz, where it isn't the model's: it is resampled.

        Returns:
            (n_mels, L), L = S // hop_length + 1 (S after resampling).
        """
        blocks = list(self._resampled([audio], sampling_rate))
        samples = sum(map(len, blocks))
        if samples <= self._half_window:
            raise ValueError(
                f"the waveform holds {samples} samples at {self.sampling_rate} Hz; "
                f"features need more than {self._half_window}: append zeros"
            )
        return torch.cat(list(self._features(blocks)), dim=-1)

    def vocode(self, audio: np.ndarray | Tensor, sampling_rate: int | None = None) -> Tensor:
        """Copy-synthesis: a waveform of any length through its mel spectrogram and back.

        Args:
            audio, sampling_rate: as for `features`.

        Returns:
            (S,), as long as the audio at the model's sampling rate. Where that isn't a multiple of
            `hop_length`, silence is appended to the audio for the computation.
        """
        gain = self.gain([audio], sampling_rate)
        return torch.cat([torch.zeros(0), *self._vocode(self._resampled([audio], sampling_rate), gain)])

    def gain(self, blocks: Iterable[np.ndarray | Tensor], sampling_rate: int | None = None) -> float:
        """The factor that brings a waveform, in blocks (s,), to the level of the training's speech."""
        if self.level is None:
            return 1.0
        resampled = (block.numpy() for block in self._resampled(blocks, sampling_rate))
        power = speech_power(resampled, self.sampling_rate)
        return float(gain_to(self.level, power)) if power > 0 else 1.0

    def stream(
        self,
        blocks: Iterable[np.ndarray | Tensor],
        sampling_rate: int | None = None,
        gain: float = 1.0,
    ) -> Iterator[Tensor]:
        """Yield audio as it gets ready: joined, what `decode` or `vocode` gives for the joined blocks.

        A chunk is put out once it is complete and what the network sees behind it has come; the smaller
        `chunk_seconds`, the sooner, and the more is computed twice.

        Args:
            blocks: of any lengths: parts of one mel spectrogram, (n_mels, l) or (B, n_mels, l), as for
                `decode`; or of one waveform, (s,), as for `vocode`.
            sampling_rate: of a waveform, in Hz.
            gain: of a waveform before the computation, undone behind it; what `gain` gives for the whole.
        """
        blocks = iter(blocks)
        for first in blocks:
            blocks = chain([first], blocks)
            if np.ndim(first) == 1:
                yield from self._vocode(self._resampled(blocks, sampling_rate), gain)
                return
            named = ((block, f"block {number} of the mel") for number, block in enumerate(blocks))
            yield from self._decode(self._checked(*both) for both in named)

    def _decode(self, mels: Iterable[Tensor]) -> Iterator[Tensor]:
        """Blocks of a mel, checked, to blocks of audio."""
        hop, device, done = self.hop_length, self._parameter.device, 0
        for window, first, last in windows(mels, self.chunk_frames, self.model.context):
            batch = window if window.dim() == 3 else window[None]
            audio = window.new_zeros(len(batch), 0)
            if window.shape[-1] > 1:  # one frame alone is the middle of no samples
                with torch.no_grad():
                    audio = self.model(batch.to(device)).to(window.device)
            audio = audio[:, first * hop : last and last * hop]
            if not audio.isfinite().all():
                raise FloatingPointError(
                    f"the vocoder's output isn't finite after {done / self.sampling_rate:.1f} s; "
                    "train it with a smaller learning rate, or look at what it was given there"
                )
            done += audio.shape[-1]
            yield audio if window.dim() == 3 else audio[0]

    def _features(self, audio: Iterable[Tensor]) -> Iterator[Tensor]:
        """Blocks of audio (s,) at the model's rate to blocks of its log-mel (n_mels, l)."""
        hop = self.hop_length
        chunk = self.chunk_frames and self.chunk_frames * hop
        for window, first, last in windows(audio, chunk, (self._half_window // hop + 1) * hop):
            with torch.no_grad():
                mel = self.model.features(window[None].to(self._parameter)).to(window.device)[0]
            yield mel[:, first // hop : last and last // hop]

    def _vocode(self, audio: Iterable[Tensor], gain: float) -> Iterator[Tensor]:
        """Blocks of audio (s,) at the model's rate to blocks of audio, in all as long, and as loud."""
        hop, samples, done = self.hop_length, 0, 0

        def padded() -> Iterator[Tensor]:
            nonlocal samples
            for block in audio:
                samples += len(block)
                yield block * gain
            if samples:
                hops = -(-max(samples, self._half_window + 1) // hop)
                yield torch.zeros(hops * hop - samples)

        for block in self._decode(self._features(padded())):
            block = block[: samples - done]  # what is put out was read before; the padding comes last
            done += len(block)
            yield block / gain

    def _resampled(self, blocks: Iterable, sampling_rate: int | None) -> Iterator[Tensor]:
        """Blocks of a waveform as floats at the model's sampling rate."""
        floats = (as_float(block, "the waveform") for block in blocks)
        from_rate = self.sampling_rate if sampling_rate is None else sampling_rate
        return map(torch.from_numpy, resample_blocks(floats, from_rate, self.sampling_rate))

    def _checked(self, mel, what: str) -> Tensor:
        """A mel spectrogram in the model's dtype."""
        mel = mel if isinstance(mel, Tensor) else torch.tensor(np.asarray(mel))
        if mel.dim() not in (2, 3) or mel.shape[-2] != self.n_mels:
            turned = mel.dim() in (2, 3) and mel.shape[-1] == self.n_mels
            raise ValueError(
                f"{what} has shape {tuple(mel.shape)}; {self.name} takes ({self.n_mels}, frames) of "
                f"{self.sampling_rate} Hz with hop {self.hop_length}{': transpose it' if turned else ''}"
            )
        if not mel.is_floating_point():
            raise ValueError(f"{what} is of type {mel.dtype}; expected floats")
        finite = mel.isfinite().flatten(0, -2).all(dim=0)
        if not finite.all():
            raise ValueError(f"{what}: NaN or infinity in frame {int(finite.int().argmin())}")
        return mel.detach().to(self._parameter.dtype)


@names_damage
def spiking_vocos(bundle: Bundle) -> SpikingVocos:
    """The model of a vocoder's bundle, on its device; ConfigError for unknown arguments or other weights."""
    arguments = bundle.config["features"] | bundle.config["model"]
    model = bundle.fill(partial(construct, SpikingVocos, arguments, bundle.where("model")))
    return round_weights(model, bundle.weight_bits)


def vocoder_bundle(
    model: SpikingVocos, name: str, origin: dict | None = None, level: float | None = None
) -> Bundle:
    """The bundle of a vocoder; `origin` as `Bundle` has it, `level` as `Vocoder` has it."""
    sections = {"features": {key: model.config[key] for key in MEL_KEYS}}
    sections["model"] = {key: value for key, value in model.config.items() if key not in MEL_KEYS}
    sections |= {} if level is None else {"level": level}
    return Bundle("vocoder", name, sections, model.state_dict(), origin=origin or {})
