"""Measures of speech: best on equal audio, what a known change does to them, formulas written down again."""

import functools
import math
import sys
import types

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from imlspike.data.audio import read_audio
from imlspike.evaluation import measures
from imlspike.evaluation.measures import VOCODER, VOICE, why_not
from imlspike.evaluation.sound import BANDS, COEFFICIENTS, Sound, mel_cepstrum, mel_powers, power_spectrum
from imlspike.inference.griffin_lim import griffin_lim
from imlspike.layers.log_mel import LogMel
from tests.evaluation.speechlike import RATE, noisy, voice

FEATURES = LogMel(RATE, 512, 128, 40)


def sound(wave, **options):
    return Sound(wave, RATE, "tiny", log_mel=FEATURES, **options)


@functools.cache
def at_level(level):
    """The voice with noise; one pitch track serves all measures."""
    return sound(noisy(voice(), level) if level else voice())


def needs(*wanted):
    if reason := next(filter(None, map(why_not, wanted)), ""):
        pytest.skip(reason)


BEST = {"pesq": 4.644, "estoi": 1.0, "vuv_f1": 1.0, "periodicity": 0, "pitch": 0, "mcd": 0, "mel_l1": 0}


@pytest.mark.parametrize(("key", "best"), BEST.items())
def test_equal_audio_is_best_and_noise_makes_it_worse_and_worse(key, best):
    measure = VOCODER[key]
    needs(measure)
    natural = at_level(0)
    assert measure.function(natural, sound(voice())) == pytest.approx(best, abs=1e-3)
    levels = (0.003, 0.03) if "torchcrepe" in measure.needs else (0.001, 0.003, 0.01, 0.03)
    values = [best, *(measure.function(natural, at_level(level)) for level in levels)]
    if key != "pitch":  # its frames change with the noise
        assert values == sorted(values, reverse=measure.arrow == "↑")
    assert abs(values[-1] - best) > 1e-3


def test_visqol_on_real_speech(real_audio):
    """Here only: without a compiled copy in its cache the library takes half a minute to make one."""
    needs(VOCODER["visqol"])
    path = next((real_audio / "LibriSpeech").rglob("*.flac"), None)
    if path is None:
        pytest.skip(f"no FLAC under {real_audio}/LibriSpeech")
    wave = read_audio(path, RATE)[: 2 * RATE]
    values = [measures.visqol(sound(wave), sound(noisy(wave, level))) for level in (0.0, 0.001, 0.01)]
    assert values[0] == pytest.approx(4.732, abs=1e-3)
    assert values == sorted(values, reverse=True) and values[2] < 4


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=30))
def test_f1_is_the_harmonic_mean_of_precision_and_recall(frames):
    truth, guess = (np.array(side, bool) for side in zip(*frames, strict=True))
    right = (truth & guess).sum()
    if not (truth | guess).any():
        with pytest.raises(ValueError):
            measures.f1_score(truth, guess)
    elif right == 0:
        assert measures.f1_score(truth, guess) == 0
    else:
        precision, recall = right / guess.sum(), right / truth.sum()
        assert measures.f1_score(truth, guess) == pytest.approx(2 * precision * recall / (precision + recall))


def test_the_pitch_tracker_finds_the_pitch_and_the_pause():
    needs(VOCODER["vuv_f1"])
    pitch, _ = sound(voice(pitch=150.0)).pitch
    assert len(pitch) == 1 + (round(1.2 * RATE) - 1024) // 160
    assert np.nanmedian(pitch) == pytest.approx(150, rel=0.1)
    assert np.isnan(pitch[-10:]).all() and not np.isnan(pitch[10 : len(pitch) // 2]).any()
    with pytest.raises(ValueError, match="1024"):
        _ = sound(np.zeros(1000, dtype=np.float32)).pitch


def test_the_cepstral_distortion_is_the_difference_of_smoothed_spectra_in_decibels():
    """An independent form: the spectra's difference in dB, rebuilt from 24 coefficients, root mean square."""
    natural, synthetic = voice(), noisy(voice(), 0.01)
    powers = [mel_powers(power_spectrum(wave, RATE, RATE // 200), RATE) for wave in (natural, synthetic)]
    speech = powers[0].sum(0) >= powers[0].sum(0).max() * 1e-5
    decibels = [10 * np.log10(np.maximum(p, powers[0].max() * 1e-8))[:, speech] for p in powers]
    basis = np.cos(np.pi * np.arange(1, COEFFICIENTS + 1)[:, None] * (np.arange(BANDS) + 0.5) / BANDS)
    basis *= np.sqrt(2 / BANDS)  # orthonormal
    expected = np.sqrt(((basis.T @ (basis @ (decibels[0] - decibels[1]))) ** 2).mean(0)).mean()
    distortion = measures.mel_cepstral_distortion
    assert distortion(sound(natural), sound(synthetic)) == pytest.approx(expected)
    assert distortion(sound(natural), sound(natural / 2)) < 0.1  # the level plays no part
    with pytest.raises(ValueError, match="silence"):
        distortion(sound(np.zeros(8000, np.float32)), sound(natural[:8000]))


def test_the_mel_distance_of_audio_at_half_the_level_is_log_two():
    wave = noisy(voice(), 0.01)
    assert measures.mel_distance(sound(wave), sound(wave / 2)) == pytest.approx(np.log(2), abs=1e-4)


def test_audio_of_another_rate_is_resampled_once():
    one = Sound(voice(rate=24000), 24000, "tiny")
    assert len(one.at(RATE)) == len(one.samples) * 2 // 3
    assert one.at(RATE) is one.at(RATE) and one.at(24000) is one.samples


def test_a_missing_library_or_missing_weights_are_a_reason_with_the_way_out(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "pesq", None)
    assert "imlspike[scores]" in why_not(VOCODER["pesq"]) and why_not(VOCODER["mcd"]) == ""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    assert "tarepan/SpeechMOS" in why_not(VOCODER["utmos"])
    (tmp_path / "tarepan_SpeechMOS_v1.2.0").mkdir()
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints/utmos22_strong_step1.pt").touch()
    (tmp_path / "tarepan_SpeechMOS_v1.2.0/hubconf.py").write_text(
        "import torch\n\n\nclass Mean(torch.nn.Module):\n"
        "    def forward(self, wave, rate):\n        return wave.mean(1) + rate\n\n\n"
        "def utmos22_strong():\n    return Mean()\n"
    )
    assert why_not(VOCODER["utmos"]) == ""
    assert measures.utmos(sound(voice()), sound(np.full(100, 0.5, np.float32))) == 16000.5


def resung(wave, pitch=1.0, tempo=None):
    """The wave by WORLD with its pitch times a factor, and at frame l what it has at frame tempo[l]."""
    import pyworld

    f0, envelope, aperiodicity = pyworld.wav2world(wave.astype(np.float64), RATE)
    tempo = np.arange(len(f0)) if tempo is None else np.clip(np.round(tempo), 0, len(f0) - 1).astype(int)
    parts = (np.ascontiguousarray(part[tempo]) for part in (f0 * pitch, envelope, aperiodicity))
    return pyworld.synthesize(*parts, RATE).astype(np.float32)


@pytest.fixture(scope="module")
def sung():
    needs(VOICE["mcd"])
    return resung(voice())


@pytest.mark.parametrize("key", ["mcd", "log_f0", "voicing"])
def test_equal_speech_has_no_error_and_noise_adds_some(key):
    needs(VOICE[key])
    natural = sound(voice())
    same, noise = (VOICE[key].function(natural, sound(noisy(voice(), level))) for level in (0.0, 0.01))
    assert same == 0 < noise


@pytest.mark.parametrize("factor", [0.8, 1.25])
def test_a_factor_on_the_pitch_is_its_logarithm(sung, factor):
    natural, higher = sound(sung), sound(resung(voice(), pitch=factor))
    assert measures.log_f0_error(natural, higher) == pytest.approx(abs(math.log(factor)), rel=0.1)
    assert measures.warped_distortion(natural, higher) < 1.5  # the envelope is the same


def test_warped_time_is_warped_back(sung):
    frames = len(voice()) // (RATE // 200) + 1
    slow = frames * (np.linspace(0, 1, round(1.3 * frames)) ** 1.2)
    natural, warped = sound(sung), sound(resung(voice(), tempo=slow))
    powers = [s.world[1] for s in (natural, warped)]
    shorter = min(p.shape[1] for p in powers)
    in_step = measures.cepstral_distortion(*(p[:, :shorter] for p in powers))
    assert measures.warped_distortion(natural, warped) < 0.4 * in_step
    assert measures.log_f0_error(natural, warped) < 0.05
    assert measures.length_error(natural, warped) == pytest.approx(30, abs=1.5)


def test_the_path_is_the_least_of_all():
    """Against the recurrence, written down: no path from corner to corner is cheaper."""
    needs(VOICE["mcd"])
    natural, other = (sound(voice(0.2, pitch, seed)) for pitch, seed in ((120, 0), (150, 1)))
    one, two = (mel_cepstrum(s.world[1], natural.world[1].max()) for s in (natural, other))
    cost = np.sqrt(((one[:, :, None] - two[:, None]) ** 2).sum(0))
    total = np.full((cost.shape[0] + 1, cost.shape[1] + 1), np.inf)
    total[0, 0] = 0
    for i, j in np.ndindex(cost.shape):
        total[i + 1, j + 1] = cost[i, j] + min(total[i, j], total[i, j + 1], total[i + 1, j])
    path = np.stack(other.path_from(natural), 1)
    assert cost[path[:, 0], path[:, 1]].sum() == pytest.approx(total[-1, -1])
    assert path[0].tolist() == [0, 0] and path[-1].tolist() == [cost.shape[0] - 1, cost.shape[1] - 1]
    assert np.isin(np.diff(path, axis=0), (0, 1)).all()


def test_pauses_and_loudness_are_no_error_and_voicing_is():
    needs(VOICE["mcd"])
    natural = sound(voice())
    assert measures.warped_distortion(natural, sound(0.5 * voice())) < 0.02
    waves, noise = [voice(), voice()], np.random.default_rng(3).normal(0, 1, len(voice()) // 4)
    for wave, other in zip(waves, (noise, noise.cumsum()), strict=True):  # white, and red
        wave[-len(noise) :] = 1e-4 * other / other.std()
    assert measures.warped_distortion(*map(sound, waves)) < 0.5
    silent = sound(noisy(np.zeros_like(voice()), 0.1))
    assert measures.voicing_error(natural, silent) > 30
    with pytest.raises(ValueError, match="voiced in both"):
        measures.log_f0_error(natural, silent)
    with pytest.raises(ValueError, match="silence"):
        measures.warped_distortion(sound(np.zeros(RATE, np.float32)), sound(voice()))
    assert (sound(voice(pitch=300), f0_range=(60, 200)).world[0] <= 200 * 1.1).all()


def test_durations_of_symbols():
    natural = sound(voice(), durations=np.array([0.1, 0.2, 0.3]))
    assert measures.symbol_duration_error(natural, natural) == 0
    other = sound(voice(), durations=np.array([0.13, 0.2, 0.24]))
    assert measures.symbol_duration_error(natural, other) == pytest.approx(30)
    for durations in (np.array([0.1, 0.2]), None):
        with pytest.raises(ValueError, match="durations"):
            measures.symbol_duration_error(natural, sound(voice(), durations=durations))


def test_dnsmos_hears_noise():
    needs(VOICE["dnsmos"])
    clean, noise = (measures.dnsmos(None, sound(noisy(voice(2.0), level))) for level in (0.0, 0.1))
    assert 5 >= clean > noise >= 1


def test_nisqa_needs_its_weights(monkeypatch, tmp_path):
    pytest.importorskip("torchmetrics")
    monkeypatch.setattr(measures, "NISQA_WEIGHTS", tmp_path / "nisqa.tar")
    assert "nisqa.tar" in why_not(VOICE["nisqa"])
    (tmp_path / "nisqa.tar").write_bytes(b"")
    assert why_not(VOICE["nisqa"]) == ""
    name = "torchmetrics.functional.audio.nisqa"
    module, heard = types.ModuleType(name), []
    module.non_intrusive_speech_quality_assessment = lambda wave, rate: (
        heard.append((wave.dtype, tuple(wave.shape), rate)) or torch.tensor([3.5, 1, 1, 1, 1])
    )
    monkeypatch.setitem(sys.modules, name, module)
    wave = voice(0.3)
    assert measures.nisqa(sound(wave), sound(wave)) == 3.5 and heard == [(torch.float32, wave.shape, RATE)]


def test_griffin_lim_brings_the_spectrogram_back_and_is_repeatable():
    wave = torch.from_numpy(voice())[None]
    log_mel = FEATURES(wave)
    audio = griffin_lim(FEATURES, log_mel)
    assert audio.shape == (1, len(wave[0]) // 128 * 128)
    torch.manual_seed(5)
    assert torch.equal(audio, griffin_lim(FEATURES, log_mel))

    def error(audio):
        return float((FEATURES(audio).exp() - log_mel.exp()).norm() / log_mel.exp().norm())

    assert error(audio) < 0.15 < error(griffin_lim(FEATURES, log_mel, iterations=1))
