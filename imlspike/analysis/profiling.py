"""One measurement of a network on real utterances: spikes, operations and energy, as tables and plots."""

import csv
import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from imlspike.analysis.energy import Costs, for_beam, summarize
from imlspike.analysis.operations import OperationCounter, Operations
from imlspike.analysis.plots import plot_firing_rates, plot_raster
from imlspike.analysis.spikes import LayerSpikes, SpikeRecorder, overall_rate
from imlspike.data.files import atomic_write

PARTS = ("encoder", "ctc", "decoder")


@dataclass(frozen=True)
class Heard:
    """One utterance: name, length in seconds, samples (S,); for a recogniser tokens, <sos> in front (N,)."""

    utterance: str
    seconds: float
    wave: Tensor
    tokens: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.long))


@dataclass
class Profile:
    """What `profile` measured.

    Attributes:
        layers: spikes of each neuron layer.
        parts: operations of each part of the network (of a recogniser's decoder: of one hypothesis); what a
            whole network does between its parts stands under the empty name.
        seconds, utterances, tokens: how much was run; tokens count with the end of each sentence.
        rasters, raster_of, raster_seconds: spike counts of one utterance, its name and its length.
        too_short: utterances that did not reach the network, and are left out.
        unknown: operations that the counter did not know.
        silent: neurons that never ran.
    """

    layers: dict[str, LayerSpikes]
    parts: dict[str, list[Operations]]
    seconds: float = 0.0
    utterances: int = 0
    tokens: int = 0
    rasters: dict[str, Tensor] = field(default_factory=dict)
    raster_of: str = ""
    raster_seconds: float = 0.0
    too_short: list[str] = field(default_factory=list)
    unknown: Counter = field(default_factory=Counter)
    silent: list[str] = field(default_factory=list)


def profile(
    model: nn.Module,
    transcribe: Callable[[Tensor], object],
    utterances: Iterable[Heard],
    raster_of: str = "",
    progress: Callable[[int], None] = lambda done: None,
) -> Profile:
    """Run a recogniser on utterances one by one and count all that happens.

    Args:
        model: in evaluation mode, re-parameterised layers folded; with attributes `encoder`, `ctc` and,
            unless it is None, `decoder`, as ESPnet's models have them.
        transcribe: runs the encoder and the CTC head on one utterance's samples (S,).
        utterances, raster_of, progress: as for `measure`; the decoder is run once over the tokens.
    """
    parts = {name: part for name in PARTS if (part := getattr(model, name, None)) is not None}
    encoded = []

    def run(heard: Heard) -> float:
        encoded.clear()
        transcribe(heard.wave)
        if encoded and "decoder" in parts:
            _decode(parts["decoder"], encoded[0], heard.tokens)
        return heard.seconds if encoded else 0.0

    handle = parts["encoder"].register_forward_hook(lambda module, args, output: encoded.append(output))
    try:
        return measure(parts, run, utterances, raster_of, progress)
    finally:
        handle.remove()


def measure(
    network: nn.Module | Mapping[str, nn.Module],
    run: Callable[[Any], float],
    utterances: Iterable,
    raster_of: str = "",
    progress: Callable[[int], None] = lambda done: None,
) -> Profile:
    """Run a network on utterances one by one and count all that happens in its parts.

    Args:
        network: in evaluation mode, name to part, where what runs outside of the parts is not counted; or a
            whole network, whose children are its parts.
        run: runs one utterance and tells how many seconds of audio that was; 0 if it was too short for the
            network.
        utterances: what to run, each with its name, `utterance`, and `tokens`, as `Heard` has them.
        raster_of: the utterance whose spikes are kept; the first if it is empty.
        progress: called with the number of utterances that are done.

    Raises:
        ValueError: if there is no utterance, or all were too short.
    """
    network = network if isinstance(network, nn.Module) else nn.ModuleDict(network)
    result = Profile({}, {})
    with ExitStack() as stack:
        # The recorder's hooks must come first: the counter looks away while a neuron and its hooks run.
        recorder = stack.enter_context(SpikeRecorder(network))
        counter = stack.enter_context(OperationCounter(network))
        for heard in utterances:
            recorder.keep = heard.utterance == raster_of or (not raster_of and not result.utterances)
            seconds = run(heard)
            if not seconds:
                result.too_short.append(heard.utterance)
                continue
            if recorder.keep:
                result.raster_of, result.raster_seconds = heard.utterance, seconds
            result.seconds += seconds
            result.utterances += 1
            result.tokens += len(heard.tokens)
            progress(result.utterances)
    if not result.utterances:
        raise ValueError(
            f"no utterance to profile; too short for the network: {' '.join(result.too_short) or 'none'}"
        )
    for row in counter.rows.values():
        result.parts.setdefault(row.name.split(".")[0], []).append(row)
    result.layers, result.rasters = recorder.layers, recorder.rasters
    result.unknown, result.silent = counter.unknown, recorder.silent()
    return result


def _decode(decoder, encoder_result, tokens):
    memory, lengths = encoder_result[0], encoder_result[1]
    memory = memory[0] if isinstance(memory, tuple) else memory  # with intermediate CTC
    decoder(memory, lengths, tokens[None], torch.tensor([len(tokens)]))


def energy_report(
    measured: Profile,
    model: nn.Module,
    beam: int | None = None,
    costs: Costs = Costs(),  # noqa: B008
    scope: str = "encoder",
) -> dict:
    """The content of energy.json: what `imlspike.analysis.energy.summarize` gives and what it rests on.

    Args:
        measured, model: the network, and what `measure` or `profile` found.
        beam: hypotheses that a recogniser's decoder carries; None for what has no beam.
        costs: of one operation.
        scope: the part that is reported beside the whole model.
    """
    parts = dict(measured.parts)
    if beam is not None and "decoder" in parts:
        parts["decoder"] = for_beam(parts["decoder"], beam)
    parameters = {name: sum(p.numel() for p in part.parameters()) for name, part in model.named_children()}
    return {
        **summarize(parts, measured.seconds, costs, scope),
        "utterances": measured.utterances,
        "tokens": measured.tokens,
        "beam": beam if "decoder" in parts else None,
        "firing_rate": overall_rate(measured.layers) if measured.layers else None,
        "mean_count": _mean_count(measured.layers) if measured.layers else None,
        "parameters": {scope: parameters[scope], "model": sum(parameters.values())},
        "too_short": measured.too_short,
        "neurons_that_never_ran": measured.silent,
        "operations_not_known": dict(measured.unknown),
    }


def _mean_count(layers):
    return sum(layer.spikes for layer in layers.values()) / sum(layer.neurons for layer in layers.values())


@torch.no_grad()
def real_time(run: Callable[[Any], float], inputs: Sequence) -> dict:
    """Wall-clock time of `run` on all inputs, one after the other; the first of them warms up.

    Args:
        run: tells how many seconds of audio it worked on.
        inputs: at least one.

    Returns:
        ``{"seconds", "audio_seconds", "seconds_per_second", "threads"}``.

    >>> real_time(lambda seconds: seconds, [1.5, 0.5])["audio_seconds"]
    2.0
    """
    run(inputs[0])
    begin = time.perf_counter()
    audio = sum(map(run, inputs))
    seconds = time.perf_counter() - begin
    speed = {"seconds": seconds, "audio_seconds": audio, "seconds_per_second": seconds / audio}
    return speed | {"threads": torch.get_num_threads()}


def write_profile(
    measured: Profile, report: dict, output_dir, plot_rates: Callable = plot_firing_rates
) -> list[Path]:
    """Write spikes.{txt,csv,json}, operations.{txt,csv,json}, energy.json, firing_rates.png and raster.png.

    Without spiking layers there are no spike tables and no pictures. `plot_rates` draws the firing rates:
    called with layers and path. Returns the files.
    """
    output_dir = Path(output_dir)
    output_dir.mkdir(parents=True, exist_ok=True)
    files = write_table(
        output_dir / "operations", [asdict(r) for part in measured.parts.values() for r in part]
    )
    if measured.layers:
        files += write_table(output_dir / "spikes", [layer.row() for layer in measured.layers.values()])
        pictures = output_dir / "firing_rates.png", output_dir / "raster.png"
        plot_rates(measured.layers, pictures[0])
        title = f"{measured.raster_of}, {measured.raster_seconds:.1f} s"
        plot_raster(measured.rasters, measured.raster_seconds, pictures[1], title)
        files += pictures
    with atomic_write(output_dir / "energy.json") as out:
        out.write(json.dumps(report, indent=2, ensure_ascii=False) + "\n")
    return [*files, output_dir / "energy.json"]


def write_table(stem: Path, rows: list[dict]) -> list[Path]:
    """Write rows of the same keys as an aligned text, CSV and JSON: `stem` with .txt, .csv and .json.

    >>> import tempfile
    >>> rows = [{"name": "a", "rate": 0.25}, {"name": "bc", "rate": 1.0}]
    >>> files = write_table(Path(tempfile.mkdtemp()) / "t", rows)
    >>> print(files[0].read_text(), end="")
    name    rate
    a     0.2500
    bc    1.0000
    """
    files = [stem.with_name(stem.name + ending) for ending in (".txt", ".csv", ".json")]
    with atomic_write(files[0]) as out:
        out.write(format_table(rows) + "\n")
    with atomic_write(files[1]) as out:
        writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    with atomic_write(files[2]) as out:
        out.write(json.dumps(rows, indent=1) + "\n")
    return files


def format_table(rows: list[dict]) -> str:
    """Rows of the same keys as aligned text, numbers to the right."""
    cells = [[f"{v:.4f}" if isinstance(v, float) else str(v) for v in row.values()] for row in rows]
    widths = [max(map(len, column)) for column in zip(list(rows[0]), *cells, strict=True)]
    left = [isinstance(value, str) for value in rows[0].values()]
    return "\n".join(
        "  ".join(
            cell.ljust(w) if side else cell.rjust(w) for cell, w, side in zip(line, widths, left, strict=True)
        ).rstrip()
        for line in [list(rows[0]), *cells]
    )
