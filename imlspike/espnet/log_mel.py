"""The vocoder's mel spectrogram as a feature extractor of ESPnet's TTS task."""

from typing import Any

import torch
from espnet2.tts.feats_extract.abs_feats_extract import AbsFeatsExtract
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from imlspike.layers.log_mel import LogMel


class LogMelExtract(AbsFeatsExtract):
    """`imlspike.layers.log_mel.LogMel`: what a voice learns to give is what the project's vocoders read.

    It has as many frames as ESPnet's `dio` and `energy` of the same `hop_length`; an utterance's frames don't
    depend on the padding of its batch.

    Args:
        fs: Hz; n_fft, hop_length: samples; n_mels: bands M; fmin, fmax: Hz, ends of the bands, None: half of
            fs. ESPnet's names for `LogMel`'s `sampling_rate`, `f_min`, `f_max`.
    """

    def __init__(
        self, fs: int, n_fft: int, hop_length: int, n_mels: int, fmin: float = 0.0, fmax: float | None = None
    ):
        super().__init__()
        self.conf = dict(fs=fs, n_fft=n_fft, hop_length=hop_length, n_mels=n_mels, fmin=fmin, fmax=fmax)
        self.log_mel = LogMel(fs, n_fft, hop_length, n_mels, fmin, fmax)

    def output_size(self) -> int:
        return self.conf["n_mels"]

    def get_parameters(self) -> dict[str, Any]:
        """The arguments, under names of which ESPnet builds no Griffin-Lim: its is for decimal logarithms."""
        return dict(self.conf)

    def forward(self, input: Tensor, input_lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return log-mels (B, L, M), zero at padding, and their lengths (B,) of waveforms (B, S).

        L is the longest utterance's S // hop_length + 1; without `input_lengths` (B,) all are full.

        Raises:
            ValueError: an utterance of no more than n_fft / 2 samples; its place in the batch is named.
        """
        if input_lengths is None:
            input_lengths = torch.full((len(input),), input.shape[1], device=input.device)
        least = self.conf["n_fft"] // 2
        if int(input_lengths.min()) <= least:
            row = int(input_lengths.argmin())
            raise ValueError(
                f"utterance {row} of the batch has {int(input_lengths[row])} samples; its mel needs more "
                f"than {least} (half of n_fft): leave it out"
            )
        waves = [wave[None, :length] for wave, length in zip(input, input_lengths.tolist(), strict=True)]
        mels = [self.log_mel(wave)[0].T for wave in waves]
        return pad_sequence(mels, batch_first=True), input_lengths // self.conf["hop_length"] + 1
