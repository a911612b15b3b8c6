"""ESPnet's log-mel features of level-normalized speech, with the recordings of the real world in training."""

import math
from collections.abc import Mapping

import torch
from espnet2.asr.frontend.default import DefaultFrontend
from espnet2.asr.specaug.specaug import SpecAug
from torch import Tensor
from torch.nn.functional import pad
from torch.nn.utils.rnn import pad_sequence
from torchaudio.functional import lowpass_biquad, mu_law_decoding, mu_law_encoding
from torchaudio.transforms import Resample

from imlspike.data.keys import unknown_key
from imlspike.layers.level import MOST_GAIN, normalize_level, running_gains, speech_power

TELEPHONE = 8000  # Hz
MOST_PADDING = 2.0  # seconds at either end


class LevelLogMel(DefaultFrontend):
    """`DefaultFrontend` of waveforms brought to one level, and with a floor under the mel bands' power.

    Where `imlspike.inference.recognizer.SpeechFeatures` has `level`, `causal_level` and `floor`, it computes
    the same. An utterance's features depend on no other of its batch, nor on its gain.

    Args:
        level: dB, root mean square of the speech; see `imlspike.layers.level.normalize_level`.
        causal_level: the level is that of the speech so far, as a stream knows it; see
            `imlspike.data.level.RunningLevel`.
        floor: dB, least power of a mel band. Digital silence and the pauses of a good recording look alike.
        augment: in training, kinds of `Augment` and the probability of each; none.
        augment_after: training batches that go before, as they are: CTC learns to align sooner on clean ones.
        fs, n_fft, win_length, hop_length, window, center, normalized, n_mels, fmin, fmax, htk: of
            `DefaultFrontend`.

    Forward: waveforms (B, S), lengths (B,) -> (B, L, F), lengths (B,).
    """

    def __init__(
        self,
        fs: int | str = 16000,
        n_fft: int = 512,
        win_length: int | None = None,
        hop_length: int = 128,
        window: str = "hann",
        center: bool = True,
        normalized: bool = False,
        n_mels: int = 80,
        fmin: int | None = None,
        fmax: int | None = None,
        htk: bool = False,
        level: float = -20.0,
        causal_level: bool = False,
        floor: float = -60.0,
        augment: Mapping[str, float] | None = None,
        augment_after: int = 0,
    ):
        bands = dict(n_mels=n_mels, fmin=fmin, fmax=fmax, htk=htk)
        stft = dict(n_fft=n_fft, win_length=win_length, hop_length=hop_length, window=window)
        super().__init__(fs, **stft, **bands, center=center, normalized=normalized, frontend_conf=None)
        self.sampling_rate, self.level, self.floor = self.logmel.mel_options["sr"], level, floor
        self.causal_level, self.reach = causal_level, n_fft // 2 if center else n_fft
        self.least_samples = n_fft // 2 + 1 if center else n_fft
        self.augment = Augment(self.sampling_rate, **(augment or {}))
        self.starts = After(augment_after)

    def forward(self, input: Tensor, input_lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Features, see the class."""
        waves = [wave[:length].float() for wave, length in zip(input, input_lengths.tolist(), strict=True)]
        if self.training and self.starts():
            waves = [self.augment(wave) for wave in waves]
        features = [self._features(wave) for wave in waves]
        lengths = torch.tensor([len(one) for one in features], device=input.device)
        return pad_sequence(features, batch_first=True), lengths

    def _features(self, wave: Tensor) -> Tensor:
        """(S,) -> (L, F), alone: the transform mirrors a waveform's ends, which padding would hide."""
        if not self.causal_level:
            wave = normalize_level(wave, self.sampling_rate, self.level)
        wave = pad(wave, (0, max(0, self.least_samples - len(wave))))
        # Much louder where the gain comes behind, for ESPnet has a least power of its own.
        louder = MOST_GAIN if self.causal_level else 1.0
        lengths = torch.tensor([len(wave)], device=wave.device)
        features = super().forward(louder * wave[None], lengths)[0][0]
        if self.causal_level:
            ends = self.reach + self.hop_length * torch.arange(len(features), device=wave.device)
            gains = running_gains(wave, self.sampling_rate, self.level, ends)
            features = features + 2 * (gains / louder).log()[:, None]
        return features.clamp(min=self.floor * math.log(10) / 10)


class LateSpecAug(SpecAug):
    """ESPnet's `SpecAug`, of other arguments, that begins after as many training batches (`after`)."""

    def __init__(self, after: int = 0, **conf):
        super().__init__(**conf)
        self.starts = After(after)

    def forward(self, x: Tensor, x_lengths: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Features (B, L, F) and lengths (B,), masked or as they are."""
        return super().forward(x, x_lengths) if self.starts() else (x, x_lengths)


class After(torch.nn.Module):
    """Tells, each time it is called, whether it was called more than `count` times; checkpoints know it.

    Raises:
        ValueError: `count` is no whole number from 0.
    """

    def __init__(self, count: int):
        super().__init__()
        if type(count) is not int or count < 0:
            raise ValueError(f"after is {count!r}; expected how many training batches go before")
        self.count = count
        if count:  # so that checkpoints without it load
            self.register_buffer("calls", torch.zeros((), dtype=torch.long))

    def forward(self) -> bool:
        if self.count:
            self.calls += 1
        return not self.count or int(self.calls) > self.count


class Augment:
    """A waveform as other recorders, lines and rooms would give it; each kind with a probability of its own.

    In this order, with uniformly drawn values:

    Args:
        sampling_rate: Hz.
        padding: 0 to 2 s of silence before and behind, digital or noise at -70 to -40 dB of the speech.
        noise: white or brownish, 10 to 50 dB below the speech.
        telephone: 8 kHz, 8 bit mu-law.
        band: a low-pass filter at 2.5 kHz to 7/16 of the sampling rate.
        gain: -20 to 20 dB, cut off at full scale.

    Forward: (S,) -> (S',), S' > S where it was padded. Random numbers are torch's.

    Raises:
        ValueError: an unknown kind, or a probability outside 0 to 1; the kind is named.
    """

    KINDS = ("padding", "noise", "telephone", "band", "gain")

    def __init__(self, sampling_rate: int, **chances: float):
        self.sampling_rate, self.chances = sampling_rate, chances
        for kind, chance in chances.items():
            if kind not in self.KINDS:
                raise ValueError(f"augment: {unknown_key(kind, self.KINDS)}")
            if not 0 <= chance <= 1:
                raise ValueError(f"augment: {kind} is {chance!r}; expected a probability from 0 to 1")
        self.to_telephone = Resample(sampling_rate, TELEPHONE)
        self.from_telephone = Resample(TELEPHONE, sampling_rate)

    def __call__(self, wave: Tensor) -> Tensor:
        """The waveform changed, see the class."""
        for kind in self.KINDS:
            if torch.rand(()) < self.chances.get(kind, 0):
                wave = getattr(self, kind)(wave)
        return wave

    def padding(self, wave: Tensor) -> Tensor:
        before, behind = (int(uniform(0, MOST_PADDING) * self.sampling_rate) for _ in range(2))
        padded = pad(wave, (before, behind))
        if torch.rand(()) < 0.5:
            return padded
        noise = torch.randn_like(padded) * self._rms(wave) * 10 ** (uniform(-70, -40) / 20)
        noise[before : before + len(wave)] = 0
        return padded + noise

    def noise(self, wave: Tensor) -> Tensor:
        noise = torch.randn_like(wave)
        noise[1:] += uniform(0, 1) * noise[:-1].clone()
        noise *= self._rms(wave) * 10 ** (uniform(-50, -10) / 20) / noise.square().mean().sqrt()
        return wave + noise

    def telephone(self, wave: Tensor) -> Tensor:
        self.to_telephone.to(wave.device), self.from_telephone.to(wave.device)
        narrow = self.to_telephone(wave).clamp(-1, 1)
        return self.from_telephone(mu_law_decoding(mu_law_encoding(narrow, 256), 256))[: len(wave)]

    def band(self, wave: Tensor) -> Tensor:
        return lowpass_biquad(wave, self.sampling_rate, uniform(2500, self.sampling_rate * 7 / 16))

    def gain(self, wave: Tensor) -> Tensor:
        return (wave * 10 ** (uniform(-20, 20) / 20)).clamp(-1, 1)

    def _rms(self, wave: Tensor) -> Tensor:
        return speech_power(wave, self.sampling_rate).sqrt()


def uniform(low: float, high: float) -> float:
    """A number drawn from low to high by torch's generator."""
    return low + (high - low) * torch.rand(()).item()
