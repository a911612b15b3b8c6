"""Log-mel spectrograms: what vocoders read, and what their reconstruction loss compares."""

import torch
import torchaudio
from torch import Tensor

from imlspike.layers.full_precision import FullPrecisionBuffers

LEAST_MEL = 1e-7


def check_whole(**sizes: object) -> None:
    """Raise ValueError for a size that isn't a whole number of at least 1; the first is named.

    >>> check_whole(n_fft=512, hop_length="128")
    Traceback (most recent call last):
    ValueError: hop_length is '128'; expected a whole number of at least 1
    """
    for name, value in sizes.items():
        if type(value) is not int or value < 1:
            raise ValueError(f"{name} is {value!r}; expected a whole number of at least 1")


class LogMel(FullPrecisionBuffers):
    """The natural logarithm of a mel spectrogram of magnitudes, as Vocos takes it.

    Hann window of `n_fft` samples, frames centred on multiples of `hop_length` (the ends are reflected), mel
    bands of the HTK scale without normalisation, magnitudes below 1e-7 raised to it.

    Args:
        sampling_rate: Hz.
        n_fft, hop_length: samples.
        n_mels: bands.
        f_min, f_max: Hz, ends of the bands; None: half the sampling rate.

    Forward: audio (B, S) of at least n_fft / 2 + 1 samples -> (B, n_mels, S // hop_length + 1).
    Half-precision audio is raised to fp32, and a module cast to half precision computes in fp32 still.

    Raises:
        ValueError: sizes that are no whole numbers, bands without width; audio that is no (B, S), too short.

    >>> LogMel(16000, 512, 128, 40)(torch.zeros(1, 1280)).shape
    torch.Size([1, 40, 11])
    """

    def __init__(
        self,
        sampling_rate: int,
        n_fft: int,
        hop_length: int,
        n_mels: int,
        f_min: float = 0.0,
        f_max: float | None = None,
    ):
        super().__init__()
        self.n_fft, self.hop_length = n_fft, hop_length
        f_max = sampling_rate / 2 if f_max is None else f_max
        check_whole(sampling_rate=sampling_rate, n_fft=n_fft, hop_length=hop_length, n_mels=n_mels)
        if not 0 <= f_min < f_max <= sampling_rate:
            raise ValueError(f"f_min and f_max are {f_min} and {f_max}; expected 0 <= f_min < f_max (Hz)")
        bands = torchaudio.functional.melscale_fbanks(n_fft // 2 + 1, f_min, f_max, n_mels, sampling_rate)
        # Both follow from the configuration, so checkpoints do without them.
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)
        self.register_buffer("bands", bands.T.contiguous(), persistent=False)

    def forward(self, audio: Tensor) -> Tensor:
        if audio.dim() != 2 or audio.shape[1] <= self.n_fft // 2:
            raise ValueError(
                f"expected audio (B, S) of more than {self.n_fft // 2} samples, got {tuple(audio.shape)}"
            )
        with torch.autocast(audio.device.type, enabled=False):
            spectrum = torch.stft(
                audio.to(self.window.dtype),
                self.n_fft,
                self.hop_length,
                window=self.window,
                center=True,
                return_complex=True,
            )
            return (self.bands @ spectrum.abs()).clamp(min=LEAST_MEL).log()
