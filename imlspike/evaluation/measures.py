"""Measures of synthesized speech: each a function of the natural and the synthetic `Sound`, one number an
utterance.

A new measure is a function here and a line in `VOCODER` (copy-synthesis: both waveforms are of the same
length and in step) or `VOICE` (lengths are free; frames are matched by dynamic time warping). Libraries of
the extra `scores` are imported where they are used; `why_not` tells what is missing. UTMOS, DNSMOS and NISQA
are networks' guesses of a mean opinion score, of the synthetic sound alone.
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


def pesq(natural: Sound, synthetic: Sound) -> float:
    """PESQ, wideband at 16 kHz (ITU-T P.862.2)."""
    from pesq import pesq as library

    return library(RATE, natural.at(RATE), synthetic.at(RATE), "wb")


def estoi(natural: Sound, synthetic: Sound) -> float:
    """Extended short-time objective intelligibility (Jensen and Taal 2016)."""
    from pystoi import stoi

    with warnings.catch_warnings():  # what is too short for it is a warning and a tiny number there
        warnings.simplefilter("error", RuntimeWarning)
        return stoi(natural.at(RATE), synthetic.at(RATE), RATE, extended=True)


@functools.cache
def _visqol():
    from visqol import VisqolApi

    api = VisqolApi()
    api.create(mode="audio")
    return api


def visqol(natural: Sound, synthetic: Sound) -> float:
    """ViSQOL v3 in audio mode at 48 kHz, in whose range the values of Vocos' paper lie."""
    pair = (sound.at(LOUDEST).astype(np.float64) for sound in (natural, synthetic))
    return _visqol().measure_from_arrays(*pair, LOUDEST).moslqo


def f1_score(truth: np.ndarray, guess: np.ndarray) -> float:
    """Harmonic mean of precision and recall of a yes/no decision, 2 TP / (2 TP + FP + FN).

    Raises:
        ValueError: if both are "no" everywhere; the score isn't defined there.

    >>> f1_score(np.array([1, 1, 1, 0, 0], bool), np.array([1, 1, 0, 1, 0], bool))  # 2 right, 2 not
    0.6666666666666666
    """
    right, wrong = np.sum(truth & guess), np.sum(truth ^ guess)
    if right + wrong == 0:
        raise ValueError("no voiced frame in either waveform")
    return float(2 * right / (2 * right + wrong))


def vuv_f1(natural: Sound, synthetic: Sound) -> float:
    """F1 of the decision voiced or unvoiced, frame by frame; the natural one's is the truth."""
    return f1_score(~np.isnan(natural.pitch[0]), ~np.isnan(synthetic.pitch[0]))


def periodicity(natural: Sound, synthetic: Sound) -> float:
    """Root mean square difference of the periodicities of all frames."""
    return np.sqrt(np.mean((natural.pitch[1] - synthetic.pitch[1]) ** 2))


def _log_ratio(natural: np.ndarray, synthetic: np.ndarray) -> float:
    """Root mean square of ln F0 / F0 over the frames voiced (above 0, not NaN) in both; ValueError: none."""
    both = (natural > 0) & (synthetic > 0)
    if not both.any():
        raise ValueError("no frame is voiced in both waveforms")
    return np.sqrt(np.mean(np.log(synthetic[both] / natural[both]) ** 2))


def pitch_error(natural: Sound, synthetic: Sound) -> float:
    """Root mean square difference of the pitch in cents over the frames voiced in both."""
    return 1200 / np.log(2) * _log_ratio(natural.pitch[0], synthetic.pitch[0])


def mel_cepstral_distortion(natural: Sound, synthetic: Sound) -> float:
    """Mel-cepstral distortion in dB of spectra (windows of 25 ms each 5 ms), frame by frame, unaligned."""
    rate = natural.sampling_rate
    spectra = (power_spectrum(sound.samples, rate, rate // 200) for sound in (natural, synthetic))
    return cepstral_distortion(*(mel_powers(spectrum, rate) for spectrum in spectra))


def mel_distance(natural: Sound, synthetic: Sound) -> float:
    """Mean absolute difference of the log-mel spectrograms that a vocoder reads (nepers)."""
    one, other = (sound.log_mel(torch.from_numpy(sound.samples)[None]) for sound in (natural, synthetic))
    return (one - other).abs().mean()


@functools.cache
def _utmos():
    [code, *_], _ = _utmos_files()
    return torch.hub.load(str(code), "utmos22_strong", source="local").eval()


def _utmos_files() -> tuple[list[Path], list[Path]]:
    hub = Path(torch.hub.get_dir())
    return sorted(hub.glob("tarepan_SpeechMOS*/")), sorted(hub.glob("checkpoints/utmos22_strong*"))


def _no_utmos() -> str:
    fetch = "import torch; torch.hub.load('tarepan/SpeechMOS:v1.2.0', 'utmos22_strong', trust_repo=True)"
    missing = "its weights aren't in torch's hub folder; fetch them once, with a network"
    return "" if all(_utmos_files()) else f'{missing}: python -c "{fetch}"'


@torch.no_grad()
def utmos(natural: Sound, synthetic: Sound) -> float:
    """UTMOS (Saeki et al. 2022)."""
    return _utmos()(torch.from_numpy(synthetic.at(RATE))[None], RATE)


def warped_distortion(natural: Sound, synthetic: Sound) -> float:
    """Mel-cepstral distortion in dB of WORLD's envelopes along the path of least distortion."""
    first, second = synthetic.path_from(natural)
    return cepstral_distortion(natural.world[1][:, first], synthetic.world[1][:, second])


def _f0_pairs(natural: Sound, synthetic: Sound) -> tuple[np.ndarray, np.ndarray]:
    first, second = synthetic.path_from(natural)
    return natural.world[0][first], synthetic.world[0][second]


def log_f0_error(natural: Sound, synthetic: Sound) -> float:
    """Root mean square difference of ln F0 over the pairs of frames voiced in both (0.06 is a semitone)."""
    return _log_ratio(*_f0_pairs(natural, synthetic))


def voicing_error(natural: Sound, synthetic: Sound) -> float:
    """Per cent of the pairs of frames that are voiced in one waveform only."""
    one, other = _f0_pairs(natural, synthetic)
    return 100 * np.mean((one > 0) != (other > 0))


def length_error(natural: Sound, synthetic: Sound) -> float:
    """By how many per cent of the natural utterance's length the synthetic one is longer or shorter."""
    return 100 * abs(len(synthetic.samples) / len(natural.samples) - 1)


def symbol_duration_error(natural: Sound, synthetic: Sound) -> float:
    """Mean absolute difference of the symbols' durations in ms; ValueError: not known, or not as many."""
    if natural.durations is None or synthetic.durations is None:
        raise ValueError("no durations of its symbols are known")
    if len(natural.durations) != len(synthetic.durations):
        raise ValueError(f"{len(natural.durations)} natural durations, {len(synthetic.durations)} synthetic")
    return 1000 * np.abs(natural.durations - synthetic.durations).mean()


@functools.cache
def _speaker_encoder():
    from resemblyzer import VoiceEncoder

    return VoiceEncoder("cpu", verbose=False)


def speaker_similarity(natural: Sound, synthetic: Sound) -> float:
    """Cosine of the two voices' embeddings by resemblyzer (GE2E)."""
    from resemblyzer import preprocess_wav

    encoder = _speaker_encoder()
    one, other = (encoder.embed_utterance(preprocess_wav(x.at(RATE).copy())) for x in (natural, synthetic))
    return one @ other / np.linalg.norm(one) / np.linalg.norm(other)


def _no_speaker_weights() -> str:
    file = Path(find_spec("resemblyzer").submodule_search_locations[0]) / "pretrained.pt"
    return "" if file.is_file() else f"{file} isn't there"


def dnsmos(natural: Sound, synthetic: Sound) -> float:
    """DNSMOS P.835, overall (Reddy et al. 2022)."""
    from speechmos import dnsmos as library

    return library.run(synthetic.at(RATE).clip(-1, 1), RATE)["ovrl_mos"]


def nisqa(natural: Sound, synthetic: Sound) -> float:
    """NISQA v2.0, overall (Mittag et al. 2021)."""
    from torchmetrics.functional.audio.nisqa import non_intrusive_speech_quality_assessment

    wave = torch.from_numpy(synthetic.samples)
    return non_intrusive_speech_quality_assessment(wave, synthetic.sampling_rate)[0]


def _no_nisqa() -> str:
    missing = f"its weights aren't at {NISQA_WEIGHTS}; with a network, one call of torchmetrics' NISQA"
    return "" if NISQA_WEIGHTS.expanduser().is_file() else f"{missing} fetches them"


class Measure(NamedTuple):
    """A column of the table.

    Attributes:
        title: its head, with the unit.
        function: of the natural and the synthetic `Sound`; any exception says that there is no value.
        arrow: ↑ or ↓, to where it gets better.
        digits: after the point.
        what: a phrase for the reader of the table.
        needs: modules to import.
        lacks: tells which weights are not there, and the way out; empty if they are.
    """

    title: str
    function: Callable[[Sound, Sound], float]
    arrow: str
    digits: int
    what: str
    needs: tuple[str, ...] = ()
    lacks: Callable[[], str] = str


_CREPE, _WORLD = ("torchcrepe", "librosa"), ("librosa", "pyworld")
_DNSMOS = ("onnxruntime", "librosa", "requests", "speechmos.dnsmos")
_NISQA = ("librosa", "torchmetrics", "requests")
_UTMOS = Measure("UTMOS", utmos, "↑", 2, "a network's guess of an opinion score, 1 to 5", (), _no_utmos)
_SPEAKER = Measure("speaker", speaker_similarity, "↑", 3, "cosine of speaker embeddings", ("resemblyzer",))
VOCODER = {
    "pesq": Measure("PESQ", pesq, "↑", 2, "wideband PESQ (P.862.2) at 16 kHz, 1.04 to 4.64", ("pesq",)),
    "visqol": Measure("ViSQOL", visqol, "↑", 2, "ViSQOL v3, audio mode at 48 kHz, 1 to 4.73", ("visqol",)),
    "estoi": Measure("ESTOI", estoi, "↑", 3, "intelligibility, up to 1", ("pystoi",)),
    "vuv_f1": Measure("V/UV F1", vuv_f1, "↑", 4, "F1 of voiced or unvoiced, frames of 10 ms", _CREPE),
    "periodicity": Measure("periodicity", periodicity, "↓", 3, "RMS error of periodicity, 0 to 1", _CREPE),
    "pitch": Measure("pitch, cents", pitch_error, "↓", 1, "RMS error of the pitch, both voiced", _CREPE),
    "mcd": Measure("MCD, dB", mel_cepstral_distortion, "↓", 2, "mel-cepstral distortion, unaligned"),
    "mel_l1": Measure("log-mel L1", mel_distance, "↓", 3, "mean difference of the model's log-mel, nepers"),
    "utmos": _UTMOS,
}
_ALONG = "mel-cepstral distortion along the DTW path"
_SYMBOLS = "mean difference of the symbols' durations"
VOICE = {
    "mcd": Measure("MCD, dB", warped_distortion, "↓", 2, _ALONG, _WORLD),
    "log_f0": Measure("log F0", log_f0_error, "↓", 3, "RMS error of ln F0, both voiced", _WORLD),
    "voicing": Measure("V/UV, %", voicing_error, "↓", 1, "frames voiced in one only", _WORLD),
    "length": Measure("length, %", length_error, "↓", 1, "difference of the utterances' lengths"),
    "symbol_duration": Measure("durations, ms", symbol_duration_error, "↓", 1, _SYMBOLS),
    "speaker": _SPEAKER._replace(lacks=_no_speaker_weights),
    "dnsmos": Measure("DNSMOS", dnsmos, "↑", 2, "DNSMOS P.835 overall, 1 to 5", _DNSMOS),
    "nisqa": Measure("NISQA", nisqa, "↑", 2, "NISQA overall, 1 to 5", _NISQA, _no_nisqa),
    "utmos": _UTMOS,
}
MEASURES = {"vocoder": VOCODER, "voice": VOICE}
_NOT_IN_SCORES = ("resemblyzer", "torchmetrics")  # of the extras


def why_not(measure: Measure) -> str:
    """Why a measure can't be computed here, and the way out; empty if it can.

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
