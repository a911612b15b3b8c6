"""A waveform and what several measures need of it: other rates, pitch, mel-cepstra, the path to natural
speech."""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property

import numpy as np
import torch
import torchaudio

RATE = 16000  # Hz; PESQ, ESTOI, CREPE, UTMOS, DNSMOS and speaker embeddings are defined there
F0_RANGE = (60.0, 500.0)  # Hz
UNVOICED, SILENT = 0.21, -60.0  # periodicity, and A-weighted dB, below which a frame is unvoiced (CARGAN)
COEFFICIENTS, BANDS = 24, 40  # of the mel-cepstrum
SPEECH, FLOOR = 1e-5, 1e-8  # power: frames of speech against the loudest one, bands against the strongest
SHIFTS = 100  # frames in a second, of WORLD's analysis


@dataclass(eq=False)
class Sound:
    """A waveform; what is derived from it is computed once.

    Args:
        samples: (S,) float32, full scale at 1.
        sampling_rate: Hz.
        crepe: size of CREPE, "full" or "tiny".
        f0_range: Hz, the lowest and the highest pitch that WORLD looks for.
        durations: (N,) seconds of each symbol, if they are known.
        log_mel: audio (1, S) to the log-mel (1, n_mels, L) that a vocoder reads, if there is one.
        speaker: who speaks, of a natural waveform.
        speakers: speaker to its embedding, (256,) of length 1, from other natural waveforms than this.

    >>> Sound(np.zeros(24000, dtype=np.float32), 24000).at(16000).shape
    (16000,)
    """

    samples: np.ndarray
    sampling_rate: int
    crepe: str = "full"
    f0_range: tuple[float, float] = F0_RANGE
    durations: np.ndarray | None = None
    log_mel: Callable | None = None
    speaker: str = ""
    speakers: Mapping[str, np.ndarray] = field(default_factory=dict)
    _resampled: dict[int, np.ndarray] = field(default_factory=dict)
    _paths: dict["Sound", np.ndarray] = field(default_factory=dict)

    def at(self, rate: int) -> np.ndarray:
        """The samples at another sampling rate."""
        if rate == self.sampling_rate:
            return self.samples
        if rate not in self._resampled:
            wave = torch.from_numpy(self.samples)
            self._resampled[rate] = torchaudio.functional.resample(wave, self.sampling_rate, rate).numpy()
        return self._resampled[rate]

    @cached_property
    def pitch(self) -> tuple[np.ndarray, np.ndarray]:
        """Pitch in Hz (NaN where unvoiced) and periodicity (0 to 1), a frame each 10 ms, as CARGAN (Morrison
        et al. 2022) and Vocos compute them for their figures.

        CREPE with Viterbi decoding between 50 and 550 Hz, frames of 64 ms. Where the A-weighted level is
        under -60 dB, periodicity is 0; where periodicity is under 0.21, a frame is unvoiced.

        Raises:
            ValueError: fewer samples than one frame has.
        """
        import torchcrepe

        samples = self.at(RATE)
        if len(samples) < torchcrepe.WINDOW_SIZE:
            raise ValueError(f"{len(samples)} samples at 16 kHz; pitch needs {torchcrepe.WINDOW_SIZE}")
        audio = torch.from_numpy(np.ascontiguousarray(samples))[None]
        options = dict(hop_length=RATE // 100, fmin=50.0, fmax=550.0, batch_size=64, pad=False)
        state = np.random.get_state()
        np.random.seed(0)  # torchcrepe dithers the pitch: equal pitch of equal audio
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found = torchcrepe.predict(audio, RATE, model=self.crepe, return_periodicity=True, **options)
                level = torchcrepe.loudness.a_weighted(audio, RATE, RATE // 100, pad=False)
        finally:
            np.random.set_state(state)
        pitch, periodicity, level = (x[0].numpy().astype(np.float64) for x in (*found, level))
        periodicity = np.where(level < SILENT, 0.0, periodicity)
        return np.where(periodicity < UNVOICED, np.nan, pitch), periodicity

    @cached_property
    def world(self) -> tuple[np.ndarray, np.ndarray]:
        """F0 (L,) in Hz, 0 where unvoiced, and power (40, L) in mel bands, a frame each 10 ms, by WORLD (DIO,
        StoneMask, CheapTrick)."""
        import pyworld

        wave, rate = np.ascontiguousarray(self.samples, dtype=np.float64), self.sampling_rate
        low, high = self.f0_range
        raw, times = pyworld.dio(wave, rate, f0_floor=low, f0_ceil=high, frame_period=1000 / SHIFTS)
        f0 = pyworld.stonemask(wave, raw, times, rate)
        return f0, mel_powers(pyworld.cheaptrick(wave, f0, times, rate, f0_floor=low).T, rate)

    @cached_property
    def embedding(self) -> np.ndarray:
        """Speaker embedding, (256,) of length 1, by resemblyzer (GE2E, Wan et al. 2018), of what its voice
        activity detector (WebRTC's) takes for speech.

        Raises:
            ValueError: there is none.
        """
        from resemblyzer import preprocess_wav

        samples = self.at(RATE)
        with np.errstate(all="ignore"):  # the level of silence
            speech = preprocess_wav(samples.copy()) if samples.any() else samples[:0]
        if not len(speech):
            raise ValueError("no speech is found in it")
        vector = _speaker_encoder().embed_utterance(speech)
        return vector / np.linalg.norm(vector)

    def path_from(self, natural: "Sound") -> tuple[np.ndarray, np.ndarray]:
        """Frames of WORLD that belong together, (K,) of the natural one and (K,) of this, ascending: the path
        of least distortion, by dynamic time warping of mel-cepstra.

        Raises:
            ValueError: if the natural waveform is digital silence.
        """
        if natural not in self._paths:
            from librosa.sequence import dtw

            if not natural.samples.any():
                raise ValueError("the natural waveform is silence")
            cepstra = [mel_cepstrum(sound.world[1], natural.world[1].max()) for sound in (natural, self)]
            self._paths[natural] = dtw(*cepstra, metric="euclidean")[1][::-1]
        return tuple(self._paths[natural].T)


@cache
def _speaker_encoder():
    from resemblyzer import VoiceEncoder

    return VoiceEncoder("cpu", verbose=False)


def power_spectrum(samples: np.ndarray, rate: int, shift: int) -> np.ndarray:
    """Power of short-time spectra, (F, L): Hann windows of 25 ms, centered on multiples of `shift` samples.

    >>> power_spectrum(np.zeros(1600, dtype=np.float32), 16000, 80).shape
    (257, 21)
    """
    wave, window = torch.from_numpy(samples).double(), torch.hann_window(rate // 40, dtype=torch.float64)
    options = dict(win_length=rate // 40, window=window, pad_mode="constant", return_complex=True)
    return torch.stft(wave, 1 << (rate // 40 - 1).bit_length(), shift, **options).abs().square().numpy()


def mel_powers(spectrum: np.ndarray, rate: int) -> np.ndarray:
    """Power (40, L) in bands of the HTK mel scale from that of F frequencies up to half the rate, (F, L)."""
    return _bands(len(spectrum), rate) @ spectrum


@cache
def _bands(frequencies: int, rate: int) -> np.ndarray:
    return torchaudio.functional.melscale_fbanks(frequencies, 0.0, rate / 2, BANDS, rate).T.double().numpy()


def mel_cepstrum(powers: np.ndarray, strongest: float) -> np.ndarray:
    r"""Mel-cepstrum without c_0, the level: (40, L) -> (24, L).

    .. math:: c_d = \frac{1}{K} \sum_{k=0}^{K-1} \ln P_k \cos \frac{\pi d (k + 1/2)}{K}, \quad K = 40

    Args:
        powers: P.
        strongest: power; what lies more than 80 dB under it is raised to there.
    """
    degrees, centers = np.arange(1, COEFFICIENTS + 1), np.arange(BANDS) + 0.5
    cosines = np.cos(np.pi * degrees[:, None] * centers / BANDS) / BANDS
    return cosines @ np.log(np.maximum(powers, strongest * FLOOR))


def cepstral_distortion(natural: np.ndarray, synthetic: np.ndarray) -> float:
    r"""Mel-cepstral distortion in dB (Kubichek 1993) of powers (40, K) and (40, K), frame by frame.

    .. math:: \frac{10}{\ln 10} \sqrt{2 \sum_{d=1}^{24} (c_d - \hat c_d)^2}

    The mean over the frames in which the natural one speaks: at most 50 dB softer than its loudest. By
    Parseval's theorem it is the root mean square difference, in dB, of the two spectral envelopes on the mel
    scale; the level plays no part. Other envelopes give other values: compare within one table.

    Raises:
        ValueError: the natural one is digital silence.
    """
    level = natural.sum(0)
    if not level.any():
        raise ValueError("the natural waveform is silence")
    speech, strongest = level >= level.max() * SPEECH, natural.max()
    one, other = (mel_cepstrum(powers[:, speech], strongest) for powers in (natural, synthetic))
    return float((10 / np.log(10) * np.sqrt(2 * ((one - other) ** 2).sum(0))).mean())
