"""Operation counts: against hand counts, torch's own counter, and brute force over single spikes."""

import weakref

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from imlspike.evaluation.energy import energy
from imlspike.evaluation.operations import OperationCounter
from imlspike.evaluation.spikes import SpikeRecorder
from imlspike.layers.depthwise import DepthwiseConv
from imlspike.layers.layout import Layout
from imlspike.layers.time_conv import SpikingTimeConv
from imlspike.layers.token_conv import TokenConv
from imlspike.models import IMLSpikeformerEncoder
from imlspike.neurons import IMLS, LIF


def count(module, *inputs):
    module.eval()
    with OperationCounter(module) as counter:
        module(*inputs)
    assert not counter.unknown
    return counter.rows


def total(rows, amount, kind=None):
    return sum(getattr(row, amount) for row in rows.values() if kind in (None, row.kind))


def flops(module, *inputs):
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        module(*inputs)
    return counter.get_total_flops()


def test_a_toy_network_by_hand():
    network = nn.Sequential(nn.Linear(4, 3), IMLS(levels=2, threshold="layer"), nn.Linear(3, 5, bias=False))
    with torch.no_grad():
        network[0].weight.copy_(torch.eye(3, 4))
        network[0].bias.zero_()
    # mean |x| is 1, theta 0.45: 2 (of 2.2, saturated) 1 0 / 0 2 2
    x = torch.tensor([[1.0, 0.5, -2.0, 7.0], [-1.0, 1.0, 0.5 + 1e-3, 7.0]])
    counts, _ = network[1].encode(x[:, :3])
    assert counts.tolist() == [[2, 1, 0], [0, 2, 1]]
    rows = count(network, x)
    first, second = rows["0", "weights"], rows["2", "weights"]
    assert (first.macs, first.dense_macs, first.accumulates) == (2 * 4 * 3, 2 * 4 * 3, 0)
    assert (second.macs, second.dense_macs, second.accumulates) == (0, 2 * 3 * 5, 6 * 5)
    # four fire; 2 and 1 are one bit each, and two bits take a shift for each of 2 * 5 results
    assert (second.events, second.bitwise, second.bits) == (4 * 5, 4 * 5 + 2 * 5, 2)
    assert (first.active_macs, first.inputs, second.inputs, second.spiking_inputs) == (24, 8, 0, 6)
    assert rows["0", "elementwise"].additions == 2 * 3  # the bias
    assert rows["2", "scaling"].multiplications == 2 * 5  # theta, after the sum
    neuron = rows["1", "neuron"]  # x + theta/2, two comparisons, a subtraction a spike; sum of |x|; kappa
    assert (neuron.additions, neuron.multiplications) == (6 * 3 + 6 + 6, 1)
    assert set(rows) == {
        ("0", "weights"),
        ("0", "elementwise"),
        ("1", "neuron"),
        ("2", "weights"),
        ("2", "scaling"),
    }


@pytest.mark.parametrize(
    ("threshold", "amplitude", "multiplications"),
    [
        ("token", "theta", 2 * 5),
        ("channel", "theta", 3 * 5),
        ("fixed", "theta", 0),
        ("learned", "theta", 0),
        ("token", "unit", 0),
    ],
)
def test_where_the_threshold_is_multiplied(threshold, amplitude, multiplications):
    neuron = IMLS(threshold=threshold, amplitude=amplitude)
    rows = count(nn.Sequential(neuron, nn.Linear(3, 5)), torch.randn(2, 3))
    assert total(rows, "multiplications", "scaling") == multiplications


def brute_force(layer, counts):
    """Connections that each spike reaches, from the gradient of a sum of outputs with all weights one."""
    ones = torch.ones_like(layer.weight)
    x = counts.clone().requires_grad_()
    with torch.no_grad():
        layer.weight.copy_(ones)
    layer(x).sum().backward()
    return int((x.grad * counts).sum())


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(4, 6, 3, stride=2, bias=False),
        nn.Conv2d(4, 8, (3, 1), padding=(2, 1), dilation=(2, 1), groups=2, bias=False),
        nn.Conv2d(4, 4, 3, padding=1, groups=4, bias=False),
        nn.ConvTranspose2d(4, 6, 2, stride=2, groups=2, bias=False),
    ],
    ids=["stride", "dilated", "depthwise", "transposed"],
)
def test_convolutions_reach_what_their_spikes_reach(layer):
    torch.manual_seed(0)
    neuron, x = IMLS(threshold="fixed", value=0.4), torch.randn(1, 4, 9, 8)
    network = nn.Sequential(neuron, layer)
    rows = count(network, x)
    assert rows["1", "weights"].dense_macs * 2 == flops(network, x)
    assert (rows["1", "weights"].macs, rows["1", "weights"].accumulates) == (
        0,
        brute_force(layer, neuron.encode(x)[0]),
    )


def test_a_convolution_over_tokens_reaches_less_at_the_ends():
    """A spike at an end is seen by two of three windows; on one token alone by one."""
    for tokens, windows in ((5, (2, 3, 3, 3, 2)), (1, (1,))):
        x = torch.zeros(tokens, 1, tokens, 4)
        for i in range(tokens):
            x[i, 0, i, 1] = 1.0  # one spike, at the i-th token
        network = nn.Sequential(IMLS(threshold="fixed", value=1.0), TokenConv(4, 6, kernel=3, bias=False))
        found = [count(network, one)["1", "weights"].accumulates for one in x]
        assert found == [6 * n for n in windows]
        dense = network[1](torch.ones_like(x[0])).numel() * 4 * 3
        assert count(network, x[0])["1", "weights"].dense_macs == dense


@pytest.mark.parametrize("kernel", [1, 5, 15])
def test_convolutions_with_channels_last_see_their_spikes_through_transposes_and_paddings(kernel):
    torch.manual_seed(0)
    x, windows = torch.randn(1, 9, 4), [sum(abs(i - j) <= kernel // 2 for j in range(9)) for i in range(9)]
    neuron, over_time = (
        IMLS(threshold="fixed", value=0.4, amplitude="unit"),
        SpikingTimeConv(4, kernel).eval(),
    )
    over_time.fold()
    layout, spikes = Layout(None, 9, 1), over_time.neuron.encode(over_time.norm(x[0]))[0]
    networks = (
        (nn.Sequential(neuron, DepthwiseConv(4, kernel)), (x,), neuron.encode(x)[0][0], "1"),
        (over_time, (x[0], layout), spikes, "conv"),
    )
    for network, inputs, counts, name in networks:
        row = count(network, *inputs)[name, "weights"]
        seen = torch.tensor(windows, dtype=torch.float)
        assert (row.macs, row.accumulates) == (0, int(counts.sum(1) @ seen))
        assert row.events == int((counts > 0).float().sum(1) @ seen) > 0


def test_a_gated_linear_unit_is_known():
    rows = count(nn.GLU(), torch.randn(3, 8))
    assert (rows["", "elementwise"].additions, rows["", "elementwise"].multiplications) == (0, 2 * 3 * 4)


class Rearranged(nn.Module):
    """Spikes that are cut, transposed, copied, padded and scaled by token on their way to a linear map."""

    def __init__(self, break_up=False):
        super().__init__()
        self.neuron, self.linear, self.break_up = (
            IMLS(threshold="fixed"),
            nn.Linear(6, 5, bias=False),
            break_up,
        )

    def forward(self, x):  # (N, 6, 2)
        y = self.neuron(x)[1:].transpose(1, 2).contiguous()
        y = nn.functional.pad(y, (0, 0, 0, 1)) * x[1:, :1, :1].abs()
        if self.break_up:
            y += 0.3
        return self.linear(y.reshape(-1, 6))


def test_spikes_are_followed_through_views_copies_and_scaling_by_token():
    torch.manual_seed(0)
    network, x = Rearranged(), torch.randn(4, 6, 2)
    spikes = int(network.neuron.encode(x)[0][1:].sum())
    row = count(network, x)["linear", "weights"]
    assert (row.macs, row.accumulates) == (0, spikes * 5)


def test_what_is_no_longer_spikes_counts_as_macs():
    row = count(Rearranged(break_up=True), torch.randn(4, 6, 2))["linear", "weights"]
    assert (row.macs, row.accumulates) == (3 * 3 * 6 * 5, 0)


@pytest.mark.parametrize(
    ("factor", "macs", "accumulates"),
    [
        ([[2.0], [0.5]], 0, 5 * 4),  # a factor for each token: 5 spikes, 4 outputs
        ([[1.0], [0.0]], 0, 3 * 4),  # the second token, with 2 spikes, is masked
        ([[1.0, 2.0, 0.5]], 2 * 3 * 4, 0),  # a factor for each channel doesn't leave the sum
    ],
)
def test_what_a_factor_leaves_of_spikes(factor, macs, accumulates):
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.neuron, self.linear = IMLS(threshold="fixed"), nn.Linear(3, 4, bias=False)

        def forward(self, x):
            return self.linear(self.neuron(x) * torch.tensor(factor))

    row = count(Scaled(), torch.tensor([[1.0, 2.0, 0.0], [0.0, 1.0, 1.0]]))["linear", "weights"]
    assert (row.macs, row.accumulates) == (macs, accumulates)


def test_spikes_live_as_long_as_the_run_so_that_no_other_tensor_gets_their_memory():
    class Watched(nn.Module):
        def __init__(self):
            super().__init__()
            self.neuron, self.linear = IMLS(), nn.Linear(4, 4)

        def forward(self, x):
            spikes = self.neuron(x)
            self.watch = weakref.ref(spikes)
            y = self.linear(spikes)
            del spikes
            self.alive = self.watch() is not None
            return self.linear(y)

    network = Watched()
    count(network, torch.randn(4, 4))
    assert network.alive and network.watch() is None


@pytest.mark.parametrize("qk", ["none", "key", "both"])
def test_the_encoder_agrees_with_torch_and_attention_is_counted_in_the_cheaper_form(qk):
    torch.manual_seed(0)
    sizes = dict(output_size=16, attention_heads=2, linear_units=32, num_blocks=2, qk=qk)
    encoder = IMLSpikeformerEncoder(20, **sizes).eval().reparameterize()
    for frames, cheaper in ((700, "chunked"), (60, "quadratic")):
        inputs, forms = (torch.randn(1, frames, 20), torch.tensor([frames])), {}
        for mode in ("quadratic", "chunked"):
            for block in encoder.blocks:
                block.attention.attention.mode = mode
            with OperationCounter(encoder) as counter:
                encoder(*inputs)
            assert counter.forms == {cheaper: 2} and not counter.unknown
            forms[mode] = counter.rows, flops(encoder, *inputs)
        rows = forms["quadratic"][0]
        assert rows == forms["chunked"][0], "whatever ran"
        assert total(rows, "dense_macs") * 2 == forms[cheaper][1]
        weights = {row.name: row for row in rows.values() if row.kind == "weights"}
        assert [name for name, row in weights.items() if row.macs] == ["embed.stages.0.conv"]
        products = [row for row in rows.values() if row.kind == "product"]
        assert len(products) == 2 and all(row.accumulates for row in products)
        if qk == "both" or (qk == "key" and cheaper == "quadratic"):
            assert not any(row.macs for row in products)


def test_an_encoder_has_the_dense_macs_of_the_one_with_relu():
    torch.manual_seed(0)
    sizes = dict(output_size=16, attention_heads=2, linear_units=32, num_blocks=1, conv_kernel=5)
    inputs, dense, energies = (torch.randn(1, 90, 20), torch.tensor([90])), [], []
    for options in ({}, {"neuron": "relu"}):
        rows = count(IMLSpikeformerEncoder(20, **sizes, **options).eval().reparameterize(), *inputs)
        dense.append({name: row.dense_macs for (name, kind), row in rows.items() if kind == "weights"})
        energies.append(energy(rows.values()))
    assert dense[0] == dense[1] and total(rows, "macs", "weights") == sum(dense[1].values())
    for figure in ("full", "int8", "memory"):
        assert energies[0][f"dense_{figure}"] == pytest.approx(energies[1][figure])


def test_products_of_real_numbers_skip_the_zeros_of_both_sides():
    class Product(nn.Module):
        def forward(self, a, b):
            return a.relu() @ b.relu()

    a, b = torch.tensor([[1.0, -1.0], [1.0, 1.0]]), torch.tensor([[1.0, 1.0, -1.0], [-1.0, -1.0, 1.0]])
    for inputs in ((a, b), (b.T, a.T)):
        [row] = [row for row in count(Product(), *inputs).values() if row.kind == "product"]
        assert (row.macs, row.active_macs) == (12, 2 * 2 + 1 * 1)


def test_products_of_spikes_with_values_and_with_spikes():
    class Product(nn.Module):
        def __init__(self, both):
            super().__init__()
            self.left = IMLS(threshold="fixed", value=1.0, levels=3) if both else nn.Identity()
            self.right = IMLS(threshold="fixed", value=1.0, levels=3)

        def forward(self, a, b):
            return self.left(a) @ self.right(b)

    a, b = torch.tensor([[3.0, 0.0], [1.0, 1.0]]), torch.tensor([[1.0, 2.0, 0.0], [0.0, 3.0, 3.0]])
    [row] = [row for row in count(Product(False), a, b).values() if row.kind == "product"]
    assert (row.macs, row.accumulates, row.dense_macs) == (0, 9 * 2, 12)
    # a zero on the left is skipped; and a shift for each of 6 results
    assert (row.events, row.bitwise) == (2 * 2 + 2 * 1, (1 + 1) * 2 + (2 + 2) * 1 + 6)
    [row] = [row for row in count(Product(True), a, b).values() if row.kind == "product"]
    # right drives: 3 spikes meet two non-zeros of the left, 6 meet one; left drives: 4 meet two, 1 meets two
    assert row.accumulates == min(3 * 2 + 6 * 1, 4 * 2 + 1 * 2)


def test_the_fourier_transform_counts_as_radix_two():
    class Transform(nn.Module):
        def forward(self, x):
            return torch.fft.irfft(torch.fft.rfft(x))

    row = count(Transform(), torch.randn(3, 16))["", "elementwise"]
    butterflies = 2 * 3 * (16 / 4) * 4  # two ways, three signals, N / 4 complex ones on each of log2 N levels
    assert (row.additions, row.multiplications) == (6 * butterflies, 4 * butterflies)


def test_of_time_steps_the_counts_of_one_pass_are_kept_beside_the_spikes():
    """A layer that runs T times: T times the accumulates, once the MACs and events of its ANN."""
    neuron, x = LIF(), torch.tensor([[0.0, 1.5, 9.0]]).expand(4, 1, 3)[:, None]  # (T, B, N, C)
    counts = neuron(x).sum(0).flatten()
    assert counts[0] == 0 and 0 < counts[1] < 4 and counts[2] == 4
    network = nn.Sequential(neuron, nn.Linear(3, 5, bias=False)).eval()
    with OperationCounter(network, steps=4) as counter:
        network(x)
    row = counter.rows["1", "weights"]
    assert (row.accumulates, row.bitwise) == (int(counts.sum()) * 5,) * 2
    assert (row.events, row.dense_macs, row.steps, row.bits) == (2 * 5, 3 * 5, 4, 3)
    assert counter.rows["0", "neuron"].state == 2 * 4 * 3


def test_zeros_of_real_numbers_are_known():
    row = count(nn.Sequential(nn.ReLU(), nn.Conv1d(1, 2, 3, padding=1)), torch.tensor([[[2.0, -1.0, 3.0]]]))
    assert (row["1", "weights"].macs, row["1", "weights"].active_macs) == (3 * 3 * 2, (2 + 2) * 2)


def test_lif_and_unknown_operations():
    with OperationCounter(LIF()) as counter:
        counter.module(torch.full((4, 3), 10.0))
    assert counter.rows["", "neuron"].additions == 3 * 12 + 12

    class Odd(nn.Module):
        def forward(self, x):
            return torch.erfinv(x)

    with OperationCounter(Odd()) as counter:
        counter.module(torch.rand(5))
    assert dict(counter.unknown) == {"erfinv": 1}
    assert counter.rows["", "elementwise"].additions == 5


def test_a_linear_map_counts_as_such_however_it_computes():
    class Roundabout(nn.Linear):
        def forward(self, x):
            x = (x + 1 - 1).flatten(0, -2)
            return sum(torch.outer(x[:, c], row) for c, row in enumerate(self.weight.t())) + self.bias

    x = torch.rand(2, 7, 4)
    neuron = IMLS(threshold="fixed", value=0.3)
    expected = count(nn.Sequential(neuron, nn.Linear(4, 3)), x)
    assert count(nn.Sequential(neuron, Roundabout(4, 3)), x) == expected
    assert expected["1", "weights"].accumulates == 3 * int(neuron.encode(x)[0].sum())


def test_a_negative_spike_is_an_addition_and_its_sign_a_bit():
    network = nn.Sequential(
        IMLS(threshold="fixed", value=1.0, amplitude="unit", signed=True), nn.Linear(4, 2)
    )
    x = torch.tensor([[-3.0, 0.2, 1.0, -9.0]])
    rows = count(network, x)
    read = rows["1", "weights"]
    assert (read.accumulates, read.events, read.bits) == (2 * (3 + 1 + 6), 2 * 3, 4)
    assert rows["0", "neuron"].additions == (1 + 2 * 6) * 4 + 10  # both comparisons for each level
    with SpikeRecorder(network) as recorder:
        network(x)
    assert recorder.layers["0"].histogram == [1, 1, 0, 1, 0, 0, 1]
