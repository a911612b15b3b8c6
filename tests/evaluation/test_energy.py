"""Energy figures: by hand on a toy network, for a beam, and of ESPnet's Transformer beside torch's count."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from imlspike.evaluation.energy import Costs, energy, for_beam, summarize, verdict
from imlspike.evaluation.operations import OperationCounter
from imlspike.neurons import IMLS


def operations(module, *inputs):
    module.eval()
    with OperationCounter(module) as counter:
        module(*inputs)
    assert not counter.unknown
    return list(counter.rows.values())


def test_three_figures_of_a_toy_network_by_hand():
    network = nn.Sequential(nn.Linear(4, 3), IMLS(levels=2, threshold="token"), nn.Linear(3, 5))
    with torch.no_grad():
        network[0].weight.copy_(torch.eye(3, 4))
        network[0].bias.zero_()
    rows = operations(network, torch.tensor([[1.0, 0.5, -2.0, 7.0]]))  # theta 0.525: counts 2 1 0
    dense, spiking = 4 * 3, 3 * 5
    neuron = 0.9 * (3 * 3 + 3 + 3) + 3.7 * 1  # 3 elements at 1 + levels, 3 spikes, sum of 3 magnitudes; kappa
    biases, scaling = 0.9 * (3 + 5), 3.7 * 5
    figures = energy(rows)
    assert figures["paper"] == pytest.approx(4.6 * dense + 0.9 * 3 * 5)
    assert figures["full"] == pytest.approx(figures["paper"] + neuron + biases + scaling)
    assert figures["int8"] == pytest.approx(0.23 * (dense + spiking) + biases)


def test_prices_are_in_one_place():
    rows = operations(
        nn.Sequential(IMLS(threshold="fixed", value=1e-6), nn.Linear(2, 3, bias=False)), torch.ones(1, 2)
    )
    assert energy(rows, Costs(accumulate=2.0))["paper"] == 2.0 * 2 * 6 * 3
    assert energy(rows, Costs(int8_mac=1.0))["int8"] == 2 * 3


def test_summary_is_per_second_and_the_model_is_all_parts():
    parts = {
        name: operations(nn.Linear(10, n, bias=False), torch.randn(7, 10))
        for name, n in (("encoder", 3), ("ctc", 2))
    }
    summary = summarize(parts, seconds=0.5)
    assert summary["encoder"]["paper"] == pytest.approx(7 * 10 * 3 * 4.6e-6 / 0.5)
    assert summary["model"]["paper"] == pytest.approx(7 * 10 * 5 * 4.6e-6 / 0.5)
    assert summary["model"]["operations_per_second"]["dense_macs"] == 700
    assert summary["parts"]["ctc"]["int8"] == pytest.approx(7 * 10 * 2 * 0.23e-6 / 0.5)


def test_a_spiking_model_that_loses_says_so():
    twin = {"paper": 5.0, "full": 5.5, "int8": 0.5}
    assert "LOSES to int8: 2.00 times" in verdict({"paper": 1.0, "full": 1.0, "int8": 0.4}, twin)
    assert "2.00 times less than int8" in verdict({"paper": 1.0, "full": 0.25, "int8": 0.4}, twin)
    assert "2.00 times MORE (full)" in verdict({"paper": 1.0, "full": 11.0, "int8": 0.4}, twin)
    assert verdict({"paper": 0.0, "full": 1.0, "int8": 0.4}, twin).startswith("inf times less")  # no spike


def test_espnets_transformer_is_counted_whole():
    pytest.importorskip("espnet")
    from espnet.nets.pytorch_backend.transformer.decoder import Decoder
    from espnet.nets.pytorch_backend.transformer.encoder import Encoder

    encoder = Encoder(20, attention_dim=16, attention_heads=2, linear_units=32, num_blocks=2)
    x = torch.randn(1, 63, 20)
    rows = operations(encoder, x, None)
    with torch.no_grad(), FlopCounterMode(display=False) as flops:
        encoder(x, None)
    assert sum(row.macs for row in rows) * 2 == flops.get_total_flops()
    tokens = ((63 - 3) // 2 + 1 - 3) // 2 + 1
    products = [row for row in rows if row.kind == "product"]
    assert [row.macs for row in products] == [2 * tokens**2 * 16] * 2  # Q K^T and A V of each block
    softmax = [row for row in rows if row.kind == "elementwise" and row.name.endswith("self_attn")]
    assert all(row.multiplications >= 2 * 2 * tokens**2 for row in softmax)
    assert energy(rows)["full"] > energy(rows)["paper"] > energy(rows)["int8"]

    decoder = Decoder(10, attention_dim=16, attention_heads=2, linear_units=32, num_blocks=1)
    written, memory = torch.randint(10, (1, 6)), torch.randn(1, tokens, 16)
    rows = operations(decoder, written, torch.ones(1, 6, 6).bool(), memory, torch.ones(1, 1, tokens).bool())
    macs = {
        row.name: (row.macs, wide.macs) for row, wide in zip(rows, for_beam(rows, 4), strict=True) if row.macs
    }
    shared = [name for name, (once, beam) in macs.items() if beam == once]
    assert shared == ["decoders.0.src_attn.linear_k", "decoders.0.src_attn.linear_v"]
    assert all(beam == 4 * once for name, (once, beam) in macs.items() if name not in shared)
