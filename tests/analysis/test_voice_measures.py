"""Measures of voices: best on equal speech, what a known change of pitch, tempo or voicing does to them."""

import math
import sys
import types

import numpy as np
import pytest
import torch

from imlspike.analysis import voice_measures
from imlspike.analysis.cepstrum import distortion, mel_cepstrum, speech_frames
from imlspike.analysis.vocoder_measures import why_not
from imlspike.analysis.voice_measures import (
    MEASURES,
    Speech,
    dnsmos,
    length_error,
    log_f0_error,
    nisqa,
    speaker_similarity,
    symbol_duration_error,
    voicing_error,
    warped_distortion,
)

from .vocoder_audio import RATE, noisy, voice

WARPED = {"mcd": warped_distortion, "log_f0": log_f0_error, "voicing": voicing_error}


@pytest.fixture(autouse=True, scope="module")
def libraries():
    pytest.importorskip("librosa")
    pytest.importorskip("pyworld")


def speech(wave, **options):
    return Speech(wave, RATE, **options)


def resung(wave, pitch=1.0, tempo=None):
    """The wave by WORLD with its pitch times a factor, and at frame l what it has at frame tempo[l]."""
    import pyworld

    f0, envelope, aperiodicity = pyworld.wav2world(wave.astype(np.float64), RATE)
    tempo = np.arange(len(f0)) if tempo is None else np.clip(np.round(tempo), 0, len(f0) - 1).astype(int)
    parts = (np.ascontiguousarray(part[tempo]) for part in (f0 * pitch, envelope, aperiodicity))
    return pyworld.synthesize(*parts, RATE).astype(np.float32)


@pytest.fixture(scope="module")
def sung():
    return resung(voice())


@pytest.mark.parametrize("key", WARPED)
def test_equal_speech_has_no_error_and_noise_adds_some(key):
    natural = speech(voice())
    same, noise = (WARPED[key](natural, speech(noisy(voice(), level))) for level in (0.0, 0.01))
    assert same == 0 < noise


@pytest.mark.parametrize("factor", [0.8, 1.25])
def test_a_factor_on_the_pitch_is_its_logarithm(sung, factor):
    natural, higher = speech(sung), speech(resung(voice(), pitch=factor))
    assert log_f0_error(natural, higher) == pytest.approx(abs(math.log(factor)), rel=0.1)
    assert log_f0_error(natural, speech(sung.copy())) == 0
    assert warped_distortion(natural, higher) < 1.5  # the envelope is the same


def test_warped_time_is_warped_back(sung):
    frames = len(voice()) // (RATE // 200) + 1
    slow = frames * (np.linspace(0, 1, round(1.3 * frames)) ** 1.2)
    natural, warped = speech(sung), speech(resung(voice(), tempo=slow))
    step = natural.powers.max(), min(natural.powers.shape[1], warped.powers.shape[1])
    cepstra = [s.cepstrum(step[0])[:, : step[1]] for s in (natural, warped)]
    in_step = distortion(*cepstra)[speech_frames(natural.powers)[: step[1]]].mean()
    assert warped_distortion(natural, warped) < 0.4 * in_step
    assert log_f0_error(natural, warped) < 0.05
    assert length_error(natural, warped) == pytest.approx(30, abs=1.5)


def test_the_path_is_the_least_of_all():
    """Against the recurrence, written down: no path from corner to corner is cheaper."""
    natural, other = (speech(voice(0.2, pitch, seed)) for pitch, seed in ((120, 0), (150, 1)))
    strongest = natural.powers.max()
    one, two = natural.cepstrum(strongest), other.cepstrum(strongest)
    cost = np.sqrt(((one[:, :, None] - two[:, None]) ** 2).sum(0))
    total = np.full((cost.shape[0] + 1, cost.shape[1] + 1), np.inf)
    total[0, 0] = 0
    for i, j in np.ndindex(cost.shape):
        total[i + 1, j + 1] = cost[i, j] + min(total[i, j], total[i, j + 1], total[i + 1, j])
    path = other.path_from(natural)
    assert cost[path[:, 0], path[:, 1]].sum() == pytest.approx(total[-1, -1])
    assert path[0].tolist() == [0, 0] and path[-1].tolist() == [cost.shape[0] - 1, cost.shape[1] - 1]
    assert np.isin(np.diff(path, axis=0), (0, 1)).all()


def test_loudness_is_no_error():
    natural = speech(voice())
    assert warped_distortion(natural, speech(0.5 * voice())) < 0.02


def test_pauses_are_not_compared():
    waves, rng = [voice(), voice()], np.random.default_rng(3)
    pause = len(waves[0]) * 3 // 4
    noise = rng.normal(0, 1, len(waves[0]) - pause)
    for wave, other in zip(waves, (noise, noise.cumsum()), strict=True):  # white, and red
        wave[pause:] = 1e-4 * other / other.std()
    natural, other = map(speech, waves)
    strongest, (first, second) = natural.powers.max(), other.path_from(natural).T
    far = distortion(natural.cepstrum(strongest)[:, first], other.cepstrum(strongest)[:, second])
    assert warped_distortion(natural, other) < 0.1 < 1 < far.mean()


def test_whispering_is_an_error_of_voicing():
    natural = speech(voice())
    voiced = (natural.f0 > 0).mean()
    silent = speech(np.zeros_like(voice()))
    assert 0.4 < voiced < 1 and not silent.f0.any()
    assert voicing_error(natural, silent) > 30
    with pytest.raises(ValueError, match="voiced in both"):
        log_f0_error(natural, silent)


def test_silence_is_refused():
    with pytest.raises(ValueError, match="silence"):
        warped_distortion(speech(np.zeros(RATE, np.float32)), speech(voice()))


def test_pitch_is_looked_for_within_the_range():
    assert (speech(voice(pitch=300), f0_range=(60, 200)).f0 <= 200 * 1.1).all()
    assert speech(voice(pitch=300)).f0.max() > 280


def test_durations_of_symbols():
    natural = speech(voice(), durations=np.array([0.1, 0.2, 0.3]))
    assert symbol_duration_error(natural, natural) == 0
    other = speech(voice(), durations=np.array([0.13, 0.2, 0.24]))
    assert symbol_duration_error(natural, other) == pytest.approx(30)
    with pytest.raises(ValueError, match="3 natural durations, 2 synthetic"):
        symbol_duration_error(natural, speech(voice(), durations=np.array([0.1, 0.2])))
    with pytest.raises(ValueError, match="no durations"):
        symbol_duration_error(natural, speech(voice()))


def test_without_world_the_spectrum_gives_the_cepstra(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyworld", None)
    monkeypatch.setattr(voice_measures, "has_world", lambda: False)
    natural = speech(voice())
    assert warped_distortion(natural, speech(voice())) == 0
    assert 0 < warped_distortion(natural, speech(noisy(voice(), 0.01)))
    assert "pyworld can't be imported" in why_not("log_f0", MEASURES) and why_not("mcd", MEASURES) == ""


def test_a_speakers_similarity_is_the_cosine_of_the_librarys_embeddings(monkeypatch, tmp_path):
    """The library's interface, its network replaced: spectra of few bands."""

    class VoiceEncoder:
        def __init__(self, device, verbose):
            assert device == "cpu"

        def embed_utterance(self, wave):
            return np.abs(np.fft.rfft(wave[: len(wave) // 2 * 2]))[:400].reshape(40, 10).sum(1)

    library = types.ModuleType("resemblyzer")
    library.VoiceEncoder, library.preprocess_wav = VoiceEncoder, lambda wave: wave
    monkeypatch.setitem(sys.modules, "resemblyzer", library)
    voice_measures._speaker_encoder.cache_clear()
    try:
        natural = speech(voice())
        same, other = (speaker_similarity(natural, speech(w)) for w in (voice(), voice(pitch=260)))
    finally:
        voice_measures._speaker_encoder.cache_clear()
    assert same == pytest.approx(1) and other < 0.9


@pytest.mark.parametrize("key", ["speaker", "dnsmos"])
def test_networks_that_listen(key):
    """Where the libraries are installed: the same speech scores as high as can be, and higher than noise."""
    if reason := why_not(key, MEASURES):
        pytest.skip(reason)
    function = {"speaker": speaker_similarity, "dnsmos": dnsmos}[key]
    natural = speech(voice(2.0))
    clean, noise = (function(natural, speech(noisy(voice(2.0), level))) for level in (0.0, 0.1))
    assert clean > noise
    assert clean == pytest.approx(1) if key == "speaker" else 1 <= clean <= 5


def test_nisqa_needs_its_weights(monkeypatch, tmp_path):
    monkeypatch.setattr(voice_measures, "NISQA_WEIGHTS", tmp_path / "nisqa.tar")
    pytest.importorskip("torchmetrics")
    assert "weights aren't at" in why_not("nisqa", MEASURES)
    (tmp_path / "nisqa.tar").write_bytes(b"")
    assert why_not("nisqa", MEASURES) == ""
    heard = []

    def library(wave, rate):
        heard.append((wave.dtype, tuple(wave.shape), rate))
        return torch.tensor([3.5, 1, 1, 1, 1])

    name = "torchmetrics.functional.audio.nisqa"
    module = types.ModuleType(name)
    module.non_intrusive_speech_quality_assessment = library
    monkeypatch.setitem(sys.modules, name, module)
    wave = voice(0.3)
    assert nisqa(speech(wave), speech(wave)) == 3.5 and heard == [(torch.float32, wave.shape, RATE)]


def test_the_cepstrum_is_its_formula():
    powers = np.random.default_rng(0).uniform(0.1, 1, (40, 3))
    k = np.arange(40)
    first = [(np.log(powers[:, 0]) * np.cos(np.pi * d * (k + 0.5) / 40)).sum() / 40 for d in range(1, 25)]
    assert mel_cepstrum(powers, 1.0)[:, 0] == pytest.approx(np.array(first))
