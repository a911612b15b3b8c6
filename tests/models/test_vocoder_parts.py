"""Features and head of the vocoder against torchaudio and what they claim."""

import math

import pytest
import torch
import torchaudio

from imlspike.layers.log_mel import LogMel
from imlspike.models.vocoder_parts import ISTFTHead


@pytest.mark.parametrize(("f_min", "f_max"), [(0.0, None), (40.0, 7000.0)])
def test_features_are_the_logarithm_of_torchaudio_s_mel_magnitudes(f_min, f_max):
    audio = torch.cat([torch.randn(2, 3000), 1e-7 * torch.randn(2, 2000), torch.zeros(2, 2000)], 1)
    mel = torchaudio.transforms.MelSpectrogram(
        16000, n_fft=512, hop_length=160, f_min=f_min, f_max=f_max, n_mels=40, power=1
    )
    want = mel(audio).clip(min=1e-7).log()
    got = LogMel(16000, 512, 160, 40, f_min, f_max)(audio)
    assert got.shape == (2, 40, 7000 // 160 + 1) and got.min().item() == pytest.approx(math.log(1e-7))
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", [(100,), (1, 256), (1, 1, 4000)])
def test_audio_of_another_shape_is_refused(shape):
    with pytest.raises(ValueError, match=rf"\(B, S\) of more than 256 samples, got \({shape[0]},"):
        LogMel(16000, 512, 160, 20)(torch.zeros(shape))


@pytest.mark.parametrize("hop", [16, 21, 32])
def test_the_head_gives_back_the_sound_whose_spectrum_it_is_shown(hop):
    """With the identity for its map: log magnitudes and phases of a transform become the audio again."""
    audio, window = torch.randn(2, hop * 30, dtype=torch.float64), torch.hann_window(64).double()
    spectrum = torch.stft(audio, 64, hop, window=window, return_complex=True)
    head = ISTFTHead(66, 64, hop).double()
    torch.nn.init.eye_(head.out.weight), torch.nn.init.zeros_(head.out.bias)
    turns = 2 * math.pi * torch.randint(-3, 4, spectrum.shape).double()
    shown = torch.cat([spectrum.abs().log(), spectrum.angle() + turns], 1).transpose(1, 2)
    got, log_magnitude, phase = head(shown)
    torch.testing.assert_close(got, audio, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(torch.cat([log_magnitude, phase], 1).transpose(1, 2), shown)


def test_magnitudes_are_capped_at_100_and_gradients_stay_finite():
    head = ISTFTHead(4, 64, 16)
    x = torch.randn(1, 5, 4)
    with torch.no_grad():
        head.out.bias[:33] = torch.linspace(-200, 200, 33)
    audio, log_magnitude, _ = head(x)
    assert log_magnitude.max().item() == pytest.approx(math.log(100)) and audio.isfinite().all()
    audio.square().sum().backward()
    assert all(p.grad.isfinite().all() and p.grad.any() for p in head.parameters())
