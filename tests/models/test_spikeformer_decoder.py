"""The decoder: an utterance alone and in a batch, step by step and at once, folding, spikes, checkpoints."""

import copy
import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from imlspike.evaluation.energy import for_beam
from imlspike.evaluation.operations import OperationCounter
from imlspike.evaluation.profiling import Heard, profile, recognizer
from imlspike.evaluation.spikes import SpikeRecorder
from imlspike.layers import RepLinear
from imlspike.models import IMLSpikeformerDecoder
from imlspike.models.spikeformer import sinusoids
from tests.models.small import FEATURES, small_encoder
from tests.models.small_decoder import CHANNELS, VARIANTS, VOCABULARY, batch, small_decoder
from tests.models.unfolded import BinaryEncoder

NAMES = st.sampled_from(sorted(VARIANTS))
LENGTHS = st.lists(st.tuples(st.integers(1, 20), st.integers(1, 9)), min_size=1, max_size=4)
CLOSE = dict(rtol=1e-8, atol=1e-8)  # in fp64, where rounding is too small to move a spike


@settings(max_examples=20)
@given(seed=st.integers(0, 2**31), variant=NAMES, lengths=LENGTHS)
def test_alone_is_in_a_padded_batch(seed, variant, lengths):
    decoder = small_decoder(seed, **VARIANTS[variant])
    hs, memory_lengths, ys, token_lengths = batch(*zip(*lengths, strict=True))
    together, counts = decoder(hs, memory_lengths, ys, token_lengths)
    assert torch.equal(counts, token_lengths)
    for b, (m, n) in enumerate(lengths):
        alone, _ = decoder(
            hs[b : b + 1, :m], memory_lengths[b : b + 1], ys[b : b + 1, :n], token_lengths[b : b + 1]
        )
        torch.testing.assert_close(together[b, :n], alone[0], **CLOSE)
        assert not together[b, n:].any()


@settings(max_examples=10)
@given(seed=st.integers(0, 2**31), variant=NAMES)
def test_training_does_not_see_padding(seed, variant):
    """More padding with other content: the same output, gradients and running statistics."""
    one = small_decoder(seed, **VARIANTS[variant]).train()
    other = copy.deepcopy(one)
    hs, memory_lengths, ys, token_lengths = batch([12, 17, 9], [5, 3, 8])
    more_hs, more_ys = torch.cat([hs, hs], 1), torch.cat([ys, ys], 1)
    more_hs[torch.arange(more_hs.shape[1]) >= memory_lengths[:, None]] = -20.0
    more_ys[torch.arange(more_ys.shape[1]) >= token_lengths[:, None]] = 3
    hs.requires_grad_(), more_hs.requires_grad_()
    logits, more = (
        one(hs, memory_lengths, ys, token_lengths)[0],
        other(more_hs, memory_lengths, more_ys, token_lengths)[0],
    )
    torch.testing.assert_close(more[:, : ys.shape[1]], logits, **CLOSE)
    weights = torch.randn_like(logits)
    (logits * weights).sum().backward()
    (more[:, : ys.shape[1]] * weights).sum().backward()
    # Linear attention may divide by all but nothing: what cancels leaves the rounding of the largest.
    largest = max(parameter.grad.abs().max().item() for parameter in one.parameters())
    tolerance = dict(rtol=1e-6, atol=1e-8 * max(1.0, largest))
    torch.testing.assert_close(more_hs.grad[:, : hs.shape[1]], hs.grad, **tolerance)
    for (name, a), b in zip(one.named_parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, **tolerance, msg=lambda m, name=name: f"{name}: {m}")
    for a, b in zip(one.buffers(), other.buffers(), strict=True):
        torch.testing.assert_close(a, b, **CLOSE)


def teacher_forced(decoder, hs, lengths, ys):
    """(R, N, V) log-probabilities after each prefix of ys (R, N)."""
    return decoder(hs, lengths, ys, torch.full((len(ys),), ys.shape[1]))[0].log_softmax(-1).detach()


@pytest.mark.parametrize("variant", VARIANTS)
def test_step_by_step_is_teacher_forced(variant):
    """`batch_score` on padded memories and `score` on one alone, with the states that they hand on."""
    decoder = small_decoder(**VARIANTS[variant])
    lengths = [14, 9, 20]
    hs, memory_lengths, ys, _ = batch(lengths, [12, 12, 12], padding=1)
    want = teacher_forced(decoder, hs, memory_lengths, ys)
    states, alone = [None] * 3, [None] * 3
    for n in range(ys.shape[1]):
        scores, states = decoder.batch_score(ys[:, : n + 1], states, hs, memory_lengths)
        torch.testing.assert_close(scores, want[:, n], **CLOSE)
        for b, m in enumerate(lengths):
            score, alone[b] = decoder.score(ys[b, : n + 1], alone[b], hs[b, :m])
            torch.testing.assert_close(score, want[b, n], **CLOSE)


def test_step_by_step_is_teacher_forced_in_single_precision():
    """To 1e-4, but for the rare spike that a last bit moves."""
    agreed = []
    for seed in range(4):
        decoder = small_decoder(seed, torch.float32)
        hs, lengths, ys, _ = batch([14, 9, 20], [10, 10, 10], torch.float32, padding=0)
        want, states = teacher_forced(decoder, hs, lengths, ys), [None] * 3
        for n in range(ys.shape[1]):
            scores, states = decoder.batch_score(ys[:, : n + 1], states, hs, lengths)
            agreed += [
                torch.allclose(a, b, rtol=1e-4, atol=1e-4) for a, b in zip(scores, want[:, n], strict=True)
            ]
    assert sum(agreed) >= 0.8 * len(agreed)


@settings(max_examples=10)
@given(seed=st.integers(0, 2**31), variant=NAMES)
def test_states_follow_a_beam(seed, variant):
    """Hypotheses of three utterances are selected, doubled, shuffled and dropped between steps."""
    decoder, rng = small_decoder(seed, **VARIANTS[variant]), random.Random(seed)
    hs, lengths, _, _ = batch([14, 9, 20], [1, 1, 1])
    about, states = torch.tensor([0, 1, 1, 2]), [None] * 4
    ys = torch.full((4, 1), VOCABULARY - 1)
    for step in range(6):
        scores, states = decoder.batch_score(ys, states, hs[about], lengths[about])
        torch.testing.assert_close(
            scores, teacher_forced(decoder, hs[about], lengths[about], ys)[:, -1], **CLOSE
        )
        rows = [rng.randrange(len(ys)) for _ in range(7 - step)]
        states, about = [states[row] for row in rows], about[rows]
        ys = torch.cat([ys[rows], torch.randint(VOCABULARY, (len(rows), 1))], 1)


def test_a_whole_prefix_at_once():
    """Without states, as a search that is primed with several tokens begins."""
    decoder = small_decoder()
    hs, lengths, ys, _ = batch([14, 9], [6, 6], padding=0)
    want = teacher_forced(decoder, hs, lengths, ys)
    scores, states = decoder.batch_score(ys[:, :4], [None, None], hs, lengths)
    torch.testing.assert_close(scores, want[:, 3], **CLOSE)
    scores, _ = decoder.batch_score(ys, states, hs, lengths)
    torch.testing.assert_close(scores, want[:, 5], **CLOSE)


def test_searches_that_began_apart_come_together():
    decoder = small_decoder()
    hs, lengths, ys, _ = batch([14, 9], [3, 3], padding=0)
    states = [decoder.score(ys[b, :2], None, hs[b, :n])[1] for b, n in enumerate(lengths.tolist())]
    scores, states = decoder.batch_score(ys, states, hs, lengths)
    torch.testing.assert_close(scores, teacher_forced(decoder, hs, lengths, ys)[:, 2], **CLOSE)
    assert states[0].memory is states[1].memory


def test_an_encoder_output_that_grows_is_read_again():
    """As in ESPnet's streaming search: what is kept of the first part isn't taken for the whole."""
    decoder = small_decoder(num_blocks=1)
    hs, _, ys, _ = batch([20], [2], padding=0)
    _, state = decoder.score(ys[0, :1], None, hs[0, :8])
    with_more, _ = decoder.score(ys[0], state, hs[0])
    memory = decoder.remember(hs, torch.tensor([20]))
    want, _ = decoder.score(ys[0], state._replace(memory=memory), hs[0])
    assert torch.equal(with_more, want)
    assert not torch.allclose(with_more, decoder.score(ys[0], state, hs[0, :8])[0])


def test_hypotheses_about_one_utterance_share_its_memory():
    decoder = small_decoder()
    hs, lengths, _, _ = batch([14, 9], [1, 1])
    about = torch.tensor([0, 0, 0, 1, 1])
    ys = torch.full((5, 1), VOCABULARY - 1)
    _, states = decoder.batch_score(ys, [None] * 5, hs[about], lengths[about])
    assert {id(state.memory) for state in states} == {id(states[0].memory)}
    assert states[0].memory.utterances == 2 and [state.utterance for state in states] == about.tolist()
    _, states = decoder.batch_score(torch.cat([ys, ys], 1)[3:], states[3:], hs[about][3:], lengths[about][3:])
    assert states[0].memory.utterances == 1 and states[0].memory.kept[0][0].shape[0] == 1


@pytest.mark.parametrize("variant", ["default", "linear"])
def test_the_state_does_not_grow(variant):
    """Neither with the tokens nor, for its own part, with the batch; the memory stays the very same."""
    decoder = small_decoder(**VARIANTS[variant])
    hs, lengths, ys, _ = batch([14, 9], [40, 40], padding=0)
    states, sizes, memories = [None, None], set(), set()
    for n in range(1, 41):
        _, states = decoder.batch_score(ys[:, :n], states, hs, lengths)
        sizes |= {state.sums.untyped_storage().nbytes() for state in states}
        memories |= {id(state.memory) for state in states}
    assert sizes == {2 * 2 * 4 * 4 * 8} and len(memories) == 1  # blocks, heads, D x D, bytes
    if variant == "linear":
        assert [t.shape for t in states[0].memory.kept[0]] == [(2, 2, 4, 4), (2, 2, 4, 1)]


def test_states_that_do_not_fit_are_named():
    decoder = small_decoder()
    hs, lengths, ys, _ = batch([14, 9], [3, 3], padding=0)
    _, states = decoder.batch_score(ys[:, :2], [None, None], hs, lengths)
    with pytest.raises(ValueError, match=r"\[2\] tokens; expected one number below 2"):
        decoder.batch_score(ys[:, :2], states, hs, lengths)
    with pytest.raises(ValueError, match=r"\[0, 2\] tokens"):
        decoder.batch_score(ys, [states[0], None], hs, lengths)


@pytest.mark.parametrize("variant", VARIANTS)
def test_no_token_sees_what_comes_after_it(variant):
    decoder = small_decoder(**VARIANTS[variant])
    hs, memory_lengths, ys, token_lengths = batch([15], [9], padding=0)
    want = decoder(hs, memory_lengths, ys, token_lengths)[0]
    changed = ys.clone()
    changed[:, 5] = (changed[:, 5] + 1) % VOCABULARY
    got = decoder(hs, memory_lengths, changed, token_lengths)[0]
    torch.testing.assert_close(got[:, :5], want[:, :5], **CLOSE)
    assert not torch.allclose(got[:, 5], want[:, 5])


@pytest.mark.parametrize("variant", VARIANTS)
def test_reparameterised_is_unfolded(variant):
    decoder = small_decoder(**VARIANTS[variant])
    inputs = batch([15, 7], [9, 12])
    folded = copy.deepcopy(decoder).train()
    assert folded.reparameterize() is folded and not folded.training
    assert not any(isinstance(m, RepLinear) for m in folded.modules())
    torch.testing.assert_close(folded(*inputs)[0], decoder(*inputs)[0], rtol=1e-9, atol=1e-9)
    decoder = small_decoder(dtype=torch.float32, **VARIANTS[variant])
    inputs = batch([15, 7, 9, 11], [9, 12, 3, 5], torch.float32)
    want = decoder(*inputs)[0]
    got = decoder.reparameterize()(*inputs)[0]
    agreed = [
        torch.allclose(a, b, rtol=1e-4, atol=1e-4)
        for a, b in zip(got.flatten(0, 1), want.flatten(0, 1), strict=True)
    ]
    assert sum(agreed) >= 0.6 * len(agreed)


class BinaryDecoder(BinaryEncoder):
    """The decoder with softmax on zeros and ones alone, from the formulas; one utterance, no padding."""

    def __call__(self, memory, tokens):
        heard = self.fire(memory, "memory_neuron")
        x = self.state["embed.weight"][tokens] + sinusoids(torch.arange(len(tokens)), memory.shape[1])
        for layer in range(self.options["num_blocks"]):
            x = x + self.attention(x, f"blocks.{layer}.self_attn", layer)
            x = x + self.cross_attention(x, f"blocks.{layer}.src_attn", heard)
            name = f"blocks.{layer}.feed_forward"
            hidden = self.linear(f"{name}.expand", *self.fire(self.norm(x, f"{name}.norm"), f"{name}.neuron"))
            x = x + self.linear(f"{name}.project", *self.fire(hidden, f"{name}.hidden_neuron"))
        return self.linear("output_layer", *self.fire(self.norm(x, "after_norm"), "output_neuron"))

    def cross_attention(self, x, name, heard):
        values, worth = self.fire(self.linear(f"{name}.v", *heard), f"{name}.v_neuron")
        keys, key_worth = self.fire(self.linear(f"{name}.k", *heard), f"{name}.k_neuron")
        q = self.linear(f"{name}.q", *self.fire(self.norm(x, f"{name}.norm"), f"{name}.neuron"))
        scores = sum(self.heads(q) @ self.heads(key).mT for key in keys) * key_worth.T
        weights = F.softmax(scores / (x.shape[1] // self.options["attention_heads"]) ** 0.5, -1)
        mixed = sum((weights * worth.T) @ self.heads(value) for value in values)
        mixed = self.norm(mixed.transpose(0, 1).flatten(1), f"{name}.o_norm")
        return self.linear(f"{name}.o", *self.fire(mixed, f"{name}.o_neuron"))


@pytest.mark.parametrize(
    "options",
    [{}, {"amplitude": "theta"}, {"threshold": "fixed", "threshold_value": 0.6}, {"levels": 2}],
)
def test_binary_spikes_reproduce_the_decoder(options):
    decoder = small_decoder(**options).reparameterize()
    hs, memory_lengths, ys, token_lengths = batch([15, 7], [9, 12])
    with torch.no_grad():
        want = decoder(hs, memory_lengths, ys, token_lengths)[0]
        chip = BinaryDecoder(decoder.state_dict(), **{"direction": "past", "threshold": "token", **options})
        for b, (m, n) in enumerate(zip(memory_lengths.tolist(), token_lengths.tolist(), strict=True)):
            torch.testing.assert_close(chip(hs[b, :m], ys[b, :n]), want[b, :n], **CLOSE)
    weights = {name for name, t in decoder.state_dict().items() if t.dim() >= 2}
    assert chip.driven == weights - {"embed.weight"}


@pytest.mark.parametrize("variant", ["default", "linear", "qk both"])
def test_the_counters_see_every_neuron_and_no_dense_product(variant):
    """All maps accumulate spikes, and so do all products of two activations."""
    decoder = small_decoder(dtype=torch.float32, **VARIANTS[variant]).reparameterize()
    hs, memory_lengths, ys, token_lengths = batch([15], [9], torch.float32, padding=0)
    with SpikeRecorder(decoder) as recorder, OperationCounter(decoder) as counter:
        decoder(hs, memory_lengths, ys, token_lengths)
    assert not counter.unknown and not recorder.silent()
    assert all(layer.spikes for layer in recorder.layers.values())
    rows = counter.rows.values()
    maps = {row.name: row for row in rows if row.kind == "weights"}
    assert len(maps) == 2 * (4 + 4 + 2) + 1
    assert all(row.macs == 0 and 0 < row.accumulates for row in maps.values())
    assert maps["output_layer"].dense_macs == 9 * CHANNELS * VOCABULARY
    assert maps["blocks.0.src_attn.k"].dense_macs == 15 * CHANNELS**2
    products = [row for row in rows if row.kind == "product"]
    assert len(products) >= 4 and all(row.macs == 0 < row.accumulates for row in products)


def test_a_profile_of_a_recogniser_that_spikes_throughout():
    """Nothing stays uncounted; what concerns only the memory is paid once for all hypotheses of a beam."""
    model = torch.nn.Module()
    model.encoder = small_encoder(dtype=torch.float32).reparameterize()
    model.decoder, model.ctc = (
        small_decoder(dtype=torch.float32).reparameterize(),
        torch.nn.Linear(CHANNELS, 5),
    )
    heard = [Heard(u, 0.6, torch.randn(60, FEATURES), torch.tensor([10, 1, 2, 3])) for u in "ab"]
    system = recognizer(model, lambda x: model.ctc(model.encoder(x[None], torch.tensor([60]))[0]))
    measured = profile(system, heard)
    assert not measured.unknown and not measured.silent
    one, three = ({(r.name, r.kind): r for r in for_beam(measured.parts["decoder"], n)} for n in (1, 3))
    same = {name for (name, kind), row in one.items() if row == three[name, kind]}
    parts = ("k", "v", "k_neuron", "v_neuron")
    memory = {f"decoder.blocks.{layer}.src_attn.{part}" for layer in (0, 1) for part in parts}
    assert same == memory | {"decoder.memory_neuron"}


def test_every_parameter_learns():
    for variant, options in VARIANTS.items():
        decoder = small_decoder(4, **options).train()
        hs, memory_lengths, ys, token_lengths = batch([15, 7], [9, 12])
        logits, _ = decoder(hs.requires_grad_(), memory_lengths, ys, token_lengths)
        (logits * torch.randn_like(logits)).sum().backward()
        for name, parameter in [*decoder.named_parameters(), ("memory", hs)]:
            assert parameter.grad is not None and parameter.grad.isfinite().all(), (variant, name)
            assert parameter.grad.any(), (variant, name)


def test_bfloat16_trains():
    decoder = small_decoder(dtype=torch.float32).train()
    inputs = batch([15, 7], [9, 12], torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        logits, _ = decoder(*inputs)
        F.cross_entropy(logits.flatten(0, 1), inputs[2].flatten()).backward()
    assert all(p.grad.isfinite().all() for p in decoder.parameters())


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_checkpoint_restores_the_decoder(variant, tmp_path):
    decoder, other = (small_decoder(seed, **VARIANTS[variant]) for seed in (1, 2))
    inputs = batch([15, 7], [9, 12])
    want = decoder(*inputs)[0]
    torch.save(decoder.state_dict(), tmp_path / "decoder.pth")
    assert not torch.allclose(other(*inputs)[0], want)
    other.load_state_dict(torch.load(tmp_path / "decoder.pth"))
    assert torch.equal(other(*inputs)[0], want)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"input_layer": "linear"}, "input_layer must be embed, got 'linear'"),
        ({"positions": "rotary"}, "none or sinusoidal"),
        ({"cross_attention": "sparse"}, "softmax.*linear.*'sparse'"),
        ({"threshold": "layer"}, "token, fixed or learned.*'layer'"),
        ({"threshold": "tokens"}, "token, channel, layer"),
        ({"amplitude": "one"}, "theta, unit"),
        ({"qk": "query"}, "key, both, none"),
        ({"decay": "heirarchical"}, "hierarchical, uniform or none"),
        ({"attention_mode": "linear"}, "auto, quadratic, chunked"),
        ({"attention_heads": 3}, "3 and 8"),
        ({"levels": 0}, "levels"),
    ],
)
def test_bad_arguments_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        IMLSpikeformerDecoder(VOCABULARY, CHANNELS, **{"attention_heads": 2, **options})
