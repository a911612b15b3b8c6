"""Energy figures: by hand, from committed counts, for a beam, and of ESPnet's Transformer."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from imlspike.evaluation.energy import (
    FIGURES,
    Costs,
    energy,
    for_beam,
    log_mel,
    scope_of,
    summarize,
    verdict,
)
from imlspike.evaluation.operations import AMOUNTS, OperationCounter, Operations
from imlspike.inference.recognizer import SpeechFeatures
from imlspike.neurons import IMLS

ONES = torch.ones(1, 2)


def operations(module, *inputs):
    module.eval()
    with OperationCounter(module) as counter:
        module(*inputs)
    assert not counter.unknown
    return list(counter.rows.values())


def test_all_figures_of_a_toy_network_by_hand():
    network = nn.Sequential(nn.Linear(4, 3), IMLS(levels=3, threshold="token"), nn.Linear(3, 5))
    with torch.no_grad():
        network[0].weight.copy_(torch.eye(3, 4))
        network[0].bias.zero_()
    rows = operations(network, torch.tensor([[1.0, 0.5, -2.0, 7.0]]))  # theta 0.525: counts 2 1 0
    rows[0].active_macs -= 3  # as if one of the four inputs were zero
    real, spiking, fired = 4 * 3, 3 * 5, 2 * 5
    neuron = 0.9 * (3 * 4 + 3 + 3) + 3.7 * 1  # 3 elements at 1 + levels, 3 spikes, sum of 3 magnitudes; kappa
    biases, scaling = 0.9 * (3 + 5), 3.7 * 5
    by_bit = 0.9 * (3 * 3 + 2 + 3) + 3.7 * 1  # 1 + two bits, and a subtraction for each of two ones
    others, narrow = biases + scaling, 0.2 * 2 / 8 + 0.1
    bit, weight = 20 / 64, 100 / 8
    by_hand = {
        "paper": 4.6 * real + 0.9 * 3 * 5,
        "full": 4.6 * real + 0.9 * 3 * 5 + neuron + others,
        "int8": 0.3 * real + 0.1 * 3 * 5 + neuron + others,
        "int8_bitwise": 0.3 * (real - 3)
        + 0.1 * (2 * 5 + 5)
        + by_bit
        + others,  # one bit each; a shift a result
        "memory": weight * (real / 16 + fired) + 2 * bit * (8 * 4 + 2 * 3),
        "memory_tiles": weight * (real + spiking) / 16 + 2 * bit * (8 * 4 + 2 * 3),
        "dense_paper": 4.6 * (real + spiking),
        "dense_full": 4.6 * (real + spiking) + biases + 0.9 * 3,
        "dense_int8": 0.3 * (real + spiking) + biases + 0.9 * 3,
        "rival": 0.3 * real + narrow * spiking + biases + 3 * 0.9 * 3,
        "rival_skipping": 0.3 * (real - 3) + narrow * fired + biases + 3 * 0.9 * 3,
        "dense_memory": weight * (real + spiking) / 16 + 2 * bit * 8 * (4 + 3),
        "rival_memory": weight * (real + spiking) / 16 + 2 * bit * (8 * 4 + 2 * 3),
        "rival_event_memory": weight * (real / 16 + fired) + 2 * bit * (8 * 4 + 2 * 3),
    }
    assert energy(rows) == pytest.approx(by_hand) and by_hand.keys() == FIGURES.keys()
    assert scope_of(rows, 2.0)["neurobench"] == {"effective_macs": (real - 3 + fired) / 2, "effective_acs": 0}


def test_time_steps_are_paid_by_the_spiking_network_and_not_by_its_ann():
    row = Operations("w", "weights", accumulates=90, bitwise=90, events=30, dense_macs=50, spiking_inputs=40)
    row.bits, row.steps = 3, 4
    neuron = Operations("n", "neuron", additions=10, multiplications=10, state=8)
    norm, found = Operations("v", "elementwise", additions=4, steps=4), energy([row, neuron])
    assert found["memory"] == pytest.approx(90 * 12.5 + 2 * 40 * 20 / 64 + 8 * 20 / 2)
    assert found["memory_tiles"] == pytest.approx(4 * 50 / 16 * 12.5 + 2 * 40 * 20 / 64 + 8 * 20 / 2)
    assert found["rival_memory"] == pytest.approx(50 / 16 * 12.5 + 3 * 2 * (40 / 4) * 20 / 64)
    assert found["rival_event_memory"] == pytest.approx(30 * 12.5 + 3 * 2 * (40 / 4) * 20 / 64)
    assert found["rival_skipping"] == pytest.approx(30 * (0.2 * 3 / 8 + 0.1))
    assert (energy([norm])["full"], energy([norm])["dense_full"]) == pytest.approx((3.6, 0.9))
    assert scope_of([row], 1.0)["neurobench"] == {"effective_macs": 0, "effective_acs": 90}


@pytest.mark.parametrize(("price", "figure"), [("int32_add", "int8"), ("reuse", "dense_memory")])
def test_prices_are_in_one_place(price, figure):
    rows = operations(nn.Sequential(IMLS(threshold="fixed", value=1e-6), nn.Linear(2, 3, bias=False)), ONES)
    assert energy(rows, Costs(**{price: 1.0}))[figure] != energy(rows)[figure]
    assert energy(rows, Costs(accumulate=2.0))["paper"] == 2.0 * 2 * 6 * 3


def test_int8_on_both_sides_is_the_reckoning_of_the_committed_results():
    """The counts of an earlier `full` (git 077a87c), in millions a second: at equal bits 10.9
    microjoules a second against 48.5 of the Transformer and 22.0 of the same network with ReLU."""
    maps = Operations("e", "weights", macs=1.904391726, accumulates=58.59946252, dense_macs=68.12031527)
    neuron = Operations("e", "neuron", additions=3.28402770, multiplications=0.00104591)
    rest = Operations("e", "elementwise", additions=0.56571261, multiplications=0.27386552)
    twin = Operations("t", "weights", macs=148.80062265, dense_macs=148.80062265)
    twins = Operations("t", "elementwise", additions=1.6841595, multiplications=0.64525814)
    ours, theirs = energy([maps, neuron, rest]), energy([twin, twins])
    shown = (ours["full"], ours["int8"], ours["dense_int8"], theirs["full"], theirs["int8"])
    assert [round(figure, 1) for figure in shown] == [66.0, 10.9, 22.0, 688.4, 48.5]
    assert theirs["int8"] == theirs["dense_int8"] == theirs["rival"]


def test_the_front_end_is_what_the_counter_counts():
    """But for the comparison with the floor."""
    features = SpeechFeatures(16000, 64, 64, 16, n_mels=5, normalize="none")
    rows = operations(features, torch.randn(1600))
    frames = len(features(torch.randn(1600)))
    estimate, counted = log_mel(frames, 64, 5), {a: sum(getattr(r, a) for r in rows) for a in AMOUNTS}
    assert estimate.macs == counted["macs"]
    for amount in ("additions", "multiplications"):
        assert getattr(estimate, amount) == pytest.approx(counted[amount], rel=0.02)


def test_summary_is_per_second_and_the_model_is_all_parts():
    parts = {
        name: operations(nn.Linear(10, n, bias=False), torch.randn(7, 10))
        for name, n in (("encoder", 3), ("ctc", 2))
    }
    summary = summarize(parts, seconds=0.5)
    assert summary["encoder"]["paper"] == pytest.approx(7 * 10 * 3 * 4.6e-6 / 0.5)
    assert summary["model"]["paper"] == pytest.approx(7 * 10 * 5 * 4.6e-6 / 0.5)
    assert summary["model"]["operations_per_second"]["dense_macs"] == 700
    assert summary["parts"]["ctc"]["int8"] == pytest.approx(7 * 10 * 2 * 0.3e-6 / 0.5)


def test_a_verdict_says_of_every_row_who_wins():
    own, twin = dict.fromkeys(FIGURES, 2.0), dict.fromkeys(FIGURES, 4.0)
    said = verdict(own | {"rival_skipping": 1.0, "int8": 0.0, "dense_int8": 0.0, "memory": 6.0}, twin)
    assert [row.partition(":")[0][0] for row in said] == list("12334544")
    assert "WINS against the ANN (0.50 of its energy); ties with the same network" in said[0]
    assert "WINS against the ANN (0.00" in said[2] and "ties with the same network" in said[2]
    assert "LOSES to that rival without zeros (2.00 times its energy)" in said[4]
    assert "LOSES to the ANN (1.50 times" in said[5]
    assert said[6].endswith("LOSES to the rival without zeros (2.67 times its energy)")
    assert said[7].endswith("LOSES to the rival without zeros (1.33 times its energy)")
    assert "LOSES to the ANN (inf times" in verdict(own, twin | {"full": 0.0})[1]
    assert "ties with the ANN" in verdict(own, twin | {"full": 2.005})[1]
    assert "WINS against the ANN (0.99" in verdict(own, twin | {"full": 2.02})[1]


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
    assert energy(rows)["full"] > energy(rows)["paper"] > energy(rows)["int8"] == energy(rows)["dense_int8"]

    decoder = Decoder(10, attention_dim=16, attention_heads=2, linear_units=32, num_blocks=1)
    written, memory = torch.randint(10, (1, 6)), torch.randn(1, tokens, 16)
    rows = operations(decoder, written, torch.ones(1, 6, 6).bool(), memory, torch.ones(1, 1, tokens).bool())
    macs = {
        row.name: (row.macs, wide.macs) for row, wide in zip(rows, for_beam(rows, 4), strict=True) if row.macs
    }
    shared = [name for name, (once, beam) in macs.items() if beam == once]
    assert shared == ["decoders.0.src_attn.linear_k", "decoders.0.src_attn.linear_v"]
    assert all(beam == 4 * once for name, (once, beam) in macs.items() if name not in shared)


def committed(model: str):
    """A model's committed results: its entry of results.json, and operations.txt of its encoder as dicts."""
    folder = Path(__file__).parents[2] / "egs/msu_ru_nsh/asr1/results" / model
    [found] = [
        each
        for each in json.loads((folder / "results.json").read_text(encoding="utf-8"))["experiments"]
        if each["name"] == model
    ]
    head, _, *rows = [
        [cell.strip() for cell in line.strip("|\n").split("|")] for line in (folder / "operations.txt").open()
    ]
    named = [dict(zip(head, row, strict=True)) for row in rows]
    return found, [
        {key: value if key in ("name", "kind") else int(value) for key, value in row.items()}
        for row in named
        if row["name"].startswith("encoder.")
    ]


@pytest.mark.parametrize("model", ["quick", "full"])
def test_committed_figures_follow_from_histograms_and_prices(model):
    """What maps count is the neuron's counts before them times their outputs; the headline figures are these
    counts times prices, written here a second time."""
    experiment, rows = committed(model)
    layers = {layer["name"]: layer for layer in experiment["layers"]}
    before = {"q": "neuron", "k": "neuron", "v": "neuron", "o": "o_neuron", "linear": "stages.1.neuron"}
    before |= {"expand": "neuron", "project": "hidden_neuron"}
    biases = {row["name"]: row["additions"] for row in rows if row["kind"] == "elementwise"}
    checked, pj = 0, dict.fromkeys(("int8_bitwise", "rival_skipping", "memory", "memory_tiles"), 0.0)
    for row in rows:
        module, _, name = row["name"].rpartition(".")
        if row["kind"] == "weights" and name in before:
            layer = layers[f"{module}.{before[name]}"]
            width, fired = row["dense_macs"] // layer["neurons"], layer["neurons"] - layer["histogram"][0]
            ones = sum(
                number * (0, 1, 1, 2, 1, 2, 2)[count] for count, number in enumerate(layer["histogram"])
            )
            assert (row["accumulates"], row["events"]) == (layer["spikes"] * width, fired * width)
            assert row["bitwise"] == ones * width + 2 * biases[row["name"]]  # two shifts a result
            checked += 1
        read, sent = (
            (12.5 if row["kind"] == "weights" else 2.5),
            5 * row["inputs"] + 1.875 * row["spiking_inputs"],
        )
        others = 0.9 * row["additions"] + 3.7 * row["multiplications"]
        neuron = row["kind"] == "neuron"
        by_bit = 0.9 * row["bitwise_additions"] + 3.7 * row["multiplications"] if neuron else others
        pj["int8_bitwise"] += 0.3 * row["active_macs"] + 0.1 * row["bitwise"] + by_bit
        pj["rival_skipping"] += 0.3 * row["active_macs"] + 0.175 * row["events"]
        pj["rival_skipping"] += 2.7 * row["neurons"] if neuron else others
        pj["memory"] += read * (row["events"] + row["macs"] / 16) + sent
        pj["memory_tiles"] += read * row["dense_macs"] / 16 + sent
    assert checked == 1 + 6 * experiment["config"]["encoder_conf"]["num_blocks"]
    energy = experiment["energy"]
    for figure, found in pj.items():
        assert energy["encoder"][figure] == pytest.approx(found * 1e-6 / energy["seconds"], rel=1e-6)
