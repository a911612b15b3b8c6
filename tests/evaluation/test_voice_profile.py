"""Profiles of a small voice: against connections counted by hand, and against hooks."""

import math

import pytest
import torch

from imlspike.evaluation.energy import FIGURES
from imlspike.evaluation.profiling import (
    VOICE_MODULES,
    Sentence,
    energy_report,
    profile,
    real_time,
    voice,
    write_profile,
)
from imlspike.neurons import IMLS, Neuron
from tests.models.small_spikevoice import MELS, small_voice

PNG = b"\x89PNG"
FRAME_RATE, FRAMES_EACH = 50.0, 3
T, C, HIDDEN, KERNEL, P, POST_KERNEL, PREDICTOR_KERNEL = 4, 16, 24, 5, 12, 5, 3
ENCODER, DECODER, POSTNET = 1, 2, 3  # layers of `small_voice`


def tiny(threshold=None, **options):
    """A voice each of whose symbols lasts `FRAMES_EACH` frames; with all neurons' thresholds."""
    model = small_voice(0, torch.float32, **options)
    system, out = voice(model, FRAME_RATE), model.adaptor.duration.out
    with torch.no_grad():
        out.weight.zero_()
        out.bias.fill_(math.log(FRAMES_EACH + 1))
    for module in model.modules():
        if threshold is not None and isinstance(module, Neuron):
            module.threshold = threshold
    return system


def spoken(system, *lengths, speakers=0, raster_of=""):
    texts = [torch.arange(n) % 7 + 1 for n in lengths]
    said = [Sentence(f"u{i}", text, i % speakers if speakers else None) for i, text in enumerate(texts)]
    result = profile(system, said, raster_of)
    assert result.seconds == pytest.approx(sum(lengths) * FRAMES_EACH / FRAME_RATE)
    report = energy_report(result, system)
    assert report["operations_not_known"] == {}
    return result, report


def windows(n, kernel):
    """How often an element of n is under a kernel of an odd width, zeros beyond the ends not counted."""
    return sum(0 <= i + j < n for i in range(n) for j in range(-(kernel // 2), kernel // 2 + 1))


def connections(n, frames, dense=False, mixers=2):
    """Connections of all maps of SpikeVoice for one step, module by module, with n symbols; `dense`: with
    the zeros beyond the ends; an ANN twin has one mixer a block."""
    reach = (lambda length, kernel: length * kernel) if dense else windows

    def blocks(number, length):
        mixer = length * C * 3 * C + length * C * C
        feed_forward = reach(length, KERNEL) * C * HIDDEN + length * HIDDEN * C
        return number * (mixers * mixer + feed_forward)

    widths = [MELS] + [P] * (POSTNET - 1) + [MELS]
    return {
        "encoder": blocks(ENCODER, n),
        "adaptor": 3 * (2 * reach(n, PREDICTOR_KERNEL) * C * C + n * C),
        "decoder": blocks(DECODER, frames),
        "mel": frames * C * MELS,
        "postnet": sum(reach(frames, POST_KERNEL) * a * b for a, b in zip(widths, widths[1:], strict=False)),
    }


@pytest.mark.parametrize("lengths", [(6,), (6, 1, 9)])
def test_where_all_neurons_fire_all_the_time_a_voices_energy_is_counted_by_hand(lengths):
    result, report = spoken(tiny(threshold=-1e9), *lengths)
    by_hand = [connections(n, n * FRAMES_EACH) for n in lengths]
    for module in VOICE_MODULES:
        accumulates = T * sum(one[module] for one in by_hand)
        rows = [row for row in result.parts[module] if row.kind == "weights"]
        assert (sum(row.accumulates for row in rows), sum(row.macs for row in rows)) == (accumulates, 0), (
            module
        )
        assert report["parts"][module]["paper"] == pytest.approx(0.9e-6 * accumulates / result.seconds)
        assert report["modules"][module]["rate"] == 1.0
        # ReLU in the neurons' place: one pass, no zeros of which any is skipped
        once = sum(connections(n, n * FRAMES_EACH, dense=True, mixers=2)[module] for n in lengths)
        assert (sum(row.dense_macs for row in rows), sum(row.events for row in rows)) == (
            once,
            accumulates / T,
        )
    assert report["firing_rate"] == report["layer_rate"] == 1.0
    # v - x, + leak, comparison and a reset for each element and step; the leak's factor
    neurons = T * sum(layer.neurons for layer in result.layers.values())
    updates = [row for part in result.parts.values() for row in part if row.kind == "neuron"]
    assert sum(row.additions for row in updates) == 4 * neurons
    assert sum(row.multiplications for row in updates) == neurons


def test_where_no_neuron_fires_no_map_costs_anything():
    result, report = spoken(tiny(threshold=1e9), 6)
    assert report["model"]["paper"] == 0 and report["firing_rate"] == 0
    assert report["rates_out_of_range"].keys() == result.layers.keys()
    assert all(module["spikes_per_second"] == 0 for module in report["modules"].values())


def test_a_voices_twin_takes_the_dense_macs_by_hand():
    result, report = spoken(tiny(neuron="none"), 6, 4)
    by_hand = [connections(n, n * FRAMES_EACH, dense=True, mixers=1) for n in (6, 4)]
    products = {
        "encoder": ENCODER * sum(2 * n * n * C for n in (6, 4)),
        "decoder": DECODER * sum(2 * (n * FRAMES_EACH) ** 2 * C for n in (6, 4)),
    }
    for module in VOICE_MODULES:
        macs, part = sum(one[module] for one in by_hand), report["parts"][module]
        assert part["paper"] == pytest.approx(4.6e-6 * macs / result.seconds), module
        dense = part["operations_per_second"]["dense_macs"] * result.seconds
        assert dense == pytest.approx(macs + products.get(module, 0)), module
    assert not result.layers and report["modules"]["decoder"]["layers"] == 0
    assert (report["attention"], report["steps"], report["layer_rate"]) == ("ann", None, None)


@pytest.mark.parametrize("options", [{}, {"neuron": "imls"}, {"attention": "sequential", "steps": 3}])
def test_a_voices_rates_are_those_of_hooks(options):
    """Of every layer and every module, over sentences of other lengths; silent and busy ones among them."""
    system = tiny(**options)
    spikes, possible = {}, {}

    def hook(name, levels):
        def count(module, args, output):
            spikes[name] = spikes.get(name, 0) + int(output.sum())
            possible[name] = possible.get(name, 0) + levels * output.numel()

        return count

    neurons = {name: m for name, m in system.model.named_modules() if isinstance(m, Neuron)}
    for name, m in neurons.items():
        m.register_forward_hook(hook(name, m.levels if isinstance(m, IMLS) else 1))
    result, report = spoken(system, 5, 11, 2)
    assert result.layers.keys() == neurons.keys() == spikes.keys() and not result.silent
    for name, layer in result.layers.items():
        assert layer.spikes == spikes[name] and layer.rate == pytest.approx(spikes[name] / possible[name]), (
            name
        )
    for module, found in report["modules"].items():
        own = [name for name in spikes if system.part_of(name) == module]
        fired = sum(map(spikes.get, own))
        assert found["layers"] == len(own) > 0
        assert found["rate"] == pytest.approx(fired / sum(map(possible.get, own)))
        assert found["spikes_per_second"] == pytest.approx(fired / result.seconds)
    assert len({round(layer.rate, 3) for layer in result.layers.values()}) > 5
    assert report["firing_rate"] == pytest.approx(sum(spikes.values()) / sum(possible.values()))
    each = [spikes[name] / possible[name] for name in spikes]
    assert report["layer_rate"] == pytest.approx(sum(each) / len(each))


def test_all_that_runs_is_counted_and_a_voices_parameters_are_those_of_inference():
    """The modules' figures add up to the model's; the aligner is in none of them."""
    assert sum(p.numel() for p in small_voice(dtype=torch.float32, speakers=3).aligner.parameters()) > 0
    system = tiny(speakers=3)
    result, report = spoken(system, 6, 4, speakers=3)
    assert list(result.parts) == list(report["modules"]) == list(VOICE_MODULES)
    assert not any("aligner" in row.name for part in result.parts.values() for row in part)
    for figure in FIGURES:
        parts = sum(part[figure] for part in report["parts"].values())
        assert report["model"][figure] == pytest.approx(parts)
    folded = sum(p.numel() for p in system.model.parameters())
    assert report["parameters"]["model"] == folded
    assert sum(module["parameters"] for module in report["modules"].values()) == folded
    between = [row for row in result.parts["mel"] if row.name == "between the modules"]
    frames = result.seconds * FRAME_RATE
    # the mean over T in front of the mel, mel + PostNet, and what a speaker adds to each symbol and step
    assert between[0].additions == pytest.approx(T * frames * C + frames * MELS + T * 10 * C)


@pytest.mark.parametrize("options", [{}, {"neuron": "imls"}])
def test_a_voices_raster_is_in_frames(options, tmp_path):
    """What fires at a symbol stands at each of its frames; firing that depends on no token stands alone."""
    system, kept = tiny(**options), {}
    names = ("encoder.blocks.0.neuron", "decoder.blocks.1.neuron", "adaptor.pitch.neurons.0")
    for name in names:
        system.model.get_submodule(name).register_forward_hook(
            lambda m, args, output, name=name: kept.setdefault(name, []).append(output[:, 0])
        )
    result, report = spoken(system, 5, 7, raster_of="u1")
    frames = 7 * FRAMES_EACH
    assert result.raster_of == "u1" and result.raster_seconds == pytest.approx(frames / FRAME_RATE)
    for name in names:
        counts = kept[name][1].sum(0)
        if len(counts) == 7:
            counts = counts.repeat_interleave(FRAMES_EACH, 0)
        assert torch.equal(result.rasters[name].float(), counts) and len(counts) == frames
    assert {len(counts) for counts in result.rasters.values()} == {1, frames}
    if options:
        return
    pytest.importorskip("matplotlib")
    write_profile(result, report, system, tmp_path)
    assert (tmp_path / "raster.png").read_bytes().startswith(PNG)


def test_the_speed_is_of_the_speech_that_comes_out():
    found = real_time(tiny().run, [Sentence("u", torch.arange(n) % 7 + 1) for n in (5, 7)])
    assert found["audio_seconds"] == pytest.approx(12 * FRAMES_EACH / FRAME_RATE)
    assert found["seconds_per_second"] == pytest.approx(found["seconds"] / found["audio_seconds"])
