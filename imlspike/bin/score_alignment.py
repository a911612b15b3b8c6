"""Check a voice's aligner: the boundaries that it finds against those of phone labels.

imlspike score-alignment --model exp/spikevoice --data-dir dump/phn/test --labels lab
    --output-dir exp/spikevoice/alignment
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from imlspike.analysis.alignment_plots import plot_boundaries, plot_errors
from imlspike.analysis.alignment_scores import (
    Compared,
    align,
    boundaries_table,
    compare_boundaries,
    summarize_boundaries,
)
from imlspike.data.audio import audio_format, read_audio
from imlspike.data.files import atomic_write
from imlspike.data.kaldi import Utterance, read_data_dir
from imlspike.data.labels import (
    TIER,
    Phone,
    boundary_times,
    check_labelled,
    find_labels,
    read_durations,
    read_labelled,
)
from imlspike.data.progress import Progress
from imlspike.inference.bundle import Bundle
from imlspike.inference.voice import TrainedVoice

Align = Callable[[Utterance, np.ndarray], Sequence[int]]


def main(argv=None) -> int:
    """Write alignment.json, alignment.md, alignment.png and errors.png. Returns the exit status."""
    args = parse(argv)
    try:
        report, compared, shown = score(args)
        files = write(report, compared, shown, args.output_dir)
    except (OSError, ValueError, ImportError) as error:
        print(f"score-alignment: {error}", file=sys.stderr)
        return 1
    print(f"{text_of(report)}\nalignment: {' '.join(map(str, files))}")
    return 0


def parse(argv):
    """The command line's options."""
    parser = argparse.ArgumentParser(
        prog="imlspike score-alignment",
        description="Boundaries between symbols as an aligner puts them against those of phone labels, where "
        "the two neighbours stand in both.",
    )
    add = parser.add_argument
    aligner = parser.add_mutually_exclusive_group(required=True)
    aligner.add_argument("--model", help="a voice's experiment: its learned aligner")
    aligner.add_argument("--durations", type=Path, help="Kaldi table: frames of each symbol by any aligner")
    add("--model-file", help="another model of the experiment than the average of its best epochs")
    add("--data-dir", type=Path, required=True, help="Kaldi directory, its text in symbols")
    add("--labels", type=Path, required=True, help="folder with <utterance>.lab, .TextGrid or .interval")
    add("--output-dir", type=Path, required=True, help="where alignment.* and errors.png go")
    add("--hop-length", type=int, default=256, help="samples in a frame of --durations (default %(default)s)")
    add("--tier", default=TIER, help="of a TextGrid with several (default: %(default)s)")
    return parser.parse_args(argv)


def score(args) -> tuple[dict, list[Compared], tuple]:
    """The content of alignment.json, all boundaries, and what is drawn: name, audio, rate, phones of both."""
    utterances = read_data_dir(args.data_dir)
    if not utterances:
        raise ValueError(f"{args.data_dir}: holds no utterance; there is nothing to align")
    labels = find_labels(args.labels)
    without = [utterance.id for utterance in utterances if utterance.id not in labels]
    if len(without) == len(utterances):
        check_labelled(without, labels, args.labels)
    utterances = [utterance for utterance in utterances if utterance.id in labels]
    rate = audio_format(utterances[0].wav, utterances[0].id).sampling_rate
    find, rate, hop = open_aligner(args, rate)
    compared, found, progress = [], {}, Progress("utterances aligned")
    for number, utterance in enumerate(utterances, 1):
        wave = read_audio(utterance.wav, rate, utterance.id)
        phones = read_labelled(labels[utterance.id], len(wave) / rate, args.tier)
        symbols, durations = utterance.text.split(), find(utterance, wave)
        compared.append(compare_boundaries(utterance.id, symbols, durations, phones, hop / rate))
        times = [0.0, *boundary_times(durations, hop / rate), len(wave) / rate]
        own = [Phone(*phone) for phone in zip(symbols, times, times[1:], strict=False)]
        found[utterance.id] = (own, phones)
        progress(number, len(utterances))
    summary = summarize_boundaries(compared)
    shown = typical(summary)
    wave = next(read_audio(u.wav, rate, u.id) for u in utterances if u.id == shown)
    report = {
        "set": args.data_dir.name,
        "data_dir": str(args.data_dir),
        "labels": str(args.labels),
        "aligner": str(args.model or args.durations),
        "sampling_rate": rate,
        "hop_length": hop,
        "without_labels": without,
    }
    return report | summary, compared, (shown, wave, rate, *found[shown])


def open_aligner(args, rate: int) -> tuple[Align, int, int]:
    """What tells the frames of each symbol of an utterance; sampling rate; samples in a frame."""
    if args.model:
        voice = TrainedVoice.from_bundle(Bundle.load(args.model, "voice", model_file=args.model_file))

        def find(utterance, wave):
            return align(voice, utterance.text.split(), wave, utterance.id)

        return find, voice.features["sampling_rate"], voice.features["hop_length"]
    table = read_durations(args.durations)

    def look_up(utterance, wave):
        if utterance.id not in table:
            raise ValueError(f"{args.durations}: no line for {utterance.id}; made for another set?")
        frames, expected = sum(table[utterance.id]), len(wave) // args.hop_length + 1
        if abs(frames - expected) > 1:
            raise ValueError(
                f"{args.durations}: {utterance.id} has {frames} frames, its recording {expected} of "
                f"{args.hop_length} samples (--hop-length)"
            )
        return table[utterance.id]

    return look_up, rate, args.hop_length


def typical(summary: dict) -> str:
    """The utterance whose median error is nearest to that of all boundaries."""
    medians = {name: one["median_ms"] for name, one in summary["per_utterance"].items()}
    known = [name for name, median in medians.items() if median is not None]
    return min(known, key=lambda name: abs(medians[name] - summary["median_ms"]))


def text_of(report: dict) -> str:
    """The table, and which utterances are not in it."""
    text, without = boundaries_table({report["set"]: report}) + "\n", report["without_labels"]
    if without:
        text += f"\nLeft out, for there is no label file of them: {' '.join(without)}.\n"
    return text


def write(report: dict, compared: Sequence[Compared], shown: tuple, output_dir: Path) -> list[Path]:
    """Write the files, whole or not at all; returns them."""
    output_dir.mkdir(parents=True, exist_ok=True)
    name, wave, rate, own, labelled = shown
    texts = {
        "alignment.json": json.dumps(report, indent=1, ensure_ascii=False) + "\n",
        "alignment.md": text_of(report),
    }
    for file, text in texts.items():
        with atomic_write(output_dir / file) as out:
            out.write(text)
    pictures = [output_dir / "alignment.png", output_dir / "errors.png"]
    plot_boundaries({"aligner": own, "labels": labelled}, wave, rate, pictures[0], name)
    plot_errors([error for one in compared for error in one.errors], pictures[1])
    return [*(output_dir / file for file in texts), *pictures]


if __name__ == "__main__":
    sys.exit(main())
