"""The encoder as a whole: an utterance alone and in a batch, folding, causality, checkpoints."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from imlspike.layers import RepLinear
from imlspike.models import IMLSpikeformerEncoder
from imlspike.models.spikeformer import sinusoids
from imlspike.neurons import IMLS
from tests.models.small import FEATURES, VARIANTS, batch, small_encoder

NAMES = st.sampled_from(sorted(VARIANTS))


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**31), variant=NAMES, lengths=st.lists(st.integers(15, 70), min_size=1, max_size=4)
)
def test_alone_is_in_a_padded_batch(seed, variant, lengths):
    """In fp64, where rounding is too small to move a spike."""
    encoder = small_encoder(seed, **VARIANTS[variant])
    x, lengths = batch(lengths)
    together, tokens, states = encoder(x, lengths)
    assert states is None and torch.equal(tokens, encoder.output_lengths(lengths))
    for b, (frames, n) in enumerate(zip(lengths.tolist(), tokens.tolist(), strict=True)):
        alone, one, _ = encoder(x[b : b + 1, :frames], lengths[b : b + 1])
        assert one.tolist() == [n] and not together[b, n:].any()
        torch.testing.assert_close(alone[0], together[b, :n], rtol=1e-8, atol=1e-8)


def agreeing(pairs):
    """The share of tokens, over pairs of (N, C), equal to 1e-4 in all channels.

    In single precision the order of a sum moves its last bit, and a potential as close as that to a boundary
    between two counts fires one spike more or less, which is then seen in the output: rare, not impossible.
    """
    return torch.cat([torch.isclose(a, b, rtol=1e-4, atol=1e-4).all(-1) for a, b in pairs]).double().mean()


def test_alone_is_in_a_padded_batch_in_single_precision():
    pairs = []
    for seed in range(5):
        encoder = small_encoder(seed, torch.float32)
        x, lengths = batch([70, 15, 38, 61], torch.float32)
        together, tokens, _ = encoder(x, lengths)
        for b, (frames, n) in enumerate(zip(lengths.tolist(), tokens.tolist(), strict=True)):
            pairs.append((encoder(x[b : b + 1, :frames], lengths[b : b + 1])[0][0], together[b, :n]))
    assert agreeing(pairs) >= 0.98


@settings(max_examples=25)
@given(seed=st.integers(0, 2**31), variant=NAMES, more=st.integers(1, 20))
def test_training_does_not_see_padding(seed, variant, more):
    """More padding with other content: the same output, gradients and running statistics."""
    one = small_encoder(seed, **VARIANTS[variant]).train()
    other = copy.deepcopy(one)
    x, lengths = batch([33, 60, 21])
    padded = torch.cat([x, torch.randn(3, more, FEATURES, dtype=x.dtype)], 1)
    padding = torch.arange(padded.shape[1]) >= lengths[:, None]
    padded[padding] = -20.0
    ys, zs = one(x, lengths)[0], other(padded, lengths)[0]
    torch.testing.assert_close(zs[:, : ys.shape[1]], ys, rtol=1e-8, atol=1e-8)
    weights = torch.randn_like(ys)
    (ys * weights).sum().backward()
    (zs[:, : ys.shape[1]] * weights).sum().backward()
    for (name, a), b in zip(one.named_parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(
            a.grad, b.grad, rtol=1e-6, atol=1e-8, msg=lambda m, name=name: f"{name}: {m}"
        )
    for a, b in zip(one.buffers(), other.buffers(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("variant", VARIANTS)
def test_reparameterised_is_unfolded(variant):
    """To 1e-9 in fp64; to 1e-4 in fp32, but for the rare spike that a last bit moves (see `agreeing`)."""
    encoder = small_encoder(**VARIANTS[variant])
    x, lengths = batch([61, 23, 40])
    folded = copy.deepcopy(encoder).train()
    assert folded.reparameterize() is folded and not folded.training
    assert not any(isinstance(m, RepLinear) for m in folded.modules())
    torch.testing.assert_close(folded(x, lengths)[0], encoder(x, lengths)[0], rtol=1e-9, atol=1e-9)
    pairs = []
    for seed in range(4):
        encoder = small_encoder(seed, torch.float32, **VARIANTS[variant])
        x, lengths = batch([61, 23, 40], torch.float32)
        want, tokens, _ = encoder(x, lengths)
        for one, other, n in zip(encoder.reparameterize()(x, lengths)[0], want, tokens.tolist(), strict=True):
            pairs.append((one[:n], other[:n]))
    assert agreeing(pairs) >= 0.95


def test_folding_leaves_a_plain_transformers_parameters():
    """Parameters after folding: plain maps, convolutions, and one norm (scale, shift) for each of ours."""
    for variant, options in VARIANTS.items():
        if {"input_channels", "input_layer", "threshold", "conv_kernel", "rep_kernel"} & options.keys():
            continue
        encoder = small_encoder(**options).reparameterize()
        subsampling = (1 * 9 + 1) * 8 + (8 * 9 + 1) * 8 + (8 * 4 + 1) * 8
        block = 4 * (8 + 1) * 8 + (8 + 1) * 12 + (12 + 1) * 8 + 2 * 16
        assert sum(p.numel() for p in encoder.parameters()) == subsampling + 2 * block + 16, variant


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_checkpoint_restores_the_encoder(variant, tmp_path):
    encoder = small_encoder(1, **VARIANTS[variant])
    x, lengths = batch([30, 52])
    want = encoder(x, lengths)[0]
    torch.save(encoder.state_dict(), tmp_path / "encoder.pth")
    other = small_encoder(2, **VARIANTS[variant])
    assert not torch.allclose(other(x, lengths)[0], want)
    other.load_state_dict(torch.load(tmp_path / "encoder.pth"))
    assert torch.equal(other(x, lengths)[0], want)
    folded, target = encoder.reparameterize(), other.reparameterize()
    for t in target.state_dict().values():
        t.fill_(3)
    target.load_state_dict(folded.state_dict())
    assert torch.equal(target(x, lengths)[0], folded(x, lengths)[0])


def test_split_lets_even_heads_look_back_and_odd_ones_ahead():
    """The mixing inside the first block, whose tokens from the fifth on are others."""
    encoder, seen = small_encoder(direction="split"), []
    attention = encoder.blocks[0].attention.attention
    attention.register_forward_hook(lambda module, args, output: seen.append((args, output)))
    x, lengths = batch([60], padding=0)
    encoder(x, lengths)
    (q, k, v, *rest), want = seen[0]
    k, v = k.clone(), v.clone()
    k[:, :, 5:], v[:, :, 5:] = torch.randn_like(k[:, :, 5:]), torch.randn_like(v[:, :, 5:])
    changed = ~torch.isclose(attention(q, k, v, *rest), want).all(-1)[0]
    assert not changed[0, :5].any() and changed[1, :5].all() and changed[0, 5:].all()


@pytest.mark.parametrize(
    ("name", "stride", "span"), [("conv2d", 4, 7), ("conv2d6", 6, 11), ("conv2d8", 8, 15)]
)
@pytest.mark.parametrize("threshold", ["fixed", "learned"])
def test_the_past_direction_does_not_look_ahead(name, stride, span, threshold):
    """Token i rests on frames up to i * stride + span - 1 (thresholds over the utterance would see all)."""
    options = {"input_layer": name, "threshold": threshold, "threshold_value": 0.4, "residual_gain": 1.0}
    encoder = small_encoder(3, direction="past", conv_kernel=3, **options)
    x, lengths = batch([90], padding=0)
    want = encoder(x, lengths)[0]
    for token in (0, 3, 7):
        changed = x.clone()
        changed[:, token * stride + span :] += 3
        got = encoder(changed, lengths)[0]
        torch.testing.assert_close(got[:, : token + 1], want[:, : token + 1], rtol=1e-9, atol=1e-9)
        assert not torch.allclose(got[:, token + 1 :], want[:, token + 1 :])
    both = small_encoder(3, direction="both", **options)
    changed = x.clone()
    changed[:, 3 * stride + span :] += 3
    assert not torch.allclose(both(changed, lengths)[0][:, :4], both(x, lengths)[0][:, :4])


@settings(max_examples=15)
@given(seed=st.integers(0, 2**31), variant=NAMES)
def test_the_form_of_attention_makes_no_difference(seed, variant):
    outputs = []
    for mode in ("quadratic", "chunked", "auto"):
        encoder = small_encoder(seed, **VARIANTS[variant], attention_mode=mode)
        torch.manual_seed(seed)
        outputs.append(encoder(*batch([330, 290]))[0])
    torch.testing.assert_close(outputs[1], outputs[0], rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(outputs[2], outputs[0], rtol=1e-8, atol=1e-8)


def test_every_parameter_learns():
    for variant, options in VARIANTS.items():
        encoder = small_encoder(4, **options).train()
        ys, _, _ = encoder(*batch([60, 45]))
        (ys * torch.randn_like(ys)).sum().backward()
        for name, parameter in encoder.named_parameters():
            assert parameter.grad is not None and parameter.grad.isfinite().all(), (variant, name)


def test_positions_are_the_published_ones():
    for channels in (8, 7):
        got = sinusoids(torch.tensor([0, 1, 5, 40]), channels)
        for row, position in enumerate([0, 1, 5, 40]):
            for c in range(channels):
                angle = position / 10000 ** (2 * (c // 2) / channels)
                want = np.cos(angle) if c % 2 else np.sin(angle)
                assert got[row, c].item() == pytest.approx(want, abs=1e-5)
    plain, placed = small_encoder(5), small_encoder(5, positions="sinusoidal")
    states = plain.state_dict()
    del states["_extra_state"]
    placed.load_state_dict(states)
    x, lengths = batch([40])
    assert not torch.allclose(plain(x, lengths)[0], placed(x, lengths)[0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"positions": "rotary"}, "none or sinusoidal"),
        ({"input_layer": "lineal"}, "lineal"),
        ({"interctc_layer_idx": [12]}, "interctc_layer_idx"),
        ({"layer_drop_rate": 1.0}, "layer_drop_rate"),
        ({"stochastic_depth_rate": [0.1] * 99}, "stochastic_depth_rate"),
        ({"gradient_checkpoint_layers": [0]}, "gradient_checkpoint_layers"),
        ({"threshold": "tokens"}, "token, channel, layer"),
        ({"amplitude": "one"}, "theta, unit"),
        ({"qk": "query"}, "key, both, none"),
        ({"decay": "heirarchical"}, "hierarchical, uniform or none"),
        ({"direction": "forward"}, "both.*past.*future"),
        ({"attention_mode": "linear"}, "auto, quadratic, chunked"),
        ({"rep_branches": ["linear", "deep"]}, "branches"),
        ({"attention_heads": 3}, "3 and 8"),
        ({"levels": 0}, "levels"),
    ],
)
def test_bad_arguments_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        IMLSpikeformerEncoder(**{"input_size": FEATURES, "output_size": 8, "attention_heads": 2, **options})


def test_too_short_an_utterance_is_named():
    with pytest.raises(ValueError, match="utterance 1 .* 6 frames.*at least 7"):
        small_encoder()(torch.randn(2, 40, FEATURES, dtype=torch.float64), torch.tensor([40, 6]))


@pytest.mark.parametrize("variant", ["default", "layer", "conv over time", "groups"])
def test_padding_that_holds_nan_reaches_nothing(variant):
    encoder = small_encoder(**VARIANTS[variant])
    x, lengths = batch([60, 41])
    nan = x.masked_fill((torch.arange(x.shape[1]) >= lengths[:, None])[..., None], torch.nan)
    assert torch.equal(encoder(nan, lengths)[0], encoder(x, lengths)[0])
    encoder.train()(nan, lengths)[0].square().sum().backward()
    assert all(p.grad.isfinite().all() for p in encoder.parameters() if p.grad is not None)


def test_annealing_goes_on_where_it_was_and_ends_in_whole_spikes():
    x, lengths = batch([40, 30], torch.float32)

    def losses(encoder, steps):
        encoder.train()
        return [encoder(x, lengths)[0].square().mean().item() for _ in range(steps)]

    whole = small_encoder(dtype=torch.float32, anneal_steps=9)
    assert int(whole.passes) == 3 and {m.finer for m in whole.modules() if isinstance(m, IMLS)} == {8}
    resumed = small_encoder(seed=1, dtype=torch.float32, anneal_steps=9)
    resumed.load_state_dict(whole.state_dict())
    seen = losses(whole, 9)
    assert losses(resumed, 4) == seen[:4]
    again = small_encoder(seed=2, dtype=torch.float32, anneal_steps=9)
    again.load_state_dict(resumed.state_dict())
    assert losses(again, 5) == seen[4:]
    assert {m.finer for m in again.modules() if isinstance(m, IMLS)} == {1}
    plain = small_encoder(dtype=torch.float32)
    plain.load_state_dict(again.state_dict(), strict=False)
    assert losses(plain, 1) == losses(again, 1)
