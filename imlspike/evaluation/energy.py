"""Energy from operation counts: five accountings that only mean something together.

1. paper   what the papers count, fp32: linear maps and convolutions. MACs on real-valued input at the price
           of a MAC, accumulates at that of an addition.
2. full    everything that runs, fp32: also attention products, neuron updates, threshold statistics,
           scalings, decay masks, norms that nothing takes in (`imlspike.evaluation.folded_norms`), softmax,
           residuals, biases, activation functions.
3. int8    the same with weights of 8 bits and sums of 32: an accumulate is an addition of integers, a MAC one
           of 8-bit numbers; all else as in 2. Spikes in unary code, and bit by bit (`unfold`; spikes of T
           time steps come one by one in both); bit by bit, MACs of zero inputs are skipped, too.
4. rival   the same network as a quantised ANN with T + 1 levels in place of spikes: dense, and with the MACs
           of zero inputs skipped. That is what graded spikes on a digital chip are.
5. memory  reading weights, writing and reading activations, potentials of neurons that carry one; no
           arithmetic. Weights for spikes, and for the rival's inputs that aren't zero, once for each input
           and connection ("events"), or in all networks once for a tile of `reuse` results that are computed
           side by side ("tiles"). Real numbers always come in tiles. Sums stay in registers, those of
           bitwise spikes one for each bit; a count comes in one message, whatever its code.

"dense" figures are those of the same network with ReLU in place of neurons, in one pass instead of T, from
the same counts. A ReLU is a comparison, the rival's rounding an addition and two (`ROUNDING`). Where zeros
are skipped, those of both factors of a product are, on all sides alike. The front end (audio to features) is
the same for all networks and stands alone (`log_mel`). These figures compare networks; they don't predict a
battery's life.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple

from imlspike.evaluation.elementwise import butterflies
from imlspike.evaluation.operations import AMOUNTS, Operations

FIGURES = {
    "paper": "1 paper accounting, fp32",
    "full": "2 everything that runs, fp32",
    "int8": "3 int8 weights, unary spikes",
    "int8_bitwise": "3 int8 weights, bitwise spikes, no zeros",
    "memory": "5 memory, a read for each event",
    "memory_tiles": "5 memory, a read for each tile",
    "dense_paper": "1 same network with ReLU: paper, fp32",
    "dense_full": "2 same network with ReLU: all, fp32",
    "dense_int8": "3 same network with ReLU: int8",
    "rival": "4 same network, T + 1 levels: dense",
    "rival_skipping": "4 same network, T + 1 levels: no zeros",
    "dense_memory": "5 same network with ReLU: memory",
    "rival_memory": "5 same network, T + 1 levels: tiles",
    "rival_event_memory": "5 same network, T + 1 levels: events",
}
# What a verdict compares: own figure, figure of the peer, figures of the same network.
_ROWS = {
    "1 paper": (("paper",), "paper", {"the same network with ReLU": ("dense_paper",)}),
    "2 full, fp32": (("full",), "full", {"the same network with ReLU": ("dense_full",)}),
    "3 int8, unary": (("int8",), "int8", {"the same network with ReLU": ("dense_int8",)}),
    "3 int8, bitwise, no zeros": (
        ("int8_bitwise",),
        "int8_bitwise",
        {"the same network with ReLU and zeros": ("dense_int8",)},
    ),
    "4 int8, bitwise": (
        ("int8_bitwise",),
        None,
        {"the (T + 1)-level rival": ("rival",), "that rival without zeros": ("rival_skipping",)},
    ),
    "5 memory, events against tiles": (
        ("memory",),
        "memory_tiles",
        {"the same network with ReLU": ("dense_memory",), "the rival": ("rival_memory",)},
    ),
    "4 and 5 together, events on both sides": (
        ("int8_bitwise", "memory"),
        None,
        {"the rival without zeros": ("rival_skipping", "rival_event_memory")},
    ),
    "4 and 5 together, tiles on both sides": (
        ("int8_bitwise", "memory_tiles"),
        None,
        {"the rival without zeros": ("rival_skipping", "rival_memory")},
    ),
}
ROUNDING = 3  # additions to round to T + 1 levels: of a half, and a comparison with 0 and with T
# Projections of the encoder's output inside a decoder: computed once, whatever the beam. First the names of
# ESPnet's decoder, then those of `IMLSpikeformerDecoder`.
_ONCE_PER_UTTERANCE = (
    *(".src_attn.linear_k", ".src_attn.linear_v"),
    *(".src_attn.k", ".src_attn.v", ".src_attn.k_neuron", ".src_attn.v_neuron", ".memory_neuron"),
    ".src_attn.sums",
)


@dataclass(frozen=True)
class Costs:
    """Energy of one operation in pJ at 45 nm (Horowitz, "Computing's energy problem", ISSCC 2014, 1.1.9).

    >>> Costs().multiplication, Costs().product(8)
    (3.7, 0.3)
    """

    mac: float = 4.6  # 32-bit floating-point multiplication (3.7) and addition (0.9)
    accumulate: float = 0.9  # also the price of an addition or comparison elsewhere
    int8_multiply: float = 0.2
    int32_add: float = 0.1
    weight_read: float = 100.0  # 64 bits from an SRAM of 1 MB; 10: 8 KB, 20: 32 KB, 1300 to 2600: DRAM
    activation_access: float = 20.0  # 64 bits of activations or potentials, from or to 32 KB
    reuse: float = 16.0  # results for which a weight is read once where all inputs count

    @property
    def multiplication(self) -> float:
        """A MAC without its addition."""
        return round(self.mac - self.accumulate, 9)

    def product(self, bits: float) -> float:
        """A MAC of an 8-bit weight and an input of so many bits, to which a multiplier is proportional."""
        return round(self.int8_multiply * bits / 8 + self.int32_add, 9)


HOROWITZ = Costs()


def energy(rows: Iterable[Operations], costs: Costs = HOROWITZ) -> dict[str, float]:
    """The `FIGURES`, in pJ, of the operations that `OperationCounter` counted.

    >>> weights = Operations("w", "weights", accumulates=10, bitwise=8, dense_macs=100)
    >>> neuron = Operations("n", "neuron", additions=5, bitwise_additions=5)
    >>> found = energy([weights, neuron])
    >>> [round(found[figure], 6) for figure in ("paper", "full", "int8", "int8_bitwise", "dense_int8")]
    [9.0, 13.5, 5.5, 5.3, 30.0]
    """
    total = dict.fromkeys(FIGURES, 0.0)
    for row in rows:
        for figure, pj in _of_row(row, costs).items():
            total[figure] += pj
    return total


def _of_row(row: Operations, costs: Costs) -> dict[str, float]:
    others = costs.accumulate * row.additions + costs.multiplication * row.multiplications
    saved = costs.accumulate * (row.additions - row.bitwise_additions) if row.kind == "neuron" else 0.0
    once = others / row.steps if row.kind == "elementwise" else 0.0  # without neurons, in one pass
    relu, shifts = costs.accumulate * row.neurons, costs.accumulate * row.normed
    products = costs.mac * row.macs + costs.accumulate * row.accumulates
    int8, real, narrow = costs.product(8), row.macs / row.steps, costs.product(row.bits)
    # What a product reads has been computed just before: it lies where activations lie.
    read = (costs.weight_read if row.kind == "weights" else costs.activation_access) / 8
    bit = 2 * costs.activation_access / 64  # written and read
    tiles, real_tiles = (read * macs / costs.reuse for macs in (row.dense_macs, row.macs))
    in_steps = row.steps > 1
    read_by_spikes = row.accumulates if in_steps else row.events
    spikes = bit * row.spiking_inputs
    numbers = 8 * bit * row.inputs
    state = costs.activation_access / 2 * row.state
    sent = numbers + spikes * (1 if in_steps else row.bits) + state
    figures = {
        "full": products + others,
        "int8": int8 * row.macs + costs.int32_add * row.accumulates + others,
        "int8_bitwise": int8 * row.active_macs + costs.int32_add * row.bitwise + others - saved,
        "memory": read * read_by_spikes + real_tiles + sent,
        "memory_tiles": tiles * row.steps + sent,
        "dense_full": costs.mac * row.dense_macs + once + relu + shifts,
        "dense_int8": int8 * row.dense_macs + once + relu + shifts,
        "rival": int8 * real + narrow * (row.dense_macs - real) + once + ROUNDING * relu,
        "rival_skipping": int8 * row.active_macs / row.steps + narrow * row.events + once + ROUNDING * relu,
        "dense_memory": tiles + (numbers + 8 * spikes) / row.steps,
        "rival_memory": tiles + (numbers + row.bits * spikes) / row.steps,
        "rival_event_memory": read * row.events + (real_tiles + numbers + row.bits * spikes) / row.steps,
    }
    if row.kind == "weights":
        figures |= {"paper": products, "dense_paper": costs.mac * row.dense_macs}
    return figures


def log_mel(frames: float, n_fft: int, n_mels: int) -> Operations:
    """Estimate of what so many frames of a log-mel spectrogram take: window, Fourier transform, power, dense
    product with the bands, logarithm; the same in fp32 for every network that reads them.

    >>> round(1e-6 * energy([log_mel(100, 512, 80)])["full"], 1)  # microjoules for a second of audio
    12.2
    """
    bins, both = n_fft // 2 + 1, butterflies(n_fft)
    additions, multiplications = 6 * both + bins, n_fft + 4 * both + 2 * bins + n_mels
    macs = frames * bins * n_mels
    amounts = dict(additions=frames * additions, multiplications=frames * multiplications)
    return Operations("log_mel", "elementwise", macs=macs, dense_macs=macs, **amounts)


def for_beam(rows: Iterable[Operations], beam: int) -> list[Operations]:
    """A decoder's operations for `beam` hypotheses, from those for one; keys and values are kept.

    >>> rows = Operations("d.ff", "weights", 2), Operations("d.src_attn.linear_k", "weights", 2)
    >>> [row.macs for row in for_beam(rows, 5)]
    [10, 2]
    """
    return [row if row.name.endswith(_ONCE_PER_UTTERANCE) else row.times(beam) for row in rows]


def summarize(
    parts: dict[str, list[Operations]], seconds: float, costs: Costs = HOROWITZ, scope: str = "encoder"
) -> dict:
    """Energies and operations per second of audio, ready to be JSON.

    Args:
        parts: name ("encoder", "ctc", "decoder"; "backbone", "head") to operations over all the audio.
        seconds: length of that audio.
        scope: the part that stands beside the whole model, one of `parts`.

    Returns:
        ``{"scope": scope, scope: ..., "model": ..., "parts": {name: ...}, ...}``, of each `scope_of`.
    """
    scopes = {name: scope_of(rows, seconds, costs) for name, rows in parts.items()}
    return {
        "unit": "microjoules per second of audio",
        "figures": FIGURES,
        "costs_pj": asdict(costs) | {"multiplication": costs.multiplication},
        "seconds": seconds,
        "scope": scope,
        scope: scopes[scope],
        "model": scope_of([row for rows in parts.values() for row in rows], seconds, costs),
        "parts": scopes,
    }


def scope_of(rows: Sequence[Operations], seconds: float, costs: Costs = HOROWITZ) -> dict:
    """The figures in microjoules per second of audio, the operations per second, and NeuroBench's.

    "neurobench": effective MACs and ACs per second as NeuroBench 2.3 has them: of linear maps and
    convolutions (it doesn't see products of two activations), inputs of zero left out; input other than 0 and
    1, as counts are, is booked as MACs.
    """
    figures: dict = {name: pj / seconds * 1e-6 for name, pj in energy(rows, costs).items()}
    amounts = {amount: sum(getattr(row, amount) for row in rows) / seconds for amount in AMOUNTS}
    maps = [row for row in rows if row.kind == "weights"]
    acs = sum(row.accumulates for row in maps if row.bits == 1 or row.steps > 1) / seconds
    macs = sum(row.active_macs + (row.bits > 1 and row.steps == 1) * row.events for row in maps) / seconds
    neurobench = {"effective_macs": macs, "effective_acs": acs}
    return figures | {"operations_per_second": amounts, "neurobench": neurobench}


def times(above: float, below: float) -> float:
    """Quotient of two energies; infinite for a network that takes nothing (no spike)."""
    return above / below if below else float("inf")


def verdict(spiking: dict, peer: dict, name: str = "the ANN") -> list[str]:
    """Sentences, one an accounting, that say whether a scope of a spiking model wins or loses against the
    same scope of a peer, which `name` says, and against its own network as an ANN. Within a percent they tie.

    >>> own = dict.fromkeys(FIGURES, 2.0)
    >>> print(verdict(own, own | {"full": 5.0})[1])
    2 full, fp32: WINS against the ANN (0.40 of its energy); ties with the same network with ReLU
    """
    said = []
    for row, (own, theirs, same) in _ROWS.items():
        against = {name: peer[theirs]} if theirs else {}
        against |= {what: sum(spiking[figure] for figure in figures) for what, figures in same.items()}
        told = [_duel(sum(spiking[figure] for figure in own), *other) for other in against.items()]
        said.append(f"{row}: {'; '.join(told)}")
    return said


def _duel(own: float, name: str, other: float) -> str:
    share = 1.0 if own == other else times(own, other)
    if round(share, 2) == 1:  # prices aren't known to a percent
        return f"ties with {name}"
    what = "WINS against" if share < 1 else "LOSES to"
    return f"{what} {name} ({share:.2f} {'of' if share < 1 else 'times'} its energy)"


class VocoderEnergy(NamedTuple):
    """Energy in pJ of the convolutions of the ConvNeXt blocks, which alone is the paper's figure, of the
    embedding (the first convolution, from mel bands to channels) and the head (to magnitudes and phases)."""

    blocks: float
    embedding: float
    head: float

    @property
    def model(self) -> float:
        """All three."""
        return sum(self)


def spiking_vocos_energy(
    frames: int = 1000,
    rate: float | Sequence[float] | None = None,
    steps: int = 4,
    dim: int = 512,
    intermediate_dim: int = 1536,
    num_layers: int = 8,
    n_mels: int = 100,
    n_fft: int = 1024,
    kernel: int = 7,
    costs: Costs = HOROWITZ,
) -> VocoderEnergy:
    r"""Energy of Vocos or Spiking Vocos by the paper's equations 15 and 16, in pJ.

    .. math::
        E_\mathrm{dwConv} = K_d C L T E_\mathrm{MAC}, \qquad
        E_\mathrm{pwConv} = C_\mathrm{in} C_\mathrm{out} L T r E_\mathrm{AC}

    The paper's table 3 leaves out the embedding and the head, which cost the same in both networks; the
    equations leave out neurons, norms, GELU, shortcut, temporal shift and Fourier transform, which "full"
    counts.

    Args:
        frames: L.
        rate: r, share of the time steps in which a neuron fires, 0 to 1: of all neuron layers (their mean,
            which is exact, for all pointwise convolutions have as many connections), or of each. None: the
            ANN, whose pointwise convolutions take MACs, once.
        steps: T; plays no part for the ANN.

    Raises:
        ValueError: a rate outside 0 to 1, or as many rates as the model has no layers.

    >>> ann, final = spiking_vocos_energy(), spiking_vocos_energy(rate=0.176)
    >>> round(100 * final.blocks / ann.blocks, 2), round(100 * final.model / ann.model, 1)
    (14.65, 20.2)
    """
    pointwise = 2 * num_layers * dim * intermediate_dim * frames
    depthwise = num_layers * kernel * dim * frames * costs.mac
    if rate is None:
        blocks = depthwise + pointwise * costs.mac
    else:
        rates = [rate] if isinstance(rate, int | float) else list(rate)
        if len(rates) not in (1, 2 * num_layers):
            layers = f"{2 * num_layers} neuron layers"
            raise ValueError(f"{len(rates)} rates for {layers}; give each its own, or one")
        if not all(0 <= r <= 1 for r in rates):
            raise ValueError(f"a firing rate is a share of the time steps, 0 to 1, not {rate}")
        blocks = steps * (depthwise + pointwise * sum(rates) / len(rates) * costs.accumulate)
    embedding = kernel * n_mels * dim * frames * costs.mac
    return VocoderEnergy(blocks, embedding, dim * (n_fft + 2) * frames * costs.mac)
