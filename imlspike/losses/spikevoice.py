"""The loss of SpikeVoice: FastSpeech 2's, and the aligner's."""

from typing import Any

import torch
from torch import Tensor, nn

from imlspike.data.keys import unknown_key
from imlspike.losses.alignment import (
    beta_binomial_prior,
    binarisation_loss,
    forward_sum_loss,
    monotonic_alignment,
)

WEIGHTS = {
    "mel": 1.0,
    "mel_post": 1.0,
    "duration": 1.0,
    "pitch": 1.0,
    "energy": 1.0,
    "forward_sum": 1.0,
    "binarisation": 1.0,
}


def learned_durations(
    model: Any, text: Tensor, text_lengths: Tensor, mel: Tensor, mel_lengths: Tensor, prior_scale: float = 1.0
) -> tuple[Tensor, Tensor]:
    """A model's aligner on a batch: the soft alignment, and the durations of its best path.

    Args:
        model: a SpikeVoice with an aligner (anything with its `align`).
        text, text_lengths, mel, mel_lengths: (B, N), (B,), (B, L, M), (B,).
        prior_scale: of `beta_binomial_prior`.

    Returns:
        log shares (B, L, N), with a gradient, to be given to the model as `alignment`; durations (B, N).

    Raises:
        ValueError: an utterance with more tokens than frames.

    >>> class Model:
    ...     def align(self, text, text_lengths, mel, mel_lengths, log_prior):
    ...         return log_prior.log_softmax(-1)
    >>> text, mel = torch.zeros(1, 2, dtype=torch.long), torch.zeros(1, 6, 80)
    >>> learned_durations(Model(), text, torch.tensor([2]), mel, torch.tensor([6]))[1]
    tensor([[3, 3]])
    """
    prior = beta_binomial_prior(text_lengths, mel_lengths, prior_scale).to(mel.dtype)
    prior = nn.functional.pad(prior, (0, text.shape[1] - prior.shape[2], 0, mel.shape[1] - prior.shape[1]))
    shares = model.align(text, text_lengths, mel, mel_lengths, prior)
    return shares, monotonic_alignment(shares, text_lengths, mel_lengths)


class SpikeVoiceLoss(nn.Module):
    """L1 of mel before and after the PostNet, MSE of log-duration, pitch and energy, and alignment losses.

    Every part is a mean over what is not padding: frames times mel channels, or tokens, of the whole batch
    (the alignment losses: of each utterance, then over the batch). The paper's loss is the first five parts
    with weight 1; the alignment's weights are ours.

    Args:
        weights: part to weight, of `WEIGHTS`; those left out keep the weight there.

    Forward:
        said: what SpikeVoice returned (`mel`, `mel_post`, `log_durations`, `durations`, `pitch`, `energy`,
            `alignment`).
        text_lengths (B,), mel (B, L, M), mel_lengths (B,), pitch, energy (B, N): the targets; the durations
            are those that the model was given.
        learned: the durations come from `said.alignment`, which the alignment losses then teach; if not, or
            without an alignment, these are left out.

    Returns:
        the weighted sum, and a dictionary of the parts (weighted, without a gradient).

    Raises:
        ValueError: an unknown part (the nearest is named), or a mel of another number of frames.

    >>> SpikeVoiceLoss({"mel_pots": 0.5})
    Traceback (most recent call last):
    ValueError: weights: unknown key 'mel_pots'; did you mean 'mel_post'? (known: ...
    """

    def __init__(self, weights: dict[str, float] | None = None):
        super().__init__()
        for key in weights or {}:
            if key not in WEIGHTS:
                raise ValueError(f"weights: {unknown_key(key, WEIGHTS)}")
        self.weights = WEIGHTS | (weights or {})

    def forward(
        self,
        said: Any,
        text_lengths: Tensor,
        mel: Tensor,
        mel_lengths: Tensor,
        pitch: Tensor,
        energy: Tensor,
        learned: bool = True,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        if not torch.equal(said.mel_lengths, mel_lengths):
            raise ValueError(
                f"the model spoke {said.mel_lengths.tolist()} frames, the targets have {mel_lengths.tolist()}"
            )
        frames, tokens = _mask(said.mel, mel_lengths), _mask(said.pitch, text_lengths)
        target = mel[:, : said.mel.shape[1]]
        log_durations = (said.durations.to(said.log_durations.dtype) + 1).log()
        parts = {
            "mel": _mean((said.mel - target).abs(), frames),
            "mel_post": _mean((said.mel_post - target).abs(), frames),
            "duration": _mean((said.log_durations - log_durations).square(), tokens),
            "pitch": _mean((said.pitch - pitch).square(), tokens),
            "energy": _mean((said.energy - energy).square(), tokens),
        }
        if learned and said.alignment is not None:
            parts["forward_sum"] = forward_sum_loss(said.alignment, text_lengths, mel_lengths)
            parts["binarisation"] = binarisation_loss(said.alignment, said.durations, mel_lengths)
        parts = {name: self.weights[name] * part for name, part in parts.items()}
        return sum(parts.values()), {name: part.detach() for name, part in parts.items()}


def _mask(x: Tensor, lengths: Tensor) -> Tensor:
    """(B, size of x's second axis), True = real."""
    return torch.arange(x.shape[1], device=x.device) < lengths[:, None]


def _mean(x: Tensor, real: Tensor) -> Tensor:
    """Mean over the real places of (B, N) or (B, L, M)."""
    real = real if x.dim() == 2 else real[..., None].expand_as(x)
    return x.masked_fill(~real, 0.0).sum() / real.sum()
