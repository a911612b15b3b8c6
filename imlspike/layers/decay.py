"""Attention without softmax under a decay mask: the quadratic form and the exact linear-time form."""

from collections.abc import Sequence

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


def _sides(direction: str | Sequence[str], heads: int, device=None) -> Tensor:
    """(2, H) True where a head sees the past, and where it sees the future."""
    each = [direction] * heads if isinstance(direction, str) else list(direction)
    if len(each) != heads or any(d not in DIRECTIONS for d in each):
        raise ValueError(
            f"direction must be one of {DIRECTIONS}, or one of them for each of {heads} heads, "
            f"got {direction!r}"
        )
    return torch.tensor([[d != "future" for d in each], [d != "past" for d in each]], device=device)


def _powers(log_gamma: Tensor, exponents: Tensor) -> Tensor:
    """gamma ** exponents as (H, *exponents.shape), right for gamma = 1; zero where below 2^-60.

    Such powers vanish beside the token's own weight of 1, and denormal numbers slow a matrix product down.
    In fp32 a power is off by at most 1e-7: the rounding of log gamma and of its product with n moves the
    exponent by 2^-23 n |log gamma| at most, and t exp(-t) <= 0.37.
    """
    powers = (log_gamma.reshape(-1, *[1] * exponents.dim()) * exponents).exp()
    return powers.masked_fill(powers < 2.0**-60, 0.0)


def _side_sums(log_gamma: Tensor, m: Tensor) -> Tensor:
    """gamma + gamma^2 + ... + gamma^m, of log gamma (H,) and m (..., 1, N): (..., H, N)."""
    log_gamma = log_gamma.clamp(max=-1e-20)[:, None]  # which is right for gamma = 1 too
    return log_gamma.exp() / torch.expm1(log_gamma) * torch.expm1(log_gamma * m)


def _row_sums(
    log_gamma: Tensor, sides: Tensor, lengths: Tensor | None, tokens: int, look_ahead: int | None = None
) -> Tensor:
    """(B, H, N), 1 at padding; (1, H, N) where all tokens are real."""
    past, future = sides.to(log_gamma.dtype)[..., None]
    i = torch.arange(tokens, device=log_gamma.device)
    behind = _side_sums(log_gamma, i)
    if lengths is None and look_ahead is None:
        return (1 + past * behind + future * behind.flip(-1))[None]
    ahead = (tokens if lengths is None else lengths[:, None, None]) - 1 - i
    seen = ahead if look_ahead is None else torch.minimum(ahead, look_ahead - i % (look_ahead + 1))
    sums = 1 + past * behind + future * _side_sums(log_gamma, seen.clamp(min=0))
    sums = torch.where(ahead >= 0, sums, 1.0)
    return sums if lengths is not None else sums[None]


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
    return _row_sums(gamma.log(), _sides(direction, len(gamma), gamma.device), lengths, tokens)


def _mask(log_gamma: Tensor, sides: Tensor, tokens: int, look_ahead: int | None) -> Tensor:
    """(H, N, N) gamma^|i-j| where head h sees j from i, else 0: a sliding window over 2N powers."""
    offset = torch.arange(2 * tokens, device=log_gamma.device) - tokens  # j - i, and one to spare: N may be 0
    past, future = sides[..., None]
    seen = torch.where(offset < 0, past, future) | (offset == 0)
    mask = (_powers(log_gamma, offset.abs()) * seen).unfold(1, tokens, 1)[:, 1:].flip(1)
    if look_ahead is None:
        return mask
    group = torch.arange(tokens, device=log_gamma.device) // (look_ahead + 1)
    return mask * (group <= group[:, None])


def _chunked(q, k, v, log_gamma: Tensor, sides: Tensor, chunk: int, look_ahead: int | None) -> Tensor:
    """o_i = q_i (F_i + B_i - k_i^T v_i): the masked product within a chunk, a D x D state across chunks."""
    tokens, dtype = q.shape[2], q.dtype
    if look_ahead is not None:  # whole groups of tokens that see each other
        chunk += -chunk % (look_ahead + 1)
    # States are sums over the utterance, too large for fp16 where nothing decays: kept smaller by the
    # power of two next to a head's largest sum of weights, which moves no bit of an fp32 result.
    largest = 1 + _side_sums(log_gamma, torch.full((1,), tokens, device=q.device))
    unit = largest.log2().floor().exp2()[..., None, None]
    # One at least; for a compiler two, since one would be a case of its own.
    chunks = tokens // chunk + (2 if torch.compiler.is_compiling() else 1)
    pad = chunks * chunk - tokens
    # (B, H, chunks, chunk, D)
    q, k, v = (nn.functional.pad(t, (0, 0, 0, pad)).unflatten(2, (chunks, chunk)) for t in (q, k, v))
    out = (q @ k.transpose(-1, -2)).mul_(_mask(log_gamma, sides, chunk, look_ahead)[:, None].to(dtype)) @ v
    step = torch.arange(chunk, device=q.device)
    ways = ((0, chunk - 1 - step, step + 1), (1, step, chunk - step))
    for side, to_state, from_state in ways if look_ahead is None else ways[:1]:
        into = (_powers(log_gamma, to_state)[:, None, :, None] / unit).to(dtype)
        outof = _powers(log_gamma, from_state) * sides[side, :, None]
        outof = (outof[:, None, :, None] * unit).to(dtype)
        added = (k * into).transpose(-1, -2) @ v
        states = _entry_states(added.flip(2) if side else added, log_gamma * chunk)
        out = out + (q * outof) @ (states.flip(2) if side else states)
    return out.flatten(2, 3)[:, :, :tokens]


def _entry_states(added: Tensor, log_decay: Tensor) -> Tensor:
    """The state S on entry to each of M chunks, from zero, where S_next = decay * S + added.

    A compiler, which may not know M, takes them all in one product with the (M, M) powers of the decay.

    Args:
        added: (B, H, M, D, D).
        log_decay: (H,), of a whole chunk.

    Returns:
        (B, H, M, D, D)
    """
    if torch.compiler.is_compiling():
        m = torch.arange(added.shape[2], device=added.device)
        powers = _powers(log_decay, (m[:, None] - 1 - m).clamp(min=0)) * (m < m[:, None])
        return (powers.to(added.dtype) @ added.flatten(3)).view(added.shape)
    decay = _powers(log_decay, torch.ones((), device=added.device))[:, None, None].to(added.dtype)
    states = [torch.zeros_like(added[:, :, 0])]
    for part in added.unbind(2)[:-1]:
        states.append(decay * states[-1] + part)
    return torch.stack(states, 2)


def decay_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    gamma: Tensor,
    lengths: Tensor | None = None,
    mode: str = "auto",
    direction: str | Sequence[str] = "both",
    chunk: int = CHUNK,
    look_ahead: int | None = None,
) -> Tensor:
    r"""Softmax-free attention under a decay mask with rows that sum to one (IML-Spikeformer's; our form).

    .. math:: o_i = \frac{1}{\sqrt{D} \sum_j \gamma^{|i-j|}} \sum_j \gamma^{|i-j|} (q_i \cdot k_j)\, v_j

    The quadratic form costs O(N^2 D). The chunked form is the same sum through a forward and a backward D x D
    state, :math:`F_i = \gamma F_{i-1} + k_i^T v_i`, and costs O(N D (D + chunk)) and memory linear in N.

    Args:
        q, k, v: (B, H, N, D), any floating dtype. The decays are computed in fp32 at least.
        gamma: (H,) in (0, 1].
        lengths: (B,) numbers of real tokens; tokens beyond are padding, which is neither seen nor counted,
            whatever it holds, and whose output is zero. None: all are real.
        mode: ``quadratic``, ``chunked``, or ``auto``: by the number of tokens. A compiler or exporter that
            doesn't know it (dynamic shapes) gets the chunked form for ``auto``, which serves any length.
        direction: what a head sees beside the token itself: ``both`` sides, the ``past`` (causal), the
            ``future``; one word for all heads or one for each.
        chunk: tokens in a chunk.
        look_ahead: heads that see the future see no more of it than the end of a group of `look_ahead` + 1
            tokens, the first of which so sees `look_ahead` ahead; None: all of it.

    Returns:
        (B, H, N, D)

    Raises:
        ValueError: on an unknown `mode` or `direction`.

    >>> q = k = v = torch.ones(1, 1, 3, 4)
    >>> decay_attention(q, k, v, torch.tensor([0.5]))[0, 0, :, 0].round(decimals=4)
    tensor([2., 2., 2.])
    """
    _check_mode(mode)
    log_gamma = gamma.to(torch.promote_types(q.dtype, torch.float32)).log()
    sides = _sides(direction, len(gamma), gamma.device)
    return _attend(q, k, v, log_gamma, sides, lengths, mode, chunk, look_ahead)


def _check_mode(mode: str) -> None:
    if mode not in MODES:
        raise ValueError(f"mode must be one of {', '.join(MODES)}, got {mode!r}")


def _is_chunked(mode: str, tokens: int) -> bool:
    if mode != "auto":
        return mode == "chunked"
    if torch.compiler.is_compiling():
        from torch.fx.experimental.symbolic_shapes import statically_known_true

        return not statically_known_true(tokens < CHUNKED_FROM)
    return tokens >= CHUNKED_FROM


def _attend(
    q, k, v, log_gamma, sides, lengths, mode: str, chunk: int = CHUNK, look_ahead: int | None = None
) -> Tensor:
    tokens, dtype = q.shape[2], q.dtype
    if look_ahead is not None and not torch.compiler.is_compiling() and look_ahead >= tokens:
        look_ahead = None  # all are one group, for which a chunk could be far too large
    if lengths is not None:
        padding = torch.arange(tokens, device=q.device) >= lengths[:, None]
        q, k, v = (t.masked_fill(padding[:, None, :, None], 0.0) for t in (q, k, v))
    sums = _row_sums(log_gamma, sides, lengths, tokens, look_ahead)
    q = q / (sums * q.shape[3] ** 0.5)[..., None].to(dtype)
    if _is_chunked(mode, tokens):
        return _chunked(q, k, v, log_gamma, sides, chunk, look_ahead)
    return (q @ k.transpose(-1, -2)).mul_(_mask(log_gamma, sides, tokens, look_ahead).to(dtype)) @ v


class DecayAttention(nn.Module):
    r"""`decay_attention` as a module that holds its decays; with a limited future also piece by piece.

    Piece by piece, with a state of constant size, it gives the same numbers; of the past token by token:

    .. math::
        F_i = \gamma F_{i-1} + k_i^T v_i, \quad n_i = \sum_{j \le i} \gamma^{i-j}, \quad
        o_i = \frac{q_i F_i}{n_i \sqrt{D}}

    Args:
        gamma: (H,) decays.
        direction, mode: as in `decay_attention`.
        dropout: rate on the output over whole sequences; there are no weights that sum to one to drop from.

    Attributes:
        wide: compute in fp64 and round once, see `imlspike.layers.reproducible`.

    Forward: q, k, v (B, H, N, D), lengths (B,) or None, `look_ahead` as in `decay_attention` -> (B, H, N, D).

    >>> attention = DecayAttention(hierarchical_decay(0, 2, 2), "past")
    >>> q, k, v = torch.randn(3, 1, 2, 5, 4)
    >>> state, outputs = torch.zeros(1, 2, 4, 4), []
    >>> for i in range(5):
    ...     out, state = attention.step(q[:, :, i : i + 1], k[:, :, i : i + 1], v[:, :, i : i + 1], state, i)
    ...     outputs.append(out)
    >>> torch.allclose(torch.cat(outputs, 2), attention(q, k, v), atol=1e-5)
    True
    """

    wide = False

    def __init__(
        self,
        gamma: Tensor,
        direction: str | Sequence[str] = "both",
        mode: str = "auto",
        dropout: float = 0.0,
    ):
        super().__init__()
        _check_mode(mode)
        # Constants of the architecture, rebuilt from the configuration; a checkpoint need not carry them.
        # The logarithm, since gamma itself is too near to 1 for half precision.
        self.register_buffer("log_gamma", gamma.double().log().to(gamma.dtype), persistent=False)
        self.register_buffer("sides", _sides(direction, len(gamma), gamma.device), persistent=False)
        self.mode, self.dropout = mode, nn.Dropout(dropout)

    def forward(
        self, q: Tensor, k: Tensor, v: Tensor, lengths: Tensor | None = None, look_ahead: int | None = None
    ) -> Tensor:
        """See `decay_attention`."""
        dtype = q.dtype
        if self.wide:
            q, k, v = q.double(), k.double(), v.double()
        given = (self._log_gamma(q), self.sides, lengths, self.mode, CHUNK, look_ahead)
        return self.dropout(_attend(q, k, v, *given).to(dtype))

    def weights(
        self, q: Tensor, k: Tensor, v: Tensor, lengths: Tensor | None = None, look_ahead: int | None = None
    ) -> Tensor:
        """Scores under the decay mask, (B, H, N, N), by which `forward` multiplies v; for a look at them.

        >>> q = k = v = torch.ones(1, 1, 2, 4)
        >>> DecayAttention(torch.tensor([0.5])).weights(q, k, v)
        tensor([[[[1.3333, 0.6667],
                  [0.6667, 1.3333]]]])
        """
        each = torch.eye(q.shape[2], dtype=q.dtype, device=q.device).expand(*q.shape[:2], -1, -1)
        return _attend(
            q, k, each, self._log_gamma(q), self.sides, lengths, "quadratic", look_ahead=look_ahead
        )

    def step(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        state: Tensor,
        past: int,
        look_ahead: int = 0,
        constants: dict | None = None,
        real: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """The next n tokens of each sequence, of an attention to the past or with a limited future.

        Args:
            q, k, v: (B, H, n, D); n is a multiple of `look_ahead` + 1 unless the sequence ends with them.
            state: F after `past` tokens, (B, H, D, D); zeros after none.
            past: tokens so far, of every sequence.
            look_ahead: as in `decay_attention`.
            constants: keeps what is the same at each step of n tokens with this look-ahead.
            real: (B,) tokens of these that are real, where the sequence ends with them; None: all.

        Returns:
            (B, H, n, D), and the next state, in fp64 where `wide`.
        """
        dtype = q.dtype
        if self.wide:
            q, k, v, state = q.double(), k.double(), v.double(), state.double()
        log_gamma, key = self._log_gamma(q), (self, q.shape[2])
        constants = {} if constants is None else constants
        if key not in constants:
            constants[key] = self._constants(q, log_gamma, look_ahead)
        place, mask, rest, outof, into, decay = constants[key]
        if real is not None:
            k = k * (place < real[:, None])[:, None, :, None]
            rest = _row_sums(log_gamma, self._future_only(), real, q.shape[2], look_ahead)
        sums = rest + self.sides[0, :, None] * _side_sums(log_gamma, place + past)
        q = q / (sums * q.shape[-1] ** 0.5)[..., None].to(q.dtype)
        out = (q @ k.transpose(-1, -2) * mask) @ v + (q * outof) @ state.to(q.dtype)
        return out.to(dtype), decay.to(state.dtype) * state + (k * into).transpose(-1, -2) @ v

    def _constants(self, q: Tensor, log_gamma: Tensor, look_ahead: int) -> tuple[Tensor, ...]:
        """Of a step: places of its tokens, mask and rest of the row sums within it, decays of the state."""
        tokens = q.shape[2]
        place = torch.arange(tokens, device=q.device)
        rest = _row_sums(log_gamma, self._future_only(), None, tokens, look_ahead)
        outof, into = _powers(log_gamma, place + 1), _powers(log_gamma, tokens - 1 - place)
        decays = [each[..., None].to(q.dtype) for each in (outof * self.sides[0, :, None], into)]
        mask = _mask(log_gamma, self.sides, tokens, look_ahead).to(q.dtype)
        return place, mask, rest, *decays, outof[:, -1:, None]

    def _future_only(self) -> Tensor:
        return self.sides & self.sides.new_tensor([[False], [True]])

    def _log_gamma(self, like: Tensor) -> Tensor:
        return self.log_gamma.to(torch.promote_types(like.dtype, torch.float32))
