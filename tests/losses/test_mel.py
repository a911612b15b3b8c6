"""The mel loss against an independent log-mel, and its gradient."""

import numpy as np
import pytest
import torch

from imlspike.losses import MelLoss

OPTIONS = {"sampling_rate": 16000, "n_fft": 512, "hop_length": 128, "n_mels": 20}


def log_mel(audio, f_max):
    """(S,) -> (frames, 20), in numpy: framing, FFT, triangles on the HTK scale."""
    padded = np.pad(audio, 256, mode="reflect")
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(512) / 512)
    starts = range(0, len(padded) - 511, 128)
    magnitude = np.abs(np.fft.rfft([padded[start : start + 512] * window for start in starts]))
    mels = np.linspace(0, 2595 * np.log10(1 + f_max / 700), 22)
    corners = 700 * (10 ** (mels / 2595) - 1)
    hertz = np.linspace(0, 8000, 257)
    rising = (hertz - corners[:-2, None]) / np.diff(corners)[:-1, None]
    falling = (corners[2:, None] - hertz) / np.diff(corners)[1:, None]
    return np.log(np.maximum(magnitude @ np.clip(np.minimum(rising, falling), 0, None).T, 1e-7))


@pytest.mark.parametrize("f_max", [8000.0, 4000.0])
def test_against_numpy(f_max):
    audio, target = np.random.randn(2, 3, 1000) * 0.1
    pairs = zip(audio, target, strict=True)
    want = np.mean([np.abs(log_mel(a, f_max) - log_mel(t, f_max)) for a, t in pairs])
    loss = MelLoss(**OPTIONS, f_max=f_max)(torch.tensor(audio).float(), torch.tensor(target).float())
    assert float(loss) == pytest.approx(want, rel=1e-3)


def test_the_gradient_agrees_with_finite_differences_and_spares_the_target():
    loss = MelLoss(**OPTIONS).double()
    audio, target = 0.1 * torch.randn(2, 2, 600, dtype=torch.float64)
    audio.requires_grad_(), target.requires_grad_()
    (gradient,) = torch.autograd.grad(loss(audio, target), audio)
    assert torch.isfinite(gradient).all() and gradient.any()
    direction = torch.randn_like(audio)
    with torch.no_grad():
        slope = (loss(audio + 1e-7 * direction, target) - loss(audio - 1e-7 * direction, target)) / 2e-7
    torch.testing.assert_close((gradient * direction).sum(), slope, rtol=1e-4, atol=1e-7)
    with pytest.raises(RuntimeError, match="does not require grad"):
        loss(audio.detach(), target).backward()


def test_silence_is_no_trap():
    """Digital silence on either side: the loss and its gradient are finite."""
    loss, silence = MelLoss(**OPTIONS), torch.zeros(1, 600)
    audio = torch.full((1, 600), 1e-12).requires_grad_()
    value = loss(audio, torch.randn(1, 600))
    value.backward()
    assert torch.isfinite(value) and torch.isfinite(audio.grad).all()
    assert float(loss(silence, silence)) == 0


def test_waveforms_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match="shapes"):
        MelLoss(**OPTIONS)(torch.zeros(1, 600), torch.zeros(1, 601))


def test_it_adds_nothing_to_checkpoints():
    assert not MelLoss(**OPTIONS).state_dict()
