"""What a voice keeps of natural speech of the same sentence: a function a measure, on two `Speech` es.

The two need not be in step: frames of 10 ms are matched by dynamic time warping of their mel-cepstra, and
measures of spectrum and pitch are taken along that path. Libraries are imported where they are used.
"""

import functools
import importlib.util
from functools import cached_property
from pathlib import Path
from weakref import WeakKeyDictionary

import numpy as np
import torch

from imlspike.analysis import vocoder_measures
from imlspike.analysis.cepstrum import distortion, mel_cepstrum, mel_powers, power_spectrum, speech_frames
from imlspike.analysis.vocoder_measures import RATE, Measure, Sound

SHIFTS = 100  # frames in a second
F0_RANGE = (60.0, 500.0)  # Hz
NISQA_WEIGHTS = Path("~/.torchmetrics/NISQA/nisqa.tar")  # where torchmetrics looks for them
_SPEAKER_WEIGHTS = "pretrained.pt"


def has_world() -> bool:
    """Whether pyworld is installed: pitch and spectral envelopes are its then."""
    return importlib.util.find_spec("pyworld") is not None


class Speech(Sound):
    """Speech, and what several measures need of it, computed once.

    Args:
        samples: (S,) float32, full scale at 1.
        sampling_rate: Hz.
        durations: (N,) seconds of each symbol, if they are known.
        f0_range: Hz, the lowest and the highest pitch that is looked for.

    >>> Speech(np.zeros(16000, dtype=np.float32), 16000).powers.shape
    (40, 101)
    """

    def __init__(
        self,
        samples: np.ndarray,
        sampling_rate: int,
        durations: np.ndarray | None = None,
        f0_range: tuple[float, float] = F0_RANGE,
    ):
        super().__init__(samples, sampling_rate)
        self.durations, self.f0_range = durations, f0_range
        self._paths: WeakKeyDictionary[Speech, np.ndarray] = WeakKeyDictionary()

    @cached_property
    def _times(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The samples as float64, F0 (L,) and the times of its frames (L,)."""
        import pyworld

        wave = np.ascontiguousarray(self.samples, dtype=np.float64)
        low, high = self.f0_range
        raw, times = pyworld.dio(
            wave, self.sampling_rate, f0_floor=low, f0_ceil=high, frame_period=1000 / SHIFTS
        )
        return wave, pyworld.stonemask(wave, raw, times, self.sampling_rate), times

    @property
    def f0(self) -> np.ndarray:
        """(L,) Hz, 0 where unvoiced, by WORLD (DIO, refined by StoneMask)."""
        return self._times[1]

    @cached_property
    def powers(self) -> np.ndarray:
        """(40, L) power in mel bands: of WORLD's envelope (CheapTrick), or without it of the spectrum."""
        if not has_world():
            return mel_powers(
                power_spectrum(self.samples, self.sampling_rate, self.sampling_rate // SHIFTS),
                self.sampling_rate,
            )
        import pyworld

        wave, f0, times = self._times
        envelope = pyworld.cheaptrick(wave, f0, times, self.sampling_rate, f0_floor=self.f0_range[0])
        return mel_powers(envelope.T, self.sampling_rate)

    def cepstrum(self, strongest: float) -> np.ndarray:
        """(24, L) mel-cepstrum, see `imlspike.analysis.cepstrum.mel_cepstrum`."""
        return mel_cepstrum(self.powers, strongest)

    def path_from(self, natural: "Speech") -> np.ndarray:
        """(K, 2) pairs of frames, the natural one's first, ascending in both: the path of least distortion.

        Raises:
            ValueError: if the natural waveform is digital silence.
        """
        if natural not in self._paths:
            self._paths[natural] = _warp(natural, self)
        return self._paths[natural]


def _warp(natural: Speech, synthetic: Speech) -> np.ndarray:
    from librosa.sequence import dtw

    if not natural.samples.any():
        raise ValueError("the natural waveform is silence")
    strongest = natural.powers.max()
    _, path = dtw(natural.cepstrum(strongest), synthetic.cepstrum(strongest), metric="euclidean")
    return path[::-1]


def warped_distortion(natural: Speech, synthetic: Speech) -> float:
    """Mel-cepstral distortion in dB along the path of least distortion, the mean over the pairs of frames of
    which the natural one is speech (at most 50 dB softer than its loudest)."""
    first, second = synthetic.path_from(natural).T
    strongest = natural.powers.max()
    far = distortion(natural.cepstrum(strongest)[:, first], synthetic.cepstrum(strongest)[:, second])
    return float(far[speech_frames(natural.powers)[first]].mean())


def _pitch_pairs(natural: Speech, synthetic: Speech) -> tuple[np.ndarray, np.ndarray]:
    first, second = synthetic.path_from(natural).T
    return natural.f0[first], synthetic.f0[second]


def log_f0_error(natural: Speech, synthetic: Speech) -> float:
    """Root mean square difference of ln F0 over the pairs of frames that are voiced in both.

    0.06 is a semitone.

    Raises:
        ValueError: where there is no such pair.
    """
    one, other = _pitch_pairs(natural, synthetic)
    both = (one > 0) & (other > 0)
    if not both.any():
        raise ValueError("no frame is voiced in both waveforms")
    return float(np.sqrt(np.mean(np.log(one[both] / other[both]) ** 2)))


def voicing_error(natural: Speech, synthetic: Speech) -> float:
    """Per cent of the pairs of frames that are voiced in one waveform only."""
    one, other = _pitch_pairs(natural, synthetic)
    return float(100 * np.mean((one > 0) != (other > 0)))


def length_error(natural: Speech, synthetic: Speech) -> float:
    """By how many per cent of the natural utterance's length the synthetic one is longer or shorter."""
    return 100 * abs(len(synthetic.samples) / len(natural.samples) - 1)


def symbol_duration_error(natural: Speech, synthetic: Speech) -> float:
    """Mean absolute difference of the symbols' durations in ms.

    Raises:
        ValueError: they have another number of symbols, or none.
    """
    if natural.durations is None or synthetic.durations is None:
        raise ValueError("no durations of its symbols are known")
    if len(natural.durations) != len(synthetic.durations):
        raise ValueError(f"{len(natural.durations)} natural durations, {len(synthetic.durations)} synthetic")
    return float(1000 * np.abs(natural.durations - synthetic.durations).mean())


@functools.cache
def _speaker_encoder():
    from resemblyzer import VoiceEncoder

    return VoiceEncoder("cpu", verbose=False)


def speaker_similarity(natural: Speech, synthetic: Speech) -> float:
    """Cosine of the two voices' embeddings by resemblyzer (GE2E), up to 1."""
    from resemblyzer import preprocess_wav

    encoder = _speaker_encoder()
    one, other = (encoder.embed_utterance(preprocess_wav(x.at(RATE).copy())) for x in (natural, synthetic))
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


def _no_speaker_weights() -> str:
    folder = Path(importlib.util.find_spec("resemblyzer").submodule_search_locations[0])
    return "" if (folder / _SPEAKER_WEIGHTS).is_file() else f"{folder / _SPEAKER_WEIGHTS} isn't there"


def dnsmos(natural: Speech, synthetic: Speech) -> float:
    """DNSMOS P.835, overall (Reddy et al. 2022), a network's guess of an opinion score, of the synthetic."""
    from speechmos import dnsmos as library

    return float(library.run(synthetic.at(RATE).clip(-1, 1), RATE)["ovrl_mos"])


def nisqa(natural: Speech, synthetic: Speech) -> float:
    """NISQA v2.0, overall (Mittag et al. 2021), a network's guess of an opinion score, of the synthetic."""
    from torchmetrics.functional.audio.nisqa import non_intrusive_speech_quality_assessment

    wave = torch.from_numpy(synthetic.samples)
    return float(non_intrusive_speech_quality_assessment(wave, synthetic.sampling_rate)[0])


def _no_nisqa() -> str:
    there = NISQA_WEIGHTS.expanduser().is_file()
    way_out = "with a network, torchmetrics fetches them when its NISQA is called once"
    return "" if there else f"its weights aren't at {NISQA_WEIGHTS}; {way_out}"


_PITCH = ("librosa", "pyworld")
MEASURES = {
    "mcd": Measure(
        "MCD, dB", warped_distortion, False, 2, "mel-cepstral distortion along the DTW path", ("librosa",)
    ),
    "log_f0": Measure("log F0", log_f0_error, False, 3, "RMS error of ln F0, both voiced", _PITCH),
    "voicing": Measure("V/UV, %", voicing_error, False, 1, "frames voiced in one only", _PITCH),
    "length": Measure("length, %", length_error, False, 1, "difference of the utterances' lengths"),
    "symbol_duration": Measure(
        "durations, ms", symbol_duration_error, False, 1, "mean difference of the symbols' durations"
    ),
    "speaker": Measure(
        "speaker",
        speaker_similarity,
        True,
        3,
        "cosine of speaker embeddings (resemblyzer)",
        ("resemblyzer",),
        _no_speaker_weights,
    ),
    "dnsmos": Measure(
        "DNSMOS",
        dnsmos,
        True,
        2,
        "DNSMOS P.835 overall, 1 to 5",
        ("onnxruntime", "librosa", "requests", "speechmos.dnsmos"),
    ),
    "nisqa": Measure(
        "NISQA", nisqa, True, 2, "NISQA overall, 1 to 5", ("librosa", "torchmetrics", "requests"), _no_nisqa
    ),
    "utmos": vocoder_measures.MEASURES["utmos"],
}
