"""Attention without softmax under a decay mask: the quadratic form and the exact linear-time form."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

DIRECTIONS = ("both", "past", "future")
MODES = ("auto", "quadratic", "chunked")
CHUNK = 64
# Measured by `./run.sh bench`: from about this many tokens on, the chunked form is the faster one.
CHUNKED_FROM = 256


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


def _quadratic(q, k, v, gamma, past, future):
    return (q @ k.transpose(-1, -2)).mul_(_mask(gamma, q.shape[2], past, future)) @ v


def _chunked(q, k, v, gamma, past, future, chunk):
    """o_i = q_i (F_i + B_i - k_i^T v_i): the masked product within a chunk, a D x D state across chunks."""
    tokens = q.shape[2]
    pad = -tokens % chunk
    # (B, H, chunks, chunk, D)
    q, k, v = (nn.functional.pad(t, (0, 0, 0, pad)).unflatten(2, (-1, chunk)) for t in (q, k, v))
    chunks = q.shape[2]
    out = (q @ k.transpose(-1, -2)).mul_(_mask(gamma, chunk, past, future)[:, None]) @ v
    step = torch.arange(chunk, device=q.device)
    to_end = _powers(gamma, chunk - 1 - step)[:, None, :, None]  # decay from token j to the last of its chunk
    to_start = _powers(gamma, step)[:, None, :, None]  # decay from token j to the first of its chunk
    decay = _powers(gamma, torch.tensor(chunk, device=q.device))[:, None, None]
    if bool(past.any()):
        added = (k * to_end).transpose(-1, -2) @ v
        before = _scan(added, decay, range(chunks)) * past[:, None, None, None]
        out = out + (q * (to_start * gamma[:, None, None, None])) @ before
    if bool(future.any()):
        added = (k * to_start).transpose(-1, -2) @ v
        after = _scan(added, decay, range(chunks - 1, -1, -1)) * future[:, None, None, None]
        out = out + (q * (to_end * gamma[:, None, None, None])) @ after
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
    batch, heads, tokens, width = q.shape
    gamma = gamma.to(q.dtype)
    past, future = _sides(direction, heads, gamma)
    if lengths is None:
        lengths = torch.full((batch,), tokens, device=q.device)
    else:
        real = (torch.arange(tokens, device=q.device) < lengths.to(q.device)[:, None])[:, None, :, None]
        k, v = k * real, v * real
        q = q * real
    scale = row_sums(gamma, lengths.to(q.device), tokens, direction) * width**0.5
    q = q / scale[..., None]
    if mode == "quadratic" or (mode == "auto" and tokens < CHUNKED_FROM):
        return _quadratic(q, k, v, gamma, past, future)
    return _chunked(q, k, v, gamma, past, future, chunk)


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

    def forward(self, q: Tensor, k: Tensor, v: Tensor, lengths: Tensor | None = None) -> Tensor:
        """See `decay_attention`."""
        return decay_attention(q, k, v, self.gamma, lengths, self.mode, self.direction)
