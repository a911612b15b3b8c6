"""Measures of synthesized speech: each a function of the natural and the synthetic `Sound`, one number an
utterance.

A new measure is a function here with the decorator `measure`: of `VOCODER` (copy-synthesis: both waveforms
are of the same length and in step) or `VOICE` (lengths are free; frames are matched by dynamic time warping),
in the order of the table's columns. The first line of its docstring stands below the table. It raises where
there is no value. Libraries of the extra `scores` are imported where they are used.
"""

import functools
import importlib
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from imlspike.evaluation.sound import RATE, Sound, cepstral_distortion, mel_powers, power_spectrum

LOUDEST = 48000  # Hz; ViSQOL's audio mode
NISQA_WEIGHTS = Path("~/.torchmetrics/NISQA/nisqa.tar")  # where torchmetrics looks for them
_CREPE, _WORLD = ("torchcrepe", "librosa"), ("librosa", "pyworld")
_NOT_IN_SCORES = ("torchmetrics",)  # of the extras


class Measure(NamedTuple):
    """A column of the table."""

    title: str  # with the unit
    arrow: str  # ↑ or ↓, to where it gets better
    digits: int  # after the point
    function: Callable[[Sound, Sound], float]
    needs: tuple[str, ...] = ()  # modules to import
    lacks: Callable[[], str] = str  # which weights are not there, and the way out; empty if they are

    @property
    def head(self) -> str:
        """Head of the column."""
        return f"{self.title} {self.arrow}"

    @property
    def what(self) -> str:
        """A phrase for the reader of the table: the first line of the function's docstring."""
        return (self.function.__doc__ or "").partition("\n")[0].rstrip(".")


VOCODER: dict[str, Measure] = {}
VOICE: dict[str, Measure] = {}
MEASURES = {"vocoder": VOCODER, "voice": VOICE}


def measure(key: str, title: str, arrow: str, digits: int, *needs: str, into=(VOCODER,), lacks=str):
    """Decorator that adds a function as a `Measure` to the tables `into`."""

    def add(function: Callable[[Sound, Sound], float]) -> Callable[[Sound, Sound], float]:
        for table in into:
            table[key] = Measure(title, arrow, digits, function, needs, lacks)
        return function

    return add


def why_not(measure: Measure) -> str:
    """Reason why a measure can't be computed here, and the way out; empty if it can.

    >>> why_not(VOCODER["mcd"])
    ''
    """
    for module in measure.needs:
        try:
            importlib.import_module(module)
        except Exception as error:  # a library that breaks at its import is missing as well
            package = module if module in _NOT_IN_SCORES else "'imlspike[scores]'"
            reason = f"{module} can't be imported ({type(error).__name__}: {error})"
            return f"{reason}; install it by: pip install {package}"
    return measure.lacks()


@measure("pesq", "PESQ", "↑", 2, "pesq")
def pesq(natural: Sound, synthetic: Sound) -> float:
    """Wideband PESQ (ITU-T P.862.2) at 16 kHz, 1.04 to 4.64."""
    from pesq import pesq as library

    return library(RATE, natural.at(RATE), synthetic.at(RATE), "wb")


@functools.cache
def _visqol():
    from visqol import VisqolApi

    api = VisqolApi()
    api.create(mode="audio")
    return api


@measure("visqol", "ViSQOL", "↑", 2, "visqol")
def visqol(natural: Sound, synthetic: Sound) -> float:
    """ViSQOL v3, audio mode at 48 kHz (in whose range the values of Vocos' paper lie), 1 to 4.73."""
    pair = (sound.at(LOUDEST).astype(np.float64) for sound in (natural, synthetic))
    return _visqol().measure_from_arrays(*pair, LOUDEST).moslqo


@measure("estoi", "ESTOI", "↑", 3, "pystoi")
def estoi(natural: Sound, synthetic: Sound) -> float:
    """Extended short-time objective intelligibility (Jensen and Taal 2016), up to 1."""
    from pystoi import stoi

    with warnings.catch_warnings():  # what is too short for it is a warning and a tiny number there
        warnings.simplefilter("error", RuntimeWarning)
        return stoi(natural.at(RATE), synthetic.at(RATE), RATE, extended=True)


@measure("vuv_f1", "V/UV F1", "↑", 4, *_CREPE)
def vuv_f1(natural: Sound, synthetic: Sound) -> float:
    """F1 of voiced or unvoiced, frames of 10 ms; the natural one's is the truth."""
    return f1_score(~np.isnan(natural.pitch[0]), ~np.isnan(synthetic.pitch[0]))


def f1_score(truth: np.ndarray, guess: np.ndarray) -> float:
    """Harmonic mean of precision and recall of a yes/no decision, 2 TP / (2 TP + FP + FN).

    ValueError if both are "no" everywhere; the score isn't defined there.
    """
    right, wrong = np.sum(truth & guess), np.sum(truth ^ guess)
    if right + wrong == 0:
        raise ValueError("no voiced frame in either waveform")
    return float(2 * right / (2 * right + wrong))


@measure("periodicity", "periodicity", "↓", 3, *_CREPE)
def periodicity(natural: Sound, synthetic: Sound) -> float:
    """RMS error of the periodicity, 0 to 1, over all frames."""
    return np.sqrt(np.mean((natural.pitch[1] - synthetic.pitch[1]) ** 2))


def _log_ratio(natural: np.ndarray, synthetic: np.ndarray) -> float:
    """Root mean square of ln F0 / F0 over the frames voiced (above 0, not NaN) in both; ValueError: none."""
    both = (natural > 0) & (synthetic > 0)
    if not both.any():
        raise ValueError("no frame is voiced in both waveforms")
    return np.sqrt(np.mean(np.log(synthetic[both] / natural[both]) ** 2))


@measure("pitch", "pitch, cents", "↓", 1, *_CREPE)
def pitch_error(natural: Sound, synthetic: Sound) -> float:
    """RMS error of the pitch, frames voiced in both."""
    return 1200 / np.log(2) * _log_ratio(natural.pitch[0], synthetic.pitch[0])


@measure("mcd", "MCD, dB", "↓", 2)
def mel_cepstral_distortion(natural: Sound, synthetic: Sound) -> float:
    """Mel-cepstral distortion, unaligned, of spectra of 25 ms each 5 ms."""
    rate = natural.sampling_rate
    spectra = (power_spectrum(sound.samples, rate, rate // 200) for sound in (natural, synthetic))
    return cepstral_distortion(*(mel_powers(spectrum, rate) for spectrum in spectra))


@measure("mel_l1", "log-mel L1", "↓", 3)
def mel_distance(natural: Sound, synthetic: Sound) -> float:
    """Mean difference of the model's log-mel, nepers."""
    one, other = (sound.log_mel(torch.from_numpy(sound.samples)[None]) for sound in (natural, synthetic))
    return (one - other).abs().mean()


@measure("mcd", "MCD, dB", "↓", 2, *_WORLD, into=(VOICE,))
def warped_distortion(natural: Sound, synthetic: Sound) -> float:
    """Mel-cepstral distortion along the DTW path."""
    first, second = synthetic.path_from(natural)
    return cepstral_distortion(natural.world[1][:, first], synthetic.world[1][:, second])


def _f0_pairs(natural: Sound, synthetic: Sound) -> tuple[np.ndarray, np.ndarray]:
    first, second = synthetic.path_from(natural)
    return natural.world[0][first], synthetic.world[0][second]


@measure("log_f0", "log F0", "↓", 3, *_WORLD, into=(VOICE,))
def log_f0_error(natural: Sound, synthetic: Sound) -> float:
    """RMS error of ln F0, frames voiced in both (0.06 is a semitone)."""
    return _log_ratio(*_f0_pairs(natural, synthetic))


@measure("voicing", "V/UV, %", "↓", 1, *_WORLD, into=(VOICE,))
def voicing_error(natural: Sound, synthetic: Sound) -> float:
    """Frames voiced in one only."""
    one, other = _f0_pairs(natural, synthetic)
    return 100 * np.mean((one > 0) != (other > 0))


@measure("length", "length, %", "↓", 1, into=(VOICE,))
def length_error(natural: Sound, synthetic: Sound) -> float:
    """Difference of the utterances' lengths, of the natural one's."""
    return 100 * abs(len(synthetic.samples) / len(natural.samples) - 1)


@measure("symbol_duration", "durations, ms", "↓", 1, into=(VOICE,))
def symbol_duration_error(natural: Sound, synthetic: Sound) -> float:
    """Mean difference of the symbols' durations."""
    if natural.durations is None or synthetic.durations is None:
        raise ValueError("no durations of its symbols are known")
    if len(natural.durations) != len(synthetic.durations):
        raise ValueError(f"{len(natural.durations)} natural durations, {len(synthetic.durations)} synthetic")
    return 1000 * np.abs(natural.durations - synthetic.durations).mean()


def _no_speaker_weights() -> str:
    file = Path(find_spec("resemblyzer").submodule_search_locations[0]) / "pretrained.pt"
    return "" if file.is_file() else f"{file} isn't there"


def _similarities(natural: Sound, synthetic: Sound) -> dict[str, float]:
    """Speaker to the cosine of its embedding and the synthetic voice's; ValueError: its own isn't known."""
    if natural.speaker not in natural.speakers:
        raise ValueError(f"no other natural recording of its speaker {natural.speaker} with speech in it")
    return {name: float(speaker @ synthetic.embedding) for name, speaker in natural.speakers.items()}


def nearest_speaker(natural: Sound, synthetic: Sound) -> str:
    """The speaker, of the natural recording's `speakers`, whom the synthetic voice is most like."""
    found = _similarities(natural, synthetic)
    return max(found, key=found.get)


@measure("speaker", "speaker", "↑", 3, "resemblyzer", into=(VOICE,), lacks=_no_speaker_weights)
def speaker_similarity(natural: Sound, synthetic: Sound) -> float:
    """Cosine of the voice and its speaker's mean over other natural recordings, embeddings by resemblyzer."""
    return _similarities(natural, synthetic)[natural.speaker]


@measure("own_speaker", "own speaker, %", "↑", 1, "resemblyzer", into=(VOICE,), lacks=_no_speaker_weights)
def own_speaker(natural: Sound, synthetic: Sound) -> float:
    """Utterances nearer to their own speaker than to any other."""
    return 100.0 * (nearest_speaker(natural, synthetic) == natural.speaker)


_DNSMOS = ("onnxruntime", "librosa", "requests", "speechmos.dnsmos")


@measure("dnsmos", "DNSMOS", "↑", 2, *_DNSMOS, into=(VOICE,))
def dnsmos(natural: Sound, synthetic: Sound) -> float:
    """DNSMOS P.835 overall (Reddy et al. 2022), a network's guess of an opinion score, 1 to 5."""
    from speechmos import dnsmos as library

    return library.run(synthetic.at(RATE).clip(-1, 1), RATE)["ovrl_mos"]


def _no_nisqa() -> str:
    missing = f"its weights aren't at {NISQA_WEIGHTS}; with a network, one call of torchmetrics' NISQA"
    return "" if NISQA_WEIGHTS.expanduser().is_file() else f"{missing} fetches them"


@measure("nisqa", "NISQA", "↑", 2, "librosa", "torchmetrics", "requests", into=(VOICE,), lacks=_no_nisqa)
def nisqa(natural: Sound, synthetic: Sound) -> float:
    """NISQA v2.0 overall (Mittag et al. 2021), a network's guess of an opinion score, 1 to 5."""
    from torchmetrics.functional.audio.nisqa import non_intrusive_speech_quality_assessment

    wave = torch.from_numpy(synthetic.samples)
    return non_intrusive_speech_quality_assessment(wave, synthetic.sampling_rate)[0]


def _utmos_files() -> tuple[list[Path], list[Path]]:
    hub = Path(torch.hub.get_dir())
    return sorted(hub.glob("tarepan_SpeechMOS*/")), sorted(hub.glob("checkpoints/utmos22_strong*"))


@functools.cache
def _utmos():
    return torch.hub.load(str(_utmos_files()[0][0]), "utmos22_strong", source="local").eval()


def _no_utmos() -> str:
    fetch = "import torch; torch.hub.load('tarepan/SpeechMOS:v1.2.0', 'utmos22_strong', trust_repo=True)"
    missing = "its weights aren't in torch's hub folder; fetch them once, with a network"
    return "" if all(_utmos_files()) else f'{missing}: python -c "{fetch}"'


@measure("utmos", "UTMOS", "↑", 2, into=(VOCODER, VOICE), lacks=_no_utmos)
@torch.no_grad()
def utmos(natural: Sound, synthetic: Sound) -> float:
    """UTMOS (Saeki et al. 2022), a network's guess of an opinion score, 1 to 5."""
    return _utmos()(torch.from_numpy(synthetic.at(RATE))[None], RATE)
