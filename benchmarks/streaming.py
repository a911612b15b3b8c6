"""Error rate against latency of a recognizer of streams, for each look-ahead that it was trained with.

Samples come in pieces of 20 ms. Algorithmic latency is what the encoder waits for: at the worst, and the mean
over the tokens of a group. The latency that a user perceives is the time from the end of a word, by the phone
labels, to the samples with which a partial result first has it whole; of words that are right at last. What
is computed meanwhile isn't in it: see the real-time factor, processor time of one thread over audio time, in
PyTorch and, by the exported step, in onnxruntime, which must hear the same.
Offline a word is there when the recording has ended.

With --hours H instead: memory of one stream that hears the recordings one after the other for so long.
"""

import argparse
import itertools
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import jiwer
import numpy as np
import torch

from benchmarks.measure import setting
from benchmarks.word_times import labelled_times
from imlspike.data.audio import read_audio
from imlspike.data.files import read_kaldi
from imlspike.data.labels import find_labels, is_pause, read_labels
from imlspike.evaluation.bootstrap import interval, ratio
from imlspike.evaluation.error_rates import align_transcripts, error_counts
from imlspike.evaluation.tables import markdown_table, number, write_files
from imlspike.export.engine import OnnxStream
from imlspike.export.stream import export_stream
from imlspike.inference import Bundle, Speech2Text
from imlspike.inference.listening import Listener
from imlspike.text.phonemes import front_end

PIECE = 0.02  # seconds


def appearances(seen: Sequence[tuple[float, str]]) -> list[tuple[str, float]]:
    """The words of the last of several results (seconds, text), and when each was whole and stayed so.

    >>> appearances([(0.5, "he"), (0.7, "hell"), (0.9, "hello w"), (1.2, "hello world")])
    [('hello', 0.9), ('world', 1.2)]
    """
    words: list[tuple[str, float]] = []
    for seconds, text in seen:
        now = text.split()
        kept = next(
            (i for i, (one, word) in enumerate(zip(now, words, strict=False)) if one != word[0]), None
        )
        words = words[: len(now) if kept is None else kept]
        words += [(word, seconds) for word in now[len(words) :]]
    return words


def listen(stream: Listener, wave: np.ndarray) -> list[tuple[float, str]]:
    """What a stream hears of a recording, as (seconds from its begin, all the text by then)."""
    size, ended, seen = round(PIECE * stream.sampling_rate), [], []
    for start in range(0, len(wave) + 1, size):
        piece = wave[start : start + size]
        results = (
            stream.accept(piece) if start + size <= len(wave) else stream.accept(piece) + stream.finish()
        )
        for one in results:
            ended += [one.text] if one.final else []
            text = " ".join(ended if one.final else [*ended, one.text])
            seen.append((min(start + size, len(wave)) / stream.sampling_rate, text))
    return seen


def listen_to_all(stream: Listener, waves: dict) -> tuple[dict, float]:
    """What a stream hears of each recording, and the seconds of processor time that it took."""
    begin = time.process_time()
    return {key: listen(stream, wave) for key, wave in waves.items()}, time.process_time() - begin


def listen_in_onnxruntime(model: str, look_ahead: int, waves: dict) -> tuple[dict, float]:
    """`listen_to_all` by the exported step, with one thread."""
    with tempfile.TemporaryDirectory() as folder:
        stream = OnnxStream(export_stream(Bundle.load(model), Path(folder), look_ahead), threads=1)
        return listen_to_all(stream, waves)


def delays(spoken: str, ends: Sequence[float | None], words: Sequence[tuple[str, float]]) -> list[float]:
    """Seconds from the end of each word that is right, where it is known, to when it was there."""
    found = []
    for part in jiwer.process_words(spoken, " ".join(word for word, _ in words)).alignments[0]:
        if part.type == "equal":
            for place in range(part.hyp_end_idx - part.hyp_start_idx):
                end = ends[part.ref_start_idx + place]
                found += [] if end is None else [words[part.hyp_start_idx + place][1] - end]
    return found


def hours_on_end(engine: str, stream: Listener, waves: Sequence[np.ndarray], hours: float) -> dict:
    """A row: resident memory while a stream hears the recordings one after the other, for hours of audio."""
    heard, utterances, megabytes, begin = 0.0, 0, {}, time.process_time()
    marks = [hours * part for part in (0.05, 0.25, 0.5, 0.75, 1)]
    for wave in itertools.cycle(waves):
        for start in range(0, len(wave), round(PIECE * stream.sampling_rate)):
            results = stream.accept(wave[start : start + round(PIECE * stream.sampling_rate)])
            utterances += sum(one.final for one in results)
        heard += len(wave) / stream.sampling_rate / 3600
        while marks and heard >= marks[0]:
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            megabytes[f"MB after {marks.pop(0):.2g} h"] = f"{pages * resource.getpagesize() / 1e6:.1f}"
            print(f"{engine}: {heard:.2f} of {hours:g} h", file=sys.stderr, flush=True)
        if not marks:
            seconds = time.process_time() - begin
            return {"engine": engine, **megabytes, "utterances": utterances, "processor, s": f"{seconds:.0f}"}
    raise ValueError("no recordings")


def memory(args: argparse.Namespace, s2t: Speech2Text, waves: Sequence[np.ndarray], argv: Sequence) -> str:
    """The table of --hours: a row for each engine, with the longest look-ahead or the first one named."""
    stream = s2t.stream(args.look_ahead and args.look_ahead[0])
    with tempfile.TemporaryDirectory() as folder:
        exported = export_stream(Bundle.load(args.model), Path(folder), stream.look_ahead)
        streams = {"onnxruntime": OnnxStream(exported, threads=1), "PyTorch": stream}
        rows = [hours_on_end(engine, one, waves, args.hours) for engine, one in streams.items()]
    command = " ".join(["python -m benchmarks streaming", *argv])
    return f"`{command}`\n\n{setting()}\n\n{markdown_table(rows)}"


def main(argv=None) -> None:
    """Print the table; write it with its numbers."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks streaming", description=__doc__)
    parser.add_argument("--model", required=True, help="bundle or experiment of a recognizer of streams")
    parser.add_argument("--data-dir", type=Path, required=True, help="Kaldi directory with wav.scp and text")
    parser.add_argument("--labels", type=Path, help="folder of phone labels, .lab or .TextGrid")
    parser.add_argument("--hours", type=float, help="measure memory instead, of a stream of so many hours")
    parser.add_argument(
        "--front-end", default="russian:marked", help="makes the labels' phones (%(default)s)"
    )
    parser.add_argument(
        "--look-ahead", type=int, nargs="+", metavar="TOKENS", help="default: the trained ones"
    )
    parser.add_argument("--limit", type=int, help="take only so many utterances")
    parser.add_argument("--output", type=Path, help="stem of the .md and .json to write")
    args = parser.parse_args(argv)
    argv = sys.argv[2:] if argv is None else argv
    if not args.hours and args.labels is None:
        parser.error("--labels is needed")
    torch.set_num_threads(1)
    s2t = Speech2Text.from_pretrained(args.model)
    wavs, texts = (read_kaldi(args.data_dir / name) for name in ("wav.scp", "text"))
    texts = {key: texts[key] for key in sorted(wavs)[: args.limit]}
    waves = {key: read_audio(wavs[key], s2t.sampling_rate, key) for key in texts}
    if args.hours:
        return print(memory(args, s2t, list(waves.values()), argv))
    speaker, files = front_end(args.front_end), find_labels(args.labels)
    seconds = {key: len(wave) / s2t.sampling_rate for key, wave in waves.items()}
    ends = {}
    for key, text in texts.items():
        symbols = [[one for one in speaker(word, key) if not is_pause(one)] for word in text.split()]
        phones = read_labels(files[key], seconds=seconds[key])
        ends[key] = [end for _, end in labelled_times(symbols, phones)]
    encoder, rows, offline = s2t.decoder.recognizer.encoder, [], None
    for look_ahead in (None, *(args.look_ahead or sorted({n for n in encoder.look_aheads if n is not None}))):
        stream = None
        if look_ahead is None:
            encoder.look_ahead, begin = None, time.process_time()
            seen = {key: [(seconds[key], s2t(wave, s2t.sampling_rate, None))] for key, wave in waves.items()}
            spent = time.process_time() - begin
        else:
            stream = s2t.stream(look_ahead)
            seen, spent = listen_to_all(stream, waves)
            exported, spent_exported = listen_in_onnxruntime(args.model, look_ahead, waves)
        words = {key: appearances(found) for key, found in seen.items()}
        heard = {key: found[-1][1] if found else "" for key, found in seen.items()}
        hits, *errors = error_counts(align_transcripts(texts, heard), "cer").T
        errors, length = sum(errors), hits + errors[0] + errors[1]
        offline = errors if offline is None else offline
        late = [one for key in texts for one in delays(texts[key], ends[key], words[key])]
        row = {"look_ahead": look_ahead, "cer": float(ratio(errors, length))}
        row |= {
            "cer_interval": interval(ratio, errors, length),
            "over_offline": float(ratio(errors, offline)),
        }
        row |= {"over_offline_interval": interval(ratio, errors, offline), "words": len(late)}
        row |= {"perceived": [float(np.percentile(late, p)) for p in (50, 90)] if late else [None, None]}
        if stream is not None:
            half = look_ahead * stream.seconds / 2
            row |= {"algorithmic": stream.latency, "algorithmic_mean": stream.latency - half}
            row |= {"exported_real_time_factor": spent_exported / sum(seconds.values())}
            row |= {"exported_differs": sum(seen[key][-1:] != exported[key][-1:] for key in texts)}
        row |= {"real_time_factor": spent / sum(seconds.values())}
        rows.append(row)
        print(f"look-ahead {look_ahead}: {row['cer']:.1%}", file=sys.stderr, flush=True)
    command = " ".join(["python -m benchmarks streaming", *argv])
    report = (
        f"# {args.model} on streams: {len(texts)} utterances, greedy\n\n`{command}`\n\n{setting()}\n\n"
        f"{markdown_table([shown(row, s2t.stream().seconds) for row in rows])}\n"
    )
    print(report)
    if args.output:
        about = {"command": command, "setting": setting(), "rows": rows}
        write_files({args.output.with_suffix(".md"): report, args.output.with_suffix(".json"): about})


def shown(row: dict, token: float) -> dict:
    """A row of numbers for the table; `token` in seconds."""

    def ms(value: float | None) -> str:
        return "" if value is None else f"{1000 * value:.0f}"

    low, high = row["cer_interval"]
    below, above = row["over_offline_interval"]
    ahead = "offline" if row["look_ahead"] is None else ms(row["look_ahead"] * token)
    return {
        "look-ahead, ms": ahead,
        "CER, %": f"{100 * row['cer']:.1f} ({100 * low:.1f} to {100 * high:.1f})",
        "times offline": f"{row['over_offline']:.2f} ({below:.2f} to {above:.2f})",
        "algorithmic, ms: worst": ms(row.get("algorithmic")),
        "mean": ms(row.get("algorithmic_mean")),
        "perceived, ms: median": ms(row["perceived"][0]),
        "90 %": ms(row["perceived"][1]),
        "right words": row["words"],
        "real-time factor": f"{row['real_time_factor']:.3f}",
        "in onnxruntime": number(row.get("exported_real_time_factor"), ".3f"),
        "other texts there": row.get("exported_differs", ""),
    }
