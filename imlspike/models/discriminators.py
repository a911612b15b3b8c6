"""Discriminators of Vocos: HiFi-GAN's of several periods, and one of bands of complex spectra.

They take part in training only. Both return, for each of their sub-discriminators, scores (high: real) and
the feature maps that feature matching compares.
"""

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import weight_norm

SLOPE = 0.1
VOCOS_BANDS = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)


class PeriodDiscriminator(nn.Module):
    """Looks at every `period`-th sample: convolutions along columns of audio folded into rows of `period`.

    Args:
        period: samples.
        channels: widths of the convolutions (kernel 5): stride 3 each, the last 1.

    Forward:
        audio: (B, S), S > period; floating point.

    Returns:
        scores (B, K) and the feature maps (B * period, C, K'), of all convolutions but the first.

    >>> scores, maps = PeriodDiscriminator(period=3, channels=(4, 8, 8))(torch.randn(2, 1000))
    >>> scores.shape, [tuple(each.shape) for each in maps]
    (torch.Size([2, 114]), [(6, 8, 38), (6, 8, 38), (6, 1, 38)])
    """

    def __init__(self, period: int, channels: Sequence[int] = (32, 128, 512, 1024, 1024)) -> None:
        super().__init__()
        self.period = period
        strides = [3] * (len(channels) - 1) + [1]
        widths = zip((1, *channels[:-1]), channels, strides, strict=True)
        self.convs = nn.ModuleList(weight_norm(nn.Conv1d(i, o, 5, s, padding=2)) for i, o, s in widths)
        self.post = weight_norm(nn.Conv1d(channels[-1], 1, 3, padding=1))

    def fold(self, audio: Tensor) -> Tensor:
        """(B, S) -> (B, period, ceil(S / period)): column p holds samples p, p + period, and so on.

        What is missing of the last row is mirrored from before the end; no sample is left out.

        >>> PeriodDiscriminator(3, (4, 4)).fold(torch.arange(7.0)[None])[0].tolist()
        [[0.0, 3.0, 6.0], [1.0, 4.0, 5.0], [2.0, 5.0, 4.0]]
        """
        missing = -audio.shape[-1] % self.period
        if missing:
            audio = functional.pad(audio[:, None], (0, missing), "reflect")[:, 0]
        return audio.unflatten(-1, (-1, self.period)).transpose(1, 2)

    def forward(self, audio: Tensor) -> tuple[Tensor, list[Tensor]]:
        # Columns don't mix, so that they can stand in the batch of a one-dimensional convolution.
        x = self.fold(audio).flatten(0, 1).unsqueeze(1)
        maps = []
        for conv in self.convs:
            x = functional.leaky_relu(conv(x), SLOPE)
            maps.append(x)
        x = self.post(x)
        return x.reshape(len(audio), -1), [*maps[1:], x]


class MultiPeriodDiscriminator(nn.Module):
    """A :class:`PeriodDiscriminator` for each period (HiFi-GAN, arXiv 2010.05646, as in Vocos).

    Args:
        periods: samples; primes, so that no two look at the same samples more than they must.
        channels: widths of each one's convolutions. The default is HiFi-GAN's: 41.1 M parameters for five
            periods.

    Forward:
        audio: (B, S), S > the longest period; floating point.

    Returns:
        a list of scores (B, K), and a list of lists of feature maps, for each period.

    >>> mpd = MultiPeriodDiscriminator(channels=(4, 8, 8))
    >>> scores, maps = mpd(torch.randn(2, 1000))
    >>> len(scores), [len(each) for each in maps]
    (5, [3, 3, 3, 3, 3])
    """

    def __init__(
        self,
        periods: Sequence[int] = (2, 3, 5, 7, 11),
        channels: Sequence[int] = (32, 128, 512, 1024, 1024),
    ) -> None:
        super().__init__()
        self.discriminators = nn.ModuleList(PeriodDiscriminator(period, channels) for period in periods)

    def forward(self, audio: Tensor) -> tuple[list[Tensor], list[list[Tensor]]]:
        return _all(self.discriminators, audio)


class ResolutionDiscriminator(nn.Module):
    """Looks at a complex spectrogram, each band of frequencies with convolutions of its own.

    The audio's mean is taken off and its peak set to 0.8 first, so that loudness tells nothing.

    Args:
        n_fft: samples, the Hann window too; the hop is a quarter of it.
        channels: width of all convolutions.
        bands: 5: Vocos's bands, cut at 0.1, 0.25, 0.5 and 0.75 of the frequencies; another number: as many
            of equal width; or the cuts themselves, from 0.0 to 1.0.

    Forward:
        audio: (B, S), S > n_fft / 2; floating point.

    Returns:
        scores (B, K) and the feature maps (B, C, frames, frequencies), of all convolutions of a band but the
        first, band by band, and the scores'.

    Raises:
        ValueError: cuts that don't rise from 0 to 1.

    >>> scores, maps = ResolutionDiscriminator(n_fft=256, channels=4)(torch.randn(2, 1000))
    >>> scores.shape, len(maps), tuple(maps[0].shape)
    (torch.Size([2, 288]), 21, (2, 4, 16, 6))
    """

    def __init__(self, n_fft: int, channels: int = 32, bands: int | Sequence[float] = 5) -> None:
        super().__init__()
        self.n_fft = n_fft
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)
        cuts = [int(cut * (n_fft // 2 + 1)) for cut in _cuts(bands)]
        self.widths = [high - low for low, high in itertools.pairwise(cuts)]
        self.bands = nn.ModuleList(_band_convolutions(channels) for _ in self.widths)
        self.post = weight_norm(nn.Conv2d(channels, 1, 3, padding=1))

    def spectrogram(self, audio: Tensor) -> Tensor:
        """(B, S) -> (B, 2, frames, n_fft / 2 + 1): real and imaginary part.

        >>> tuple(ResolutionDiscriminator(n_fft=256, channels=4).spectrogram(torch.randn(2, 1000)).shape)
        (2, 2, 16, 129)
        """
        with torch.autocast(audio.device.type, enabled=False):
            audio = audio.to(self.window.dtype)
            audio = audio - audio.mean(-1, keepdim=True)
            audio = 0.8 * audio / (audio.abs().amax(-1, keepdim=True) + 1e-9)
            spectrum = torch.stft(audio, self.n_fft, self.n_fft // 4, window=self.window, return_complex=True)
        return torch.view_as_real(spectrum).permute(0, 3, 2, 1)

    def forward(self, audio: Tensor) -> tuple[Tensor, list[Tensor]]:
        bands = self.spectrogram(audio).split(self.widths, dim=-1)
        ends, maps = [], []
        for x, convs in zip(bands, self.bands, strict=True):
            of_band = []
            for conv in convs:
                x = functional.leaky_relu(conv(x), SLOPE)
                of_band.append(x)
            ends.append(x)
            maps += of_band[1:]
        x = self.post(torch.cat(ends, dim=-1))
        return x.flatten(1), [*maps, x]


class MultiResolutionDiscriminator(nn.Module):
    """A :class:`ResolutionDiscriminator` for each FFT size (as in Vocos, after the Descript Audio Codec).

    Args:
        fft_sizes: samples.
        channels: width of all convolutions. The default is Vocos's: 1.4 M parameters for three sizes.
        bands: as in :class:`ResolutionDiscriminator`.

    Forward:
        audio: (B, S), S > half the largest FFT size; floating point.

    Returns:
        a list of scores (B, K), and a list of lists of feature maps, for each FFT size.

    >>> mrd = MultiResolutionDiscriminator(fft_sizes=(256, 128), channels=4)
    >>> scores, maps = mrd(torch.randn(2, 1000))
    >>> len(scores), [len(each) for each in maps]
    (2, [21, 21])
    """

    def __init__(
        self,
        fft_sizes: Sequence[int] = (2048, 1024, 512),
        channels: int = 32,
        bands: int | Sequence[float] = 5,
    ) -> None:
        super().__init__()
        self.discriminators = nn.ModuleList(
            ResolutionDiscriminator(n_fft, channels, bands) for n_fft in fft_sizes
        )

    def forward(self, audio: Tensor) -> tuple[list[Tensor], list[list[Tensor]]]:
        return _all(self.discriminators, audio)


def _all(discriminators: nn.ModuleList, audio: Tensor) -> tuple[list[Tensor], list[list[Tensor]]]:
    results = [discriminator(audio) for discriminator in discriminators]
    return [scores for scores, _ in results], [maps for _, maps in results]


def _cuts(bands: int | Sequence[float]) -> Sequence[float]:
    if isinstance(bands, int):
        return VOCOS_BANDS if bands == 5 else [band / bands for band in range(bands + 1)]
    if list(bands) != sorted(set(bands)) or len(bands) < 2 or bands[0] != 0 or bands[-1] != 1:
        raise ValueError(f"bands must be a number or cuts that rise from 0.0 to 1.0, not {bands!r}")
    return bands


def _band_convolutions(channels: int) -> nn.ModuleList:
    """Kernels of 3 frames, 9 frequencies (the last: 3). The second to fourth halve the frequencies."""
    wide = [nn.Conv2d(2, channels, (3, 9), padding=(1, 4))]
    wide += [nn.Conv2d(channels, channels, (3, 9), (1, 2), padding=(1, 4)) for _ in range(3)]
    return nn.ModuleList(weight_norm(conv) for conv in [*wide, nn.Conv2d(channels, channels, 3, padding=1)])
