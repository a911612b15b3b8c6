"""Encoders in PyTorch and as ONNX files in onnxruntime: `python -m benchmarks exported`.

The spiking encoder and ESPnet's Transformer of the same width, features to encoded tokens, one utterance.
"""

import argparse
import json
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from unittest.mock import patch

import torch
from torch import nn

from benchmarks.measure import setting, table, verdict
from benchmarks.peers import FEATURES, FRAMES_PER_SECOND, SIZES, spiking, transformer
from imlspike.export.integers import to_integers
from imlspike.export.program import write_onnx
from imlspike.layers.norm import plain_norms

FIXED = dict(threshold="fixed", threshold_value=0.36, amplitude="unit")  # what recipes train
TARGETS = {  # time of the int8 spiking encoder over another's, by seconds
    ("Transformer, onnx fp32", 10): 0.5,
    ("Transformer, onnx fp32", 60): 0.35,
    ("Transformer, onnx int8", 10): 0.9,
    ("Transformer, onnx int8", 60): 0.9,
}


class OneUtterance(nn.Module):
    """An encoder for features (1, L, F) without padding."""

    def __init__(self, encoder: nn.Module, lengths: torch.Tensor | None):
        super().__init__()
        self.encoder, self.lengths = encoder, lengths

    def forward(self, xs: torch.Tensor) -> torch.Tensor:
        return self.encoder(xs, self.lengths)[0]


def runners(
    size: str, frames: int, threads: int, folder: Path, profiled: bool = False
) -> dict[str, Callable[[], object]]:
    """What is timed, by name: each call encodes one utterance of so many frames."""
    import onnxruntime
    from onnxruntime.quantization import QuantType, quantize_dynamic

    xs, width = torch.randn(1, frames, FEATURES), SIZES[size][0]["output_size"]
    runs: dict[str, Callable[[], object]] = {}

    def eager(module: nn.Module) -> Callable[[], object]:
        module.eval()

        def run():
            with torch.no_grad():
                return module(xs)

        return run

    def onnx(path: Path) -> Callable[[], object]:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.enable_profiling, options.profile_file_prefix = profiled, str(path.with_suffix(""))
        session = onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])
        run = partial(session.run, None, {"features": xs.numpy()})
        run.session = session
        return run

    def exported(module: nn.Module, name: str, length: int | str) -> Path:
        path = folder / f"{name}.onnx"
        if not path.exists():
            outputs = {"tokens": (1, "tokens", width)}
            write_onnx(module, [xs], {"features": (1, length, FEATURES)}, outputs, {}, path)
        return path

    ours = OneUtterance(spiking(size, **FIXED), None)
    runs["spiking, eager"] = eager(ours)
    runs["spiking, compiled"] = eager(torch.compile(OneUtterance(spiking(size, **FIXED), None)))
    theirs = OneUtterance(transformer(size), torch.tensor([frames]))
    runs["Transformer, eager"] = eager(theirs)
    runs["spiking, onnx fp32"] = onnx(exported(plain_norms(ours), "spiking", "frames"))
    integers = OneUtterance(to_integers(plain_norms(spiking(size, **FIXED))), None)
    runs["spiking, onnx int8"] = onnx(exported(integers, "spiking8", "frames"))
    # Its mask of padding depends on numbers that torch.export doesn't know; here there is no padding.
    mask = "espnet2.asr.encoder.transformer_encoder.make_pad_mask"
    with patch(mask, lambda lengths: torch.zeros(1, frames, dtype=torch.bool)):
        fp32 = exported(theirs, f"transformer{frames}", frames)
    runs["Transformer, onnx fp32"] = onnx(fp32)
    int8 = fp32.with_suffix(".int8.onnx")
    if not int8.exists():
        quantize_dynamic(fp32, int8, weight_type=QuantType.QInt8, per_channel=True)
    runs["Transformer, onnx int8"] = onnx(int8)
    return runs


def seconds_of(runs: dict[str, Callable[[], object]], turns: int) -> dict[str, float]:
    """Median seconds of each, one after the other in every turn."""
    took: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(turns + 1):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            if turn:  # the first one warms up
                took[name].append(time.perf_counter() - start)
    return {name: median(each) for name, each in took.items()}


def section(size: str, lengths: list[int], threads: int, turns: int) -> str:
    """The table of one number of threads."""
    torch.set_num_threads(threads)
    columns, told = {}, []
    with tempfile.TemporaryDirectory() as folder:
        for seconds in lengths:
            runs = runners(size, seconds * FRAMES_PER_SECOND, threads, Path(folder))
            columns[seconds] = took = seconds_of(runs, turns)
            for (peer, at), target in TARGETS.items():
                if at == seconds:
                    ratio = took["spiking, onnx int8"] / took[peer]
                    met = verdict(ratio <= target)
                    told.append(f"- int8 spiking over {peer}, {at} s: {ratio:.2f} (target {target}: {met})")
    names = list(columns[lengths[0]])
    rows = [[name, *(f"{1000 * columns[each][name]:.1f}" for each in lengths)] for name in names]
    head = ["milliseconds", *(f"{each} s" for each in lengths)]
    return "\n\n".join([f"## {size}, {threads} threads", table(head, rows), "\n".join(told)]).rstrip()


def shares(size: str, seconds: int, turns: int) -> str:
    """The table of --profile: where onnxruntime's time goes, by kinds of nodes, with one thread."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        runs = runners(size, seconds * FRAMES_PER_SECOND, 1, Path(folder), profiled=True)
        for name in (name for name in runs if "onnx" in name):
            for _ in range(turns):
                runs[name]()
            events = json.loads(Path(runs[name].session.end_profiling()).read_text(encoding="utf-8"))
            found[name] = Counter()
            for event in events:
                if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
                    found[name][event["args"]["op_name"]] += event["dur"] / turns / 1000
    kinds = sum(found.values(), Counter())
    rows = [[kind, *(f"{each[kind]:.1f}" for each in found.values())] for kind, _ in kinds.most_common(16)]
    rows.append(["all", *(f"{each.total():.1f}" for each in found.values())])
    return table([f"milliseconds, {seconds} s", *found], rows)


def main(argv=None) -> None:
    """Prints a table for each number of threads."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks exported", description=__doc__)
    parser.add_argument("--size", choices=SIZES, default="aishell")
    parser.add_argument("--seconds", type=int, nargs="+", default=[1, 10, 60, 600], help="of audio")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--profile", action="store_true", help="where the time goes, instead")
    args = parser.parse_args(argv)
    torch.manual_seed(0)
    print(f"# Exported encoders\n\n{setting()}", flush=True)
    if args.profile:
        for seconds in args.seconds:
            print(f"\n{shares(args.size, seconds, args.turns)}", flush=True)
        return
    for threads in args.threads:
        print(f"\n{section(args.size, args.seconds, threads, args.turns)}", flush=True)
