"""Gain and silence around speech don't change a waveform of normalized level."""

import pytest
import torch

from imlspike.data import level
from imlspike.layers.level import (
    gain_to,
    normalize_level,
    running_gains,
    speech_power,
)

RATE, LEVEL = 16000, -20.0


def speech(seconds: float = 2.0) -> torch.Tensor:
    """Noise in syllables, over a range of 40 dB."""
    generator = torch.Generator().manual_seed(0)
    time = torch.arange(int(seconds * RATE)) / RATE
    return torch.randn(len(time), generator=generator) * 10 ** (-1 - torch.sin(12 * time) - (time * 7).frac())


def test_pauses_do_not_count():
    wave = speech()
    frames = wave.view(-1, 400).var(1, correction=0)
    found = speech_power(wave, RATE)
    torch.testing.assert_close(found, frames[frames > 0.1 * found].mean())  # the mean that gates itself


def test_an_offset_is_no_sound():
    quiet = 0.1 * speech()
    torch.testing.assert_close(speech_power(quiet + 0.5, RATE), speech_power(quiet, RATE), rtol=1e-3, atol=0)


@pytest.mark.parametrize("cuts", [[], [7], [399, 400, 9000], [0, 1, 31999]], ids=str)
def test_in_blocks_as_in_one(cuts):
    wave = speech()
    blocks = torch.tensor_split(wave, cuts)
    found = level.speech_power((block.numpy() for block in blocks), RATE)
    assert found == pytest.approx(speech_power(wave, RATE).item(), rel=1e-5)


@pytest.mark.parametrize("gain", [-40, -12, 12, 60])
def test_gain_does_not_matter(gain):
    wave = speech()
    reference = normalize_level(wave, RATE, LEVEL)
    torch.testing.assert_close(normalize_level(wave * 10 ** (gain / 20), RATE, LEVEL), reference)
    assert 10 * torch.log10(speech_power(reference, RATE)).item() == pytest.approx(LEVEL, abs=1e-3)


@pytest.mark.parametrize("noise", [0.0, 1e-3])
@pytest.mark.parametrize("seconds", [0.3, 16])
def test_silence_around_does_not_matter(noise, seconds):
    wave = speech()
    before, behind = (noise * torch.randn(int(seconds * RATE)) for _ in range(2))
    padded = normalize_level(torch.cat([before, wave, behind]), RATE, LEVEL)
    inside = padded[len(before) : len(before) + len(wave)]
    gain = (inside / normalize_level(wave, RATE, LEVEL)).nanmedian()
    assert 20 * torch.log10(gain).abs() < 0.2  # dB: frames may be cut elsewhere


@pytest.mark.parametrize("wave", [torch.zeros(1000), torch.zeros(1), 1e-30 * torch.ones(5000)], ids=len)
def test_silence_stays_silence(wave):
    assert normalize_level(wave, RATE, LEVEL).abs().max() <= 1000 * wave.abs().max()


def test_each_waveform_of_a_batch_alone():
    wave = speech()
    batch = torch.stack([wave, 0.01 * wave.flip(0)])
    alone = [normalize_level(one, RATE, LEVEL) for one in batch]
    torch.testing.assert_close(normalize_level(batch, RATE, LEVEL), torch.stack(alone))


def test_a_running_level_knows_the_past_alone_and_finds_speech():
    wave = torch.cat([0.001 * torch.randn(RATE), speech(4.0)])
    ends = torch.arange(160, len(wave), 160)
    gains = running_gains(wave, RATE, LEVEL, ends)
    torch.testing.assert_close(running_gains(wave[: 2 * RATE], RATE, LEVEL, ends[:199]), gains[:199])
    assert gains[:50].max() <= 10**1.5 + 1e-3  # the noise before isn't brought to the level of speech
    whole = gain_to(LEVEL, speech_power(wave, RATE))
    assert ((gains[150:] / whole).log10().abs() < 0.3).all()  # half a second into it: within 6 dB
    quieter = torch.cat([wave, 0.03 * wave, 0.03 * wave, 0.03 * wave, 0.03 * wave])
    again = running_gains(quieter, RATE, LEVEL, torch.tensor([len(quieter)]))
    assert again / whole > 10  # another speaker, 30 dB quieter, is found in the end
