"""Spiking subsampling: ESPnet's lengths, pieces equal to the whole, and no sight of padding."""

import copy
import weakref
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from imlspike.evaluation.operations import OperationCounter
from imlspike.layers import SpikingSubsampling, conv_output, subsampling
from imlspike.layers.subsampling import STAGES
from imlspike.neurons import IMLS
from imlspike.neurons.imls import THRESHOLDS

LAYERS = sorted(STAGES)
LEAST = {"conv1d2": 5, "conv2d1": 5, "conv2d2": 7, "conv2d": 7, "conv2d6": 11, "conv2d8": 15}


def evaluated(*args, **options):
    """In fp64, so that rounding moves no spike; batch norms with statistics, so that none is the identity."""
    own = ("levels", "threshold", "value", "amplitude")
    neuron = {key: options.pop(key) for key in own if key in options}
    maker = partial(IMLS.for_maps, **{"steps": neuron.pop("levels", 6), **neuron})
    layer = SpikingSubsampling(*args, neuron=maker, **options).double()
    layer(torch.randn(2, 60, args[0], dtype=torch.float64) + 0.5, torch.tensor([60, 45]))
    return layer.eval()


@pytest.mark.parametrize("name", LAYERS)
def test_lengths_are_espnets(name):
    peers = pytest.importorskip("espnet.nets.pytorch_backend.transformer.subsampling")
    peer = getattr(peers, f"C{name[1:6]}Subsampling{name[6:]}")(20, 4, 0.0).eval()
    layer = SpikingSubsampling(20, 4, name).eval()
    for frames in [*range(LEAST[name], 70), 123, 300]:
        x = torch.randn(1, frames, 20)
        tokens, layout = layer(x, torch.tensor([frames]))
        want, mask = peer(x, torch.ones(1, 1, frames, dtype=torch.bool))
        assert tokens.shape == want[0].shape and layout.lengths.tolist() == [mask.sum()] == [want.shape[1]]
    layer.fold()
    tensors = [p for stage in layer.stages for p in stage.parameters()] + list(
        layer.linear.folded().parameters()
    )
    assert sum(p.numel() for p in tensors) == sum(p.numel() for p in peer.parameters())


@pytest.mark.parametrize("name", LAYERS)
def test_lengths_are_what_comes_out(name):
    layer = SpikingSubsampling(20, 4, name).eval()
    lengths = torch.arange(LEAST[name], 60)
    tokens, layout = layer(torch.randn(len(lengths), 60, 20), lengths)
    assert layout.lengths.tolist() == [layer.output_lengths(n) for n in lengths.tolist()]
    assert torch.equal(layout.lengths, layer.output_lengths(lengths)) and len(tokens) == layout.lengths.sum()


@given(size=st.integers(0, 50), kernel=st.integers(1, 7), stride=st.integers(1, 4))
def test_conv_output_counts_positions(size, kernel, stride):
    want = len(range(0, size - kernel + 1, stride))
    assert conv_output(size, kernel, stride) == want == int(conv_output(torch.tensor(size), kernel, stride))


@pytest.mark.parametrize("name", LAYERS)
def test_the_least_frames(name):
    layer = SpikingSubsampling(20, 4, name)
    counts = [layer.output_lengths(frames) for frames in range(40)]
    assert layer.least_frames() == next(f for f, n in enumerate(counts) if n > 0) == LEAST[name]
    layer.eval()(torch.randn(1, LEAST[name], 20), torch.tensor([LEAST[name]]))
    with pytest.raises(ValueError, match=rf"utterance 1 .* {LEAST[name] - 1} frames.*at least {LEAST[name]}"):
        layer(torch.randn(2, 50, 20), torch.tensor([50, LEAST[name] - 1]))


@settings(max_examples=30)
@given(
    seed=st.integers(0, 2**31),
    name=st.sampled_from(LAYERS),
    threshold=st.sampled_from(THRESHOLDS),
    amplitude=st.sampled_from(["theta", "unit"]),
    piece=st.integers(8, 40),
    lengths=st.lists(st.integers(15, 130), min_size=1, max_size=3),
    folded=st.booleans(),
)
def test_in_pieces_is_the_whole(seed, name, threshold, amplitude, piece, lengths, folded):
    torch.manual_seed(seed)
    layer = evaluated(16, 5, name, threshold=threshold, amplitude=amplitude)
    if folded:
        layer.fold()
    x, lengths = torch.randn(len(lengths), max(lengths) + 2, 16, dtype=torch.float64), torch.tensor(lengths)
    with torch.no_grad():
        whole, layout = layer(x, lengths)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(subsampling, "PIECE", piece)
            pieces, same_layout = layer(x, lengths)
    torch.testing.assert_close(pieces, whole, rtol=1e-10, atol=1e-10)
    assert torch.equal(layout.lengths, same_layout.lengths)


def test_training_never_works_in_pieces(monkeypatch):
    """Statistics of a batch norm are those of the whole batch; gradients need the whole graph."""
    layer = evaluated(16, 5)
    x, lengths = torch.randn(1, 90, 16, dtype=torch.float64), torch.tensor([90])
    one, other = copy.deepcopy(layer).train(), copy.deepcopy(layer).train()
    want = one(x, lengths)[0]
    monkeypatch.setattr(subsampling, "PIECE", 8)
    with torch.no_grad():
        assert torch.equal(other(x, lengths)[0], want)
    for a, b in zip(one.buffers(), other.buffers(), strict=True):
        assert torch.equal(a, b)
    layer(x.requires_grad_(), lengths)[0].sum().backward()
    assert x.grad.any()


@torch.no_grad()
@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("amplitude", ["theta", "unit"])
@pytest.mark.parametrize("threshold", ["fixed", "layer", "channel"])
def test_who_watches_a_neuron_sees_each_spike_once(monkeypatch, name, amplitude, threshold):
    """A counter of spikes or energy, be the recording worked off whole or in pieces, to the bit."""
    layer, seen = evaluated(16, 5, name, threshold=threshold, amplitude=amplitude), []
    x, lengths = torch.randn(2, 90, 16, dtype=torch.float64), torch.tensor([90, 61])

    def see(neuron, args, kwargs, output):
        counts, theta = neuron.encode(*args, **kwargs)
        assert torch.equal(output, counts if neuron.unit else counts * theta)
        seen[-1].setdefault(neuron, []).append((counts, theta))

    for stage in layer.stages:
        stage.neuron.register_forward_hook(see, with_kwargs=True)
    for piece in (90, 20):
        monkeypatch.setattr(subsampling, "PIECE", piece)
        seen.append({})
        layer(x, lengths)
    assert len(seen[1][layer.stages[0].neuron]) == (1 if threshold == "channel" else 5)
    for stage in layer.stages:
        ((whole, theta),), pieces = (calls[stage.neuron] for calls in seen)
        assert torch.equal(torch.cat([counts for counts, _ in pieces], 1), whole)
        assert all(torch.equal(same, theta) for _, same in pieces)


@torch.no_grad()
def test_a_piece_is_all_that_exists_of_the_widest_map(monkeypatch):
    """Of a recording's first feature map, for a threshold that is taken over the whole of it."""
    layer, alive = evaluated(16, 5, "conv2d8", threshold="layer"), []
    monkeypatch.setattr(subsampling, "PIECE", 20)

    def see(norm, args, output):
        alive.append(weakref.ref(output))
        assert sum(ref() is not None for ref in alive) <= 2

    layer.stages[0].norm.register_forward_hook(see)
    layer(torch.randn(1, 400, 16, dtype=torch.float64))
    assert len(alive) == 2 * 20


@pytest.mark.parametrize("threshold", ["fixed", "layer"])
def test_operations_are_those_of_the_whole(monkeypatch, threshold):
    layer, rows = evaluated(16, 5, threshold=threshold, amplitude="unit"), []
    x = torch.randn(1, 90, 16, dtype=torch.float64)
    for piece in (90, 20):
        monkeypatch.setattr(subsampling, "PIECE", piece)
        with OperationCounter(layer) as counter:
            layer(x)
        rows.append(counter.rows)
    assert rows[0] == rows[1]


@settings(max_examples=30)
@given(
    seed=st.integers(0, 2**31),
    name=st.sampled_from(LAYERS),
    threshold=st.sampled_from(THRESHOLDS),
    lengths=st.lists(st.integers(15, 60), min_size=2, max_size=4),
    channels=st.sampled_from([None, 3]),
)
def test_alone_is_in_a_padded_batch(seed, name, threshold, lengths, channels):
    torch.manual_seed(seed)
    layer = evaluated(17, 4, name, channels, threshold=threshold)
    x = torch.randn(len(lengths), max(lengths) + 5, 17, dtype=torch.float64)
    x[torch.arange(x.shape[1]) >= torch.tensor(lengths)[:, None]] = 50.0
    together, layout = layer(x, torch.tensor(lengths))
    alone = [layer(x[b : b + 1, :n], torch.tensor([n]))[0] for b, n in enumerate(lengths)]
    assert [len(a) for a in alone] == layout.lengths.tolist()
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", LAYERS)
def test_folded_is_unfolded(name):
    layer = evaluated(16, 5, name)
    x, lengths = torch.randn(2, 70, 16, dtype=torch.float64), torch.tensor([70, 33])
    want = layer(x, lengths)[0]
    layer.fold()
    assert all(stage.norm is None for stage in layer.stages)
    torch.testing.assert_close(layer(x, lengths)[0], want, rtol=1e-10, atol=1e-10)
    layer.fold()  # again: nothing is left to fold
    torch.testing.assert_close(layer(x, lengths)[0], want, rtol=1e-10, atol=1e-10)


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="conv3d"):
        SpikingSubsampling(80, 4, "conv3d")
    with pytest.raises(ValueError, match="wav2vec"):
        SpikingSubsampling(80, 4, "wav2vec")
    with pytest.raises(ValueError, match="input_size=10"):
        SpikingSubsampling(10, 4, "conv2d6")
