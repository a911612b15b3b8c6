"""Discriminators: no sample or frequency left out, published sizes, scores that training moves apart."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from imlspike.losses import feature_matching, hinge_generator
from imlspike.models.discriminators import (
    MultiPeriodDiscriminator,
    MultiResolutionDiscriminator,
    PeriodDiscriminator,
    ResolutionDiscriminator,
)


def small():
    """Both discriminators, of a size that a test can train."""
    return MultiPeriodDiscriminator(channels=(4, 8, 8)), MultiResolutionDiscriminator((256, 128), 4, bands=2)


@given(period=st.sampled_from([2, 3, 5, 7, 11]), samples=st.integers(12, 60))
def test_folding_loses_no_sample(period, samples):
    audio = torch.randn(2, samples)
    columns = PeriodDiscriminator(period, (4, 4)).fold(audio)
    assert columns.shape == (2, period, -(-samples // period))
    flat = columns.transpose(1, 2).flatten(1)
    assert torch.equal(flat[:, :samples], audio)
    extra = flat.shape[1] - samples
    assert torch.equal(flat[:, samples:], audio[:, -extra - 1 : -1].flip(1) if extra else audio[:, :0])


def test_a_period_against_convolutions_over_two_dimensions():
    """HiFi-GAN folds into an image and convolves with kernels one column wide."""
    ours, audio = PeriodDiscriminator(3, (4, 6, 8)).double(), torch.randn(2, 100, dtype=torch.float64)
    x = functional.pad(audio[:, None], (0, 2), "reflect").view(2, 1, 34, 3)
    want = []
    for conv, stride in zip(ours.convs, (3, 3, 1), strict=True):
        x = functional.conv2d(x, conv.weight[..., None], conv.bias, (stride, 1), (2, 0))
        x = functional.leaky_relu(x, 0.1)
        want.append(x)
    want.append(functional.conv2d(x, ours.post.weight[..., None], ours.post.bias, padding=(1, 0)))
    scores, maps = ours(audio)
    assert len(maps) == 3
    for got, image in zip(maps, want[1:], strict=True):
        torch.testing.assert_close(got.unflatten(0, (2, 3)), image.permute(0, 3, 1, 2))
    torch.testing.assert_close(scores.sort().values, want[-1].flatten(1).sort().values)


@pytest.mark.parametrize("n_fft", [2048, 1024, 512])
def test_bands_are_vocos_own_and_leave_no_frequency_out(n_fft):
    bins = n_fft // 2 + 1
    cuts = [0, int(0.1 * bins), int(0.25 * bins), int(0.5 * bins), int(0.75 * bins), bins]
    widths = ResolutionDiscriminator(n_fft, channels=1).widths
    assert widths == [high - low for low, high in zip(cuts, cuts[1:], strict=False)]
    assert sum(widths) == bins


def test_a_resolution_against_its_bands_one_by_one():
    ours, audio = ResolutionDiscriminator(128, channels=4).double(), torch.randn(2, 500, dtype=torch.float64)
    centred = audio - audio.mean(1, keepdim=True)
    centred = 0.8 * centred / centred.abs().amax(1, keepdim=True)
    padded = functional.pad(centred[:, None], (64, 64), "reflect")[:, 0]
    frames = padded.unfold(1, 128, 32) * torch.hann_window(128, dtype=torch.float64)
    spectrum = torch.fft.rfft(frames)
    image = torch.stack((spectrum.real, spectrum.imag), 1)
    torch.testing.assert_close(ours.spectrogram(audio), image, rtol=1e-6, atol=1e-6)
    ends, want = [], []
    for convs, low, high in zip(ours.bands, (0, 6, 16, 32, 48), (6, 16, 32, 48, 65), strict=True):
        x = image[..., low:high]
        for number, conv in enumerate(convs):
            stride, padding = (2 if number in (1, 2, 3) else 1), (1, 4 if number < 4 else 1)
            x = functional.conv2d(x, conv.weight, conv.bias, (1, stride), padding)
            x = functional.leaky_relu(x, 0.1)
            want += [x] if number else []
        ends.append(x)
    want.append(functional.conv2d(torch.cat(ends, -1), ours.post.weight, ours.post.bias, padding=1))
    scores, maps = ours(audio)
    for got, image in zip(maps, want, strict=True):
        torch.testing.assert_close(got, image, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(scores, want[-1].flatten(1), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("bands", "widths"), [(1, [65]), (2, [32, 33]), ((0.0, 0.25, 1.0), [16, 49])])
def test_other_bands(bands, widths):
    assert ResolutionDiscriminator(128, channels=2, bands=bands).widths == widths


@pytest.mark.parametrize(
    "bands", [(0.1, 1.0), (0.0, 0.5), (0.0, 0.7, 0.5, 1.0), (0.0, 0.5, 0.5, 1.0), (1.0,)]
)
def test_wrong_bands_are_refused(bands):
    with pytest.raises(ValueError, match="rise from"):
        ResolutionDiscriminator(128, bands=bands)


def test_an_utterance_is_scored_alone_as_in_a_batch():
    audio = torch.randn(3, 600)
    for discriminator in small():
        together, maps = discriminator(audio)
        for n in range(3):
            alone, _ = discriminator(audio[n : n + 1])
            for one, many in zip(alone, together, strict=True):
                torch.testing.assert_close(one[0], many[n], rtol=1e-4, atol=1e-5)


def test_sizes_at_full_width():
    """41.1 M is HiFi-GAN's; both counted once more by hand: kernels, biases and the norms of the weights."""
    full = MultiPeriodDiscriminator(), MultiResolutionDiscriminator()
    sizes = [sum(parameter.numel() for parameter in each.parameters()) for each in full]
    layers = [(1, 32, 5), (32, 128, 5), (128, 512, 5), (512, 1024, 5), (1024, 1024, 5), (1024, 1, 3)]
    period = sum(i * o * k + 2 * o for i, o, k in layers)
    band = sum(i * 32 * k + 64 for i, k in [(2, 27), (32, 27), (32, 27), (32, 27), (32, 9)])
    assert sizes == [5 * period, 3 * (5 * band + 32 * 9 + 2)] == [41_105_770, 1_413_990]


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("silent", [False, True])
def test_gradients_to_generated_audio_are_finite_and_not_zero(which, silent):
    discriminator = small()[which]
    real = torch.randn(2, 600)
    fake = (torch.zeros(2, 600) if silent else torch.randn(2, 600)).requires_grad_()
    with torch.no_grad():
        _, of_real = discriminator(real)
    scores, maps = discriminator(fake)
    for loss in (hinge_generator(scores), feature_matching(of_real, maps)):
        (gradient,) = torch.autograd.grad(loss, fake, retain_graph=True)
        assert torch.isfinite(gradient).all()
        assert gradient.any() or silent


def test_weights_are_normalised():
    """The norm of a filter is a parameter of its own, apart from its direction."""
    for discriminator in small():
        convs = [m for m in discriminator.modules() if isinstance(m, (torch.nn.Conv1d, torch.nn.Conv2d))]
        assert convs
        for conv in convs:
            norm, direction = conv.parametrizations.weight.original0, conv.parametrizations.weight.original1
            norm.data.fill_(3.0), direction.data.mul_(7)
            torch.testing.assert_close(conv.weight.flatten(1).norm(dim=1), torch.full((len(norm),), 3.0))


def test_half_precision_changes_scores_little_and_spectra_not_at_all():
    audio = torch.randn(2, 600)
    for discriminator in small():
        scores, _ = discriminator(audio)
        with torch.autocast("cpu", torch.bfloat16):
            half, _ = discriminator(audio.bfloat16().float())
        for one, other in zip(scores, half, strict=True):
            torch.testing.assert_close(one, other.float(), rtol=0.1, atol=0.02)
    resolution = ResolutionDiscriminator(128, channels=2)
    wanted = resolution.spectrogram(audio)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(resolution.spectrogram(audio), wanted)
