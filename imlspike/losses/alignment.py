"""Learning which token is spoken when (One TTS Alignment to Rule Them All, arXiv 2108.10447), as in JETS.

B batch, L frames of mel, N tokens of text. An alignment is monotonic and complete: frame 0 belongs to token
0, the last frame to the last token, and each frame to the token of the frame before it or to the next one.
"""

import functools

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

# What stands for the logarithm of 0: adding it up over any number of frames overflows nothing.
_NEVER = -1e4


def forward_sum_loss(
    log_attention: Tensor, text_lengths: Tensor, mel_lengths: Tensor, log_blank: float = -1.0
) -> Tensor:
    """Negative log probability of all monotonic alignments together, per token, mean over the batch.

    It is CTC in which the transcript is token 1, token 2, ..., token N: each is a class of its own, besides a
    blank (frames of no token) of constant logit. Each utterance counts alike and as it would alone.

    Args:
        log_attention: (B, L, N) log shares of the tokens in each frame, -inf where padded or not; floating
            point. What stands in padding is not looked at.
        text_lengths, mel_lengths: (B,) whole numbers.
        log_blank: logit of the blank beside the shares (JETS: -1).

    Returns:
        a scalar, at least fp32.

    Raises:
        ValueError: an utterance with more tokens than frames, which has no alignment.

    >>> shares = torch.full((1, 6, 3), 1 / 3).log()                 # ten alignments of (1 / 3) ** 6 each
    >>> loss = forward_sum_loss(shares, torch.tensor([3]), torch.tensor([6]), log_blank=-100.0)
    >>> torch.isclose(loss, -torch.tensor(10 / 3**6).log() / 3)
    tensor(True)
    """
    _check_lengths(log_attention, text_lengths, mel_lengths)
    real = _mask(log_attention.shape[1], mel_lengths)[:, :, None] & _mask(
        log_attention.shape[2], text_lengths
    ).unsqueeze(1)
    logits = log_attention if log_attention.dtype == torch.float64 else log_attention.float()
    # torch's CTC has no gradient at -inf but NaN.
    logits = logits.masked_fill(~real, _NEVER).clamp(min=_NEVER)
    logits = functional.pad(logits, (1, 0), value=log_blank)
    tokens = torch.arange(1, logits.shape[2], device=logits.device).expand(len(logits), -1)
    return functional.ctc_loss(
        logits.log_softmax(-1).transpose(0, 1), tokens, mel_lengths.long(), text_lengths.long()
    )


def binarisation_loss(log_attention: Tensor, durations: Tensor, mel_lengths: Tensor) -> Tensor:
    """Mean over frames of -log share of the token that a hard alignment gives the frame; then over the batch.

    It draws the soft alignment to the hard one, from which durations are taken.

    Args:
        log_attention: (B, L, N) log shares; floating point.
        durations: (B, N) frames of each token, of `monotonic_alignment`; 0 at padding.
        mel_lengths: (B,) whole numbers.

    Returns:
        a scalar.

    >>> shares = torch.tensor([[[0.9, 0.1], [0.5, 0.5]]])
    >>> loss = binarisation_loss(shares.log(), torch.tensor([[1, 1]]), torch.tensor([2]))
    >>> torch.isclose(loss, -(torch.tensor(0.9).log() + torch.tensor(0.5).log()) / 2)
    tensor(True)
    """
    frames = log_attention.shape[1]
    tokens = token_of_frame(durations, frames)
    on_path = log_attention.gather(2, tokens[:, :, None]).squeeze(2)
    on_path = on_path.masked_fill(~_mask(frames, mel_lengths), 0.0)
    return -(on_path.sum(1) / mel_lengths).mean()


def monotonic_alignment(log_attention: Tensor, text_lengths: Tensor, mel_lengths: Tensor) -> Tensor:
    """The most probable alignment of each utterance (Viterbi), as frames per token. No gradient.

    All utterances and tokens at once, in numpy; one loop over the frames there and one back.

    Args:
        log_attention: (B, L, N) log shares; floating point; NaN and -inf count as (nearly) impossible.
        text_lengths, mel_lengths: (B,) whole numbers.

    Returns:
        (B, N) int64 durations, each at least 1 and in sum the frames of the utterance; 0 at padding.

    Raises:
        ValueError: an utterance with more tokens than frames.

    >>> shares = torch.tensor([[[0.9, 0.1], [0.8, 0.2], [0.1, 0.9]]])
    >>> monotonic_alignment(shares.log(), torch.tensor([2]), torch.tensor([3]))
    tensor([[2, 1]])
    """
    _check_lengths(log_attention, text_lengths, mel_lengths)
    batch, frames, tokens = log_attention.shape
    scores = np.nan_to_num(
        log_attention.detach().cpu().double().numpy(), nan=_NEVER, neginf=_NEVER, posinf=-_NEVER
    )
    best = np.full((batch, tokens + 1), -np.inf)  # one in front of token 0, from which nothing comes
    best[:, 1] = scores[:, 0, 0]
    came = np.zeros((frames, batch, tokens), dtype=bool)  # whether the best path came from the token before
    for frame in range(1, frames):
        came[frame] = best[:, :-1] > best[:, 1:]
        best[:, 1:] = np.where(came[frame], best[:, :-1], best[:, 1:]) + scores[:, frame]
    rows, ends = np.arange(batch), mel_lengths.cpu().numpy()
    token, durations = text_lengths.cpu().numpy() - 1, np.zeros((batch, tokens), dtype=np.int64)
    for frame in range(frames - 1, -1, -1):
        inside = frame < ends
        durations[rows, token] += inside
        token = token - (inside & came[frame, rows, token])
    return torch.from_numpy(durations).to(log_attention.device)


def beta_binomial_prior(text_lengths: Tensor, mel_lengths: Tensor, scale: float = 1.0) -> Tensor:
    r"""A wide diagonal: log of how likely token n is in frame l before anything was learned.

    .. math::
        n \sim \mathrm{BetaBinomial}(N - 1,\ \alpha = s\,l,\ \beta = s\,(L - l + 1)), \quad l = 1, \dots, L

    so that the probabilities of the N tokens add up to 1 in each frame, and the prior read backwards is the
    prior. (JETS has N in place of N - 1 and leaves the last outcome out.) Computed once for each pair of
    lengths among the last 512.

    Args:
        text_lengths, mel_lengths: (B,) whole numbers, at least 1.
        scale: s; the smaller, the wider the diagonal.

    Returns:
        (B, L, N) fp32, on the device of `text_lengths`; 0 at padding.

    >>> prior = beta_binomial_prior(torch.tensor([3]), torch.tensor([5]))
    >>> prior.shape, torch.allclose(prior.exp().sum(-1), torch.ones(1, 5))
    (torch.Size([1, 5, 3]), True)
    >>> prior[0].argmax(-1).tolist()
    [0, 0, 1, 2, 2]
    """
    pairs = list(zip(text_lengths.tolist(), mel_lengths.tolist(), strict=True))
    prior = torch.zeros(len(pairs), max(frames for _, frames in pairs), max(tokens for tokens, _ in pairs))
    for row, (tokens, frames) in enumerate(pairs):
        prior[row, :frames, :tokens] = _prior(tokens, frames, scale)
    return prior.to(text_lengths.device)


def token_of_frame(durations: Tensor, frames: int) -> Tensor:
    """Return the token that each frame belongs to: (B, N) durations -> (B, frames) int64.

    Frames after the last token's end (padding) are given to the last column.

    >>> token_of_frame(torch.tensor([[2, 0, 1], [1, 1, 0]]), 3)
    tensor([[0, 0, 2],
            [0, 1, 2]])
    """
    ends = durations.cumsum(1).contiguous()
    numbers = torch.arange(frames, device=durations.device).repeat(len(durations), 1)
    return torch.searchsorted(ends, numbers, right=True).clamp(max=durations.shape[1] - 1)


def average_by_duration(values: Tensor, durations: Tensor, counted: Tensor | None = None) -> Tensor:
    """Mean over the frames of each token, as of pitch or energy.

    Args:
        values: (B, L), floating point.
        durations: (B, N) frames of each token, 0 at padding; at most L in sum.
        counted: (B, L), True = the frame counts (as: it is voiced); None: all do.

    Returns:
        (B, N); 0 for a token without a frame that counts.

    Raises:
        ValueError: durations longer than `values`.

    >>> pitch = torch.tensor([[100.0, 0.0, 120.0, 200.0, 220.0]])
    >>> average_by_duration(pitch, torch.tensor([[3, 2, 0]]), counted=pitch > 0)
    tensor([[110., 210.,   0.]])
    """
    longest = int(durations.sum(1).max())
    if longest > values.shape[1]:
        raise ValueError(
            f"durations of {longest} frames for {values.shape[1]} values; both must come from the same mel"
        )
    counted = torch.ones_like(values, dtype=torch.bool) if counted is None else counted
    sums = _sums(values.double().masked_fill(~counted, 0.0), durations)
    counts = _sums(counted.double(), durations)
    return (sums / counts.clamp(min=1)).to(values.dtype)


def _sums(values: Tensor, durations: Tensor) -> Tensor:
    """(B, L) and (B, N) -> (B, N): sums over the frames of each token."""
    totals = functional.pad(values.cumsum(1), (1, 0))
    ends = durations.cumsum(1)
    return totals.gather(1, ends) - totals.gather(1, ends - durations)


@functools.lru_cache(maxsize=512)
def _prior(tokens: int, frames: int, scale: float) -> Tensor:
    """(frames, tokens) of `beta_binomial_prior`."""
    k = torch.arange(tokens, dtype=torch.float64)
    alpha = scale * torch.arange(1, frames + 1, dtype=torch.float64)[:, None]
    beta = alpha.flip(0)
    last = tokens - 1
    choose = torch.lgamma(k.new_tensor(tokens)) - torch.lgamma(k + 1) - torch.lgamma(last - k + 1)
    return (choose + _log_beta(k + alpha, last - k + beta) - _log_beta(alpha, beta)).float()


def _log_beta(a: Tensor, b: Tensor) -> Tensor:
    return torch.lgamma(a) + torch.lgamma(b) - torch.lgamma(a + b)


def _mask(size: int, lengths: Tensor) -> Tensor:
    """(B, size), True = real."""
    return torch.arange(size, device=lengths.device) < lengths[:, None]


def _check_lengths(log_attention: Tensor, text_lengths: Tensor, mel_lengths: Tensor) -> None:
    _, frames, tokens = log_attention.shape
    for row, (own, long) in enumerate(zip(text_lengths.tolist(), mel_lengths.tolist(), strict=True)):
        if not 1 <= own <= long:
            raise ValueError(
                f"utterance {row} of the batch has {own} tokens and {long} frames; every token needs at "
                "least one frame: leave the utterance out, or check its text"
            )
        if own > tokens or long > frames:
            raise ValueError(
                f"utterance {row} of the batch has {own} tokens and {long} frames, the attention only "
                f"{tokens} and {frames}"
            )
