"""Attention without softmax under a decay mask: the quadratic form and the exact linear-time form."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

DIRECTIONS = ("both", "past", "future")
MODES = ("auto", "quadratic", "chunked")
CHUNK = 64
# Measured by `./run.sh bench`: from about this many tokens on, the chunked form is the faster one.
CHUNKED_FROM = 448


def hierarchical_decay(
    layer: int,
    layers: int,
    heads: int,
    a: float = 1.0,
    b: float = 5.0,
    c: float = 1.0,
    kind: str = "hierarchical",
) -> Tensor:
    r"""The decay gamma of each head of one layer: IML-Spikeformer's hierarchical decay mask, our formulation.

    ``hierarchical``: :math:`\gamma_{lh} = 1 - 2^{-(a + b\,l/(L-1) + c\,h/H)}`, local in low layers, global
    in high ones. ``uniform``: the same for every layer and head, at the middle of that range of exponents.
    ``none``: gamma = 1, no decay.

    Args:
        layer: l, counted from 0.
        layers: L.
        heads: H.
        kind: ``hierarchical``, ``uniform`` or ``none``.

    Returns:
        (H,) fp32 in (0, 1].

    Raises:
        ValueError: on an unknown `kind`.

    >>> hierarchical_decay(0, 12, 2)
    tensor([0.5000, 0.6464])
    """
    head = torch.arange(heads, dtype=torch.float64) / heads
    if kind == "hierarchical":
        exponent = a + b * layer / max(layers - 1, 1) + c * head
    elif kind == "uniform":
        exponent = torch.full_like(head, a + (b + c) / 2)
    elif kind == "none":
        return torch.ones(heads)
    else:
        raise ValueError(f"kind of decay must be hierarchical, uniform or none, got {kind!r}")
    return (1 - 2.0**-exponent).float()


def _sides(direction: str | Sequence[str], heads: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """(H,) ones where a head sees the past, and where it sees the future."""
    each = [direction] * heads if isinstance(direction, str) else list(direction)
    if len(each) != heads or any(d not in DIRECTIONS for d in each):
        raise ValueError(
            f"direction must be one of {DIRECTIONS}, or one of them for each of {heads} heads, "
            f"got {direction!r}"
        )
    return like.new_tensor([d != "future" for d in each]), like.new_tensor([d != "past" for d in each])


def _powers(gamma: Tensor, exponents: Tensor) -> Tensor:
    """gamma ** exponents as (H, *exponents.shape), stable and right for gamma = 1; zero where below 2^-60.

    Such powers vanish beside the token's own weight of 1, and denormal numbers slow a matrix product down.
    """
    log = gamma.double().log().reshape(-1, *[1] * exponents.dim())
    powers = (log * exponents.double()).exp()
    return powers.masked_fill_(powers < 2.0**-60, 0.0).to(gamma.dtype)


def row_sums(gamma: Tensor, lengths: Tensor, tokens: int, direction: str | Sequence[str] = "both") -> Tensor:
    r"""Sum of each row of the decay mask, in closed form: what the attention is divided by.

    :math:`\sum_j \gamma^{|i-j|}` over the real tokens that head h sees from i, the token itself included:
    1 + g(i) + g(n - 1 - i) with :math:`g(m) = \gamma (1 - \gamma^m) / (1 - \gamma)`.

    Args:
        gamma: (H,) in (0, 1].
        lengths: (B,) numbers of real tokens.
        tokens: N, the padded length.
        direction: as in `decay_attention`.

    Returns:
        (B, H, N), 1 at padding.

    >>> row_sums(torch.tensor([0.5]), torch.tensor([3]), 4)
    tensor([[[1.7500, 2.0000, 1.7500, 1.0000]]])
    """
    past, future = _sides(direction, len(gamma), gamma.double())
    g = gamma.double()[:, None]

    def side(m: Tensor) -> Tensor:
        geometric = g * (1 - g**m) / (1 - g).clamp(min=1e-12)
        return torch.where(g == 1, m.double().expand_as(geometric), geometric)

    i = torch.arange(tokens, device=gamma.device)
    ahead = (lengths[:, None] - 1 - i).clamp(min=0)[:, None]  # (B, 1, N)
    sums = 1 + past[:, None] * side(i) + future[:, None] * side(ahead)
    return torch.where(i < lengths[:, None, None], sums, 1.0).to(gamma.dtype)


def _mask(gamma: Tensor, tokens: int, past: Tensor, future: Tensor) -> Tensor:
    """(H, N, N) gamma^|i-j| where head h sees j from i, else 0: a sliding window over 2N-1 powers."""
    offset = torch.arange(1 - tokens, tokens, device=gamma.device)  # j - i
    sees = (offset < 0) * past[:, None] + (offset > 0) * future[:, None] + (offset == 0)
    return (_powers(gamma, offset.abs()) * sees).unfold(1, tokens, 1).flip(1)


class _Constants(NamedTuple):
    """What a form of the attention needs that does not depend on the input; H first in every tensor."""

    past: Tensor | None  # ones where a head sees the past; None if no head does
    future: Tensor | None
    mask: Tensor  # (H, N, N), for the chunked form (H, 1, chunk, chunk)
    to_end: Tensor | None = None  # (H, 1, chunk, 1) decay from a token to the last of its chunk
    to_start: Tensor | None = None  # the same to the first of its chunk
    over: Tensor | None = None  # (H, 1, 1) over a whole chunk


def _constants(gamma: Tensor, direction: str | Sequence[str], tokens: int, chunk: int | None) -> _Constants:
    """Of the quadratic form on so many tokens, or, where `chunk` is given, of the chunked form."""
    past, future = _sides(direction, len(gamma), gamma)
    mask = _mask(gamma, chunk or tokens, past, future)
    sides = (side[:, None, None, None] if bool(side.any()) else None for side in (past, future))
    if chunk is None:
        return _Constants(*sides, mask)
    step = torch.arange(chunk, device=gamma.device)
    return _Constants(
        *sides,
        mask[:, None],
        to_end=_powers(gamma, chunk - 1 - step)[:, None, :, None],
        to_start=_powers(gamma, step)[:, None, :, None],
        over=_powers(gamma, torch.tensor(chunk, device=gamma.device))[:, None, None],
    )


def _quadratic(q, k, v, c: _Constants):
    return (q @ k.transpose(-1, -2)).mul_(c.mask) @ v


def _chunked(q, k, v, gamma, c: _Constants):
    """o_i = q_i (F_i + B_i - k_i^T v_i): the masked product within a chunk, a D x D state across chunks."""
    tokens, chunk = q.shape[2], c.mask.shape[-1]
    pad = -tokens % chunk
    # (B, H, chunks, chunk, D)
    q, k, v = (nn.functional.pad(t, (0, 0, 0, pad)).unflatten(2, (-1, chunk)) for t in (q, k, v))
    chunks, gamma = q.shape[2], gamma[:, None, None, None]
    out = (q @ k.transpose(-1, -2)).mul_(c.mask) @ v
    if c.past is not None:
        added = (k * c.to_end).transpose(-1, -2) @ v
        before = _scan(added, c.over, range(chunks)) * c.past
        out = out + (q * (c.to_start * gamma)) @ before
    if c.future is not None:
        added = (k * c.to_start).transpose(-1, -2) @ v
        after = _scan(added, c.over, range(chunks - 1, -1, -1)) * c.future
        out = out + (q * (c.to_end * gamma)) @ after
    return out.flatten(2, 3)[:, :, :tokens]


def _scan(added: Tensor, decay: Tensor, order: range) -> Tensor:
    """The state on entry to each chunk, chunks visited in `order`: S_next = decay * S + added."""
    state, entry = torch.zeros_like(added[:, :, 0]), [None] * len(order)
    for m in order:
        entry[m] = state
        state = decay * state + added[:, :, m]
    return torch.stack(entry, 2)


def decay_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    gamma: Tensor,
    lengths: Tensor | None = None,
    mode: str = "auto",
    direction: str | Sequence[str] = "both",
    chunk: int = CHUNK,
) -> Tensor:
    r"""Softmax-free attention under a decay mask with rows that sum to one (IML-Spikeformer's; our form).

    .. math:: o_i = \frac{1}{\sqrt{D} \sum_j \gamma^{|i-j|}} \sum_j \gamma^{|i-j|} (q_i \cdot k_j)\, v_j

    The quadratic form costs O(N^2 D). The chunked form is the same sum through a forward and a backward D x D
    state, :math:`F_i = \gamma F_{i-1} + k_i^T v_i`, and costs O(N D (D + chunk)) and memory linear in N.

    Args:
        q, k, v: (B, H, N, D), any floating dtype.
        gamma: (H,) in (0, 1].
        lengths: (B,) numbers of real tokens; tokens beyond are padding, which is neither seen nor counted,
            and whose output is zero. None: all are real.
        mode: ``quadratic``, ``chunked``, or ``auto``: by the number of tokens.
        direction: what a head sees beside the token itself: ``both`` sides, the ``past`` (causal), the
            ``future``; one word for all heads or one for each.
        chunk: tokens in a chunk.

    Returns:
        (B, H, N, D)

    Raises:
        ValueError: on an unknown `mode` or `direction`.

    >>> q = k = v = torch.ones(1, 1, 3, 4)
    >>> decay_attention(q, k, v, torch.tensor([0.5]))[0, 0, :, 0].round(decimals=4)
    tensor([2., 2., 2.])
    """
    if mode not in MODES:
        raise ValueError(f"mode must be one of {', '.join(MODES)}, got {mode!r}")
    tokens, gamma = q.shape[2], gamma.to(q.dtype)
    all_real = torch.full((len(q),), tokens, device=q.device)
    sums = row_sums(gamma, all_real if lengths is None else lengths.to(q.device), tokens, direction)
    chunk = chunk if _is_chunked(mode, tokens) else None
    return _attend(q, k, v, gamma, lengths, sums, _constants(gamma, direction, tokens, chunk))


def _is_chunked(mode: str, tokens: int) -> bool:
    return mode == "chunked" or (mode == "auto" and tokens >= CHUNKED_FROM)


def _attend(q, k, v, gamma, lengths, sums, constants: _Constants):
    if lengths is not None:
        real = torch.arange(q.shape[2], device=q.device) < lengths.to(q.device)[:, None]
        q, k, v = (t * real[:, None, :, None] for t in (q, k, v))
    q = q / (sums * q.shape[3] ** 0.5)[..., None]
    if constants.to_end is None:
        return _quadratic(q, k, v, constants)
    return _chunked(q, k, v, gamma, constants)


class DecayAttention(nn.Module):
    """`decay_attention` as a module that holds its decays.

    Args:
        gamma: (H,) decays.
        direction, mode: as in `decay_attention`.

    Forward: q, k, v (B, H, N, D), lengths (B,) or None -> (B, H, N, D).

    >>> attention = DecayAttention(hierarchical_decay(0, 2, 4))
    >>> attention(*torch.randn(3, 2, 4, 10, 8)).shape
    torch.Size([2, 4, 10, 8])
    """

    def __init__(self, gamma: Tensor, direction: str | Sequence[str] = "both", mode: str = "auto"):
        super().__init__()
        if mode not in MODES:
            raise ValueError(f"mode must be one of {', '.join(MODES)}, got {mode!r}")
        _sides(direction, len(gamma), gamma)
        # A constant of the architecture, rebuilt from the configuration; a checkpoint need not carry it.
        self.register_buffer("gamma", gamma.clone(), persistent=False)
        self.direction, self.mode = direction, mode
        self._kept: tuple = (None, None, None)

    def forward(self, q: Tensor, k: Tensor, v: Tensor, lengths: Tensor | None = None) -> Tensor:
        """See `decay_attention`."""
        gamma, tokens = self.gamma.to(q.dtype), q.shape[2]
        sums, constants = self._constants(gamma, tokens)
        if lengths is not None:
            sums = row_sums(gamma, lengths.to(q.device), tokens, self.direction)
        return _attend(q, k, v, gamma, lengths, sums, constants)

    def _constants(self, gamma: Tensor, tokens: int) -> tuple[Tensor, _Constants]:
        """Row sums without padding (1, H, N) and the constants, kept until the length is another."""
        key = (tokens, gamma.dtype, gamma.device, torch.is_inference_mode_enabled())
        if self._kept[0] != key:
            chunk = CHUNK if _is_chunked(self.mode, tokens) else None
            sums = row_sums(gamma, torch.tensor([tokens], device=gamma.device), tokens, self.direction)
            self._kept = (key, sums, _constants(gamma, self.direction, tokens, chunk))
        return self._kept[1:]
