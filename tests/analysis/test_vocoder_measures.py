"""Measures of copy-synthesis: best on equal audio, worse with more noise, formulas against hand examples."""

import functools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from imlspike.analysis.cepstrum import BANDS, COEFFICIENTS, mel_powers, power_spectrum
from imlspike.analysis.vocoder_measures import (
    MEASURES,
    Sound,
    estoi,
    f1_score,
    mel_cepstral_distortion,
    mel_distance,
    periodicity,
    pesq,
    pitch_error,
    utmos,
    visqol,
    vuv_f1,
    why_not,
)
from imlspike.data.audio import read_audio
from imlspike.inference.griffin_lim import griffin_lim
from imlspike.models.vocoder_parts import LogMelFeatures

from .vocoder_audio import RATE, noisy, voice

FEATURES = LogMelFeatures(RATE, 512, 128, 40)


def mel_l1(natural, synthetic):
    return mel_distance(FEATURES, natural, synthetic)


def sound(wave):
    return Sound(wave, RATE, "tiny")


@functools.cache
def at_level(level):
    """The voice with noise; one pitch track serves all measures."""
    return sound(noisy(voice(), level) if level else voice())


def needs(key):
    if reason := why_not(key):
        pytest.skip(reason)


@pytest.mark.parametrize(
    ("key", "function", "best"),
    [
        ("pesq", pesq, 4.644),
        ("estoi", estoi, 1.0),
        ("vuv_f1", vuv_f1, 1.0),
        ("periodicity", periodicity, 0.0),
        ("pitch", pitch_error, 0.0),
        ("mcd", mel_cepstral_distortion, 0.0),
        ("mel_l1", mel_l1, 0.0),
    ],
)
def test_equal_audio_is_best_and_noise_makes_it_worse_and_worse(key, function, best):
    needs(key)
    natural = at_level(0)
    assert function(natural, sound(voice())) == pytest.approx(best, abs=1e-3)
    levels = (0.003, 0.03) if "torchcrepe" in MEASURES[key].needs else (0.001, 0.003, 0.01, 0.03)
    values = [best, *(function(natural, at_level(level)) for level in levels)]
    order = sorted(values, reverse=MEASURES[key].higher)
    if key != "pitch":  # its frames change with the noise
        assert values == order
    assert abs(values[-1] - best) > 1e-3


def test_visqol_on_real_speech(real_audio):
    """Here only: without a compiled copy in its cache the library takes half a minute to make one."""
    needs("visqol")
    path = next((real_audio / "LibriSpeech").rglob("*.flac"), None)
    if path is None:
        pytest.skip(f"no FLAC under {real_audio}/LibriSpeech")
    wave = read_audio(path, RATE)[: 2 * RATE]
    values = [visqol(sound(wave), sound(noisy(wave, level))) for level in (0.0, 0.001, 0.01)]
    assert values[0] == pytest.approx(4.732, abs=1e-3)
    assert values == sorted(values, reverse=True) and values[2] < 4


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=30))
def test_f1_is_the_harmonic_mean_of_precision_and_recall(frames):
    truth, guess = (np.array(side, bool) for side in zip(*frames, strict=True))
    right = (truth & guess).sum()
    if not (truth | guess).any():
        with pytest.raises(ValueError, match="no voiced frame"):
            f1_score(truth, guess)
    elif right == 0:
        assert f1_score(truth, guess) == 0
    else:
        precision, recall = right / guess.sum(), right / truth.sum()
        assert f1_score(truth, guess) == pytest.approx(2 * precision * recall / (precision + recall))


def test_the_pitch_tracker_finds_the_pitch_and_the_pause():
    needs("vuv_f1")
    pitch, found = sound(voice(pitch=150.0)).pitch
    frames = len(pitch)
    assert frames == 1 + (round(1.2 * RATE) - 1024) // 160
    assert np.nanmedian(pitch) == pytest.approx(150, rel=0.1)
    assert np.isnan(pitch[-10:]).all() and not np.isnan(pitch[10 : frames // 2]).any()
    with pytest.raises(ValueError, match="pitch needs 1024"):
        _ = sound(np.zeros(1000, dtype=np.float32)).pitch


def test_the_cepstral_distortion_is_the_difference_of_smoothed_spectra_in_decibels():
    """An independent form: the spectra's difference in dB, rebuilt from 24 coefficients, root mean square."""
    natural, synthetic = voice(), noisy(voice(), 0.01)
    powers = [mel_powers(power_spectrum(wave, RATE, RATE // 200), RATE) for wave in (natural, synthetic)]
    speech = powers[0].sum(0) >= powers[0].sum(0).max() * 1e-5
    decibels = [10 * np.log10(np.maximum(p, powers[0].max() * 1e-8))[:, speech] for p in powers]
    basis = np.cos(np.pi * np.arange(1, COEFFICIENTS + 1)[:, None] * (np.arange(BANDS) + 0.5) / BANDS)
    basis *= np.sqrt(2 / BANDS)  # orthonormal
    smooth = basis.T @ (basis @ (decibels[0] - decibels[1]))
    expected = np.sqrt((smooth**2).mean(0)).mean()
    assert mel_cepstral_distortion(sound(natural), sound(synthetic)) == pytest.approx(expected)


def test_the_cepstral_distortion_does_not_see_the_level_but_sees_the_pitch_move_little():
    wave = voice()
    assert mel_cepstral_distortion(sound(wave), sound(wave / 2)) < 0.1
    with pytest.raises(ValueError, match="silence"):
        mel_cepstral_distortion(sound(np.zeros(8000, dtype=np.float32)), sound(wave[:8000]))


def test_the_mel_distance_of_audio_at_half_the_level_is_log_two():
    wave = voice() + 0.01 * np.random.default_rng(0).normal(size=19200).astype(np.float32)
    assert mel_l1(sound(wave), sound(wave / 2)) == pytest.approx(np.log(2), abs=1e-4)


def test_audio_of_another_rate_is_resampled_once():
    one = Sound(voice(rate=24000), 24000, "tiny")
    assert len(one.at(RATE)) == len(one.samples) * 2 // 3
    assert one.at(RATE) is one.at(RATE) and one.at(24000) is one.samples
    with pytest.raises(ValueError, match="'full' or 'tiny'"):
        Sound(voice(), RATE, "small")


def test_a_missing_library_is_a_reason_with_the_way_out(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pesq", None)
    assert "pesq can't be imported" in why_not("pesq") and "imlspike[scores]" in why_not("pesq")
    assert why_not("mcd") == ""


def test_utmos_needs_its_weights(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    assert "tarepan/SpeechMOS" in why_not("utmos")
    (tmp_path / "tarepan_SpeechMOS_v1.2.0").mkdir()
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints/utmos22_strong_step1.pt").touch()
    (tmp_path / "tarepan_SpeechMOS_v1.2.0/hubconf.py").write_text(
        "import torch\n\n\nclass Mean(torch.nn.Module):\n"
        "    def forward(self, wave, rate):\n        return wave.mean(1) + rate\n\n\n"
        "def utmos22_strong():\n    return Mean()\n"
    )
    assert why_not("utmos") == ""
    assert utmos(sound(voice()), sound(np.full(100, 0.5, np.float32))) == 16000.5


def test_griffin_lim_brings_the_spectrogram_back_and_is_repeatable():
    wave = torch.from_numpy(voice())[None]
    log_mel = FEATURES(wave)
    audio = griffin_lim(FEATURES, log_mel)
    assert audio.shape == (1, len(wave[0]) // 128 * 128)
    torch.manual_seed(5)
    assert torch.equal(audio, griffin_lim(FEATURES, log_mel))
    first = griffin_lim(FEATURES, log_mel, iterations=1)

    def error(audio):
        return float((FEATURES(audio).exp() - log_mel.exp()).norm() / log_mel.exp().norm())

    assert error(audio) < 0.15 < error(first)
