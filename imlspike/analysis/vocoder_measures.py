"""What a synthesised waveform keeps of the natural one: one function a measure, on a pair of `Sound` s.

Both waveforms have the same sampling rate and length and are in step (copy-synthesis), so nothing is aligned.
Libraries that the extra ``scores`` holds are imported where they are used; `why_not` tells what is missing.
"""

import functools
import importlib
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
import torchaudio
from torch import Tensor

from imlspike.analysis.cepstrum import distortion, mel_cepstrum, mel_powers, power_spectrum, speech_frames

RATE = 16000  # Hz; PESQ, ESTOI, CREPE and UTMOS are defined there, other audio is resampled
LOUDEST = 48000  # Hz; ViSQOL's audio mode
CREPE = ("full", "tiny")
UNVOICED, SILENT = 0.21, -60.0  # periodicity, and A-weighted dB, below which a frame is unvoiced (CARGAN)


class Sound:
    """A waveform, and what several measures need of it, computed once.

    Args:
        samples: (S,) float32, full scale at 1.
        sampling_rate: Hz.
        crepe: the pitch tracker's size, "full" or "tiny".

    >>> Sound(np.zeros(24000, dtype=np.float32), 24000).at(16000).shape
    (16000,)
    """

    def __init__(self, samples: np.ndarray, sampling_rate: int, crepe: str = "full"):
        if crepe not in CREPE:
            raise ValueError(f"crepe is {crepe!r}; expected {' or '.join(map(repr, CREPE))}")
        self.samples, self.sampling_rate, self.crepe = samples, sampling_rate, crepe
        self._resampled = {sampling_rate: samples}

    def at(self, rate: int) -> np.ndarray:
        """The samples at another sampling rate."""
        if rate not in self._resampled:
            wave = torch.from_numpy(self.samples)
            self._resampled[rate] = torchaudio.functional.resample(wave, self.sampling_rate, rate).numpy()
        return self._resampled[rate]

    @cached_property
    def pitch(self) -> tuple[np.ndarray, np.ndarray]:
        """Pitch in Hz (NaN where unvoiced) and periodicity (0 to 1), a frame each 10 ms, by CREPE."""
        return pitch_track(self.at(RATE), self.crepe)


def pitch_track(samples: np.ndarray, crepe: str = "full") -> tuple[np.ndarray, np.ndarray]:
    """Pitch and periodicity as CARGAN (Morrison et al. 2022) and Vocos compute them for their figures.

    CREPE with Viterbi decoding between 50 and 550 Hz, a frame of 64 ms each 10 ms. Where the A-weighted level
    is under -60 dB, periodicity is 0; where periodicity is under 0.21, a frame is unvoiced.

    Args:
        samples: (S,) at 16 kHz, at least 1024 of them.
        crepe: "full" as they, or "tiny", 20 times as fast.

    Returns:
        pitch in Hz, NaN where unvoiced, and periodicity, each (frames,).

    Raises:
        ValueError: fewer samples than one frame has.
    """
    import torchcrepe

    if len(samples) < torchcrepe.WINDOW_SIZE:
        raise ValueError(f"{len(samples)} samples at 16 kHz; pitch needs {torchcrepe.WINDOW_SIZE}")
    audio = torch.from_numpy(np.ascontiguousarray(samples))[None]
    options = dict(hop_length=RATE // 100, fmin=50.0, fmax=550.0, model=crepe, batch_size=64, pad=False)
    state = np.random.get_state()
    np.random.seed(
        0
    )  # torchcrepe dithers the pitch; with the same noise each time, equal audio has equal pitch
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pitch, periodicity = torchcrepe.predict(audio, RATE, return_periodicity=True, **options)
            level = torchcrepe.loudness.a_weighted(audio, RATE, RATE // 100, pad=False)
    finally:
        np.random.set_state(state)
    pitch, periodicity, level = (x[0].numpy().astype(np.float64) for x in (pitch, periodicity, level))
    periodicity = np.where(level < SILENT, 0.0, periodicity)
    return np.where(periodicity < UNVOICED, np.nan, pitch), periodicity


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
    """Root mean square difference of the periodicities of all frames (0 to 1)."""
    return float(np.sqrt(np.mean((natural.pitch[1] - synthetic.pitch[1]) ** 2)))


def pitch_error(natural: Sound, synthetic: Sound) -> float:
    """Root mean square difference of the pitch in cents, over frames that are voiced in both.

    Raises:
        ValueError: where there is no such frame.
    """
    cents = 1200 * np.log2(synthetic.pitch[0] / natural.pitch[0])
    cents = cents[~np.isnan(cents)]
    if not len(cents):
        raise ValueError("no frame is voiced in both waveforms")
    return float(np.sqrt(np.mean(cents**2)))


def mel_cepstral_distortion(natural: Sound, synthetic: Sound) -> float:
    """Mel-cepstral distortion in dB, without time alignment, see `imlspike.analysis.cepstrum`.

    Spectra of windows of 25 ms each 5 ms; the mean over the frames of speech: those at most 50 dB softer than
    the natural waveform's loudest one. By Parseval's theorem it is the root mean square difference, in dB, of
    the two spectral envelopes on the mel scale; c_0, the level, plays no part. What lies more than 80 dB
    under the natural waveform's strongest band is raised to there. WORLD's or SPTK's envelopes give somewhat
    other values: compare within one table.

    Raises:
        ValueError: if the natural waveform is digital silence.
    """
    rate = natural.sampling_rate
    powers = [mel_powers(power_spectrum(s.samples, rate, rate // 200), rate) for s in (natural, synthetic)]
    speech = speech_frames(powers[0])
    cepstra = [mel_cepstrum(power[:, speech], powers[0].max()) for power in powers]
    return float(distortion(*cepstra).mean())


def pesq(natural: Sound, synthetic: Sound) -> float:
    """PESQ, wideband at 16 kHz (ITU-T P.862.2): 1.04 to 4.64, the higher the better."""
    from pesq import pesq as library

    return float(library(RATE, natural.at(RATE), synthetic.at(RATE), "wb"))


def estoi(natural: Sound, synthetic: Sound) -> float:
    """Extended short-time objective intelligibility (Jensen and Taal 2016), up to 1."""
    from pystoi import stoi

    with warnings.catch_warnings():  # what is too short for it is a warning and a tiny number there
        warnings.simplefilter("error", RuntimeWarning)
        return float(stoi(natural.at(RATE), synthetic.at(RATE), RATE, extended=True))


@functools.cache
def _visqol():
    from visqol import VisqolApi

    api = VisqolApi()
    api.create(mode="audio")
    return api


def visqol(natural: Sound, synthetic: Sound) -> float:
    """ViSQOL v3 in audio mode at 48 kHz, 1 to 4.73; the mode in whose range the paper's values lie."""
    pair = (sound.at(LOUDEST).astype(np.float64) for sound in (natural, synthetic))
    return float(_visqol().measure_from_arrays(*pair, LOUDEST).moslqo)


@functools.cache
def _utmos():
    [code, *_], [_, *_] = _utmos_files()
    return torch.hub.load(str(code), "utmos22_strong", source="local").eval()


def _utmos_files() -> tuple[list[Path], list[Path]]:
    hub = Path(torch.hub.get_dir())
    return sorted(hub.glob("tarepan_SpeechMOS*/")), sorted(hub.glob("checkpoints/utmos22_strong*"))


def _no_utmos() -> str:
    if all(_utmos_files()):
        return ""
    return (
        "its weights aren't in torch's hub folder; fetch them once, with a network, by: python -c "
        "\"import torch; torch.hub.load('tarepan/SpeechMOS:v1.2.0', 'utmos22_strong', trust_repo=True)\""
    )


@torch.no_grad()
def utmos(natural: Sound, synthetic: Sound) -> float:
    """UTMOS (Saeki et al. 2022), a network's guess of a mean opinion score, of the synthetic one alone."""
    return float(_utmos()(torch.from_numpy(synthetic.at(RATE))[None], RATE))


def mel_distance(log_mel: Callable[[Tensor], Tensor], natural: Sound, synthetic: Sound) -> float:
    """Mean absolute difference of the log-mel spectrograms that a vocoder reads (nepers).

    Args:
        log_mel: audio (1, S) to (1, n_mels, L), as `imlspike.models.SpikingVocos.features`.
    """
    mels = [log_mel(torch.from_numpy(sound.samples)[None]) for sound in (natural, synthetic)]
    return float((mels[0] - mels[1]).abs().mean())


@dataclass(frozen=True)
class Measure:
    """A column of the table.

    Attributes:
        title: its head.
        function: of the natural and the synthetic `Sound`.
        higher: whether more is better.
        digits: after the point.
        what: a sentence for the reader of the table.
        needs: modules to import.
        lacks: says which weights are not there, and the way out; empty if they are.
    """

    title: str
    function: Callable[[Sound, Sound], float]
    higher: bool
    digits: int
    what: str
    needs: tuple[str, ...] = ()
    lacks: Callable[[], str] = str


_CREPE = ("torchcrepe", "librosa")
_NOT_IN_SCORES = ("onnxruntime", "pyworld", "resemblyzer", "torchmetrics")  # of the extras
MEASURES = {
    "pesq": Measure("PESQ", pesq, True, 2, "wideband PESQ (P.862.2) at 16 kHz, 1.04 to 4.64", ("pesq",)),
    "visqol": Measure("ViSQOL", visqol, True, 2, "ViSQOL v3, audio mode at 48 kHz, 1 to 4.73", ("visqol",)),
    "estoi": Measure("ESTOI", estoi, True, 3, "intelligibility, up to 1", ("pystoi",)),
    "vuv_f1": Measure("V/UV F1", vuv_f1, True, 4, "F1 of voiced or unvoiced, frames of 10 ms", _CREPE),
    "periodicity": Measure(
        "periodicity", periodicity, False, 3, "RMS error of the periodicity, 0 to 1", _CREPE
    ),
    "pitch": Measure("pitch, cents", pitch_error, False, 1, "RMS error of the pitch, both voiced", _CREPE),
    "mcd": Measure(
        "MCD, dB", mel_cepstral_distortion, False, 2, "mel-cepstral distortion, 24 coefficients, unaligned"
    ),
    "mel_l1": Measure("log-mel L1", mel_distance, False, 3, "mean difference of the model's log-mel, nepers"),
    "utmos": Measure(
        "UTMOS", utmos, True, 2, "UTMOS, a network's guess of an opinion score, 1 to 5", (), _no_utmos
    ),
}


def why_not(key: str, measures: Mapping[str, Measure] = MEASURES) -> str:
    """Why one of `measures` can't be computed here, and the way out; empty if it can.

    >>> why_not("mcd")
    ''
    """
    for module in measures[key].needs:
        try:
            importlib.import_module(module)
        except Exception as error:  # a library that breaks at its import is missing as well
            package = module if module in _NOT_IN_SCORES else "'imlspike[scores]'"
            way_out = f"install it by: pip install {package}"
            return f"{module} can't be imported ({type(error).__name__}: {error}); {way_out}"
    return measures[key].lacks()
