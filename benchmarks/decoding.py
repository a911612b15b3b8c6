"""Joint decoding of a trained recognizer, many utterances at once, beside ESPnet's one by one.

    python -m benchmarks decoding --exp-dir exp/full --data-dir data/test

Both peers decode the same batch of utterances by turns, in one process with the same threads. Counted is the
way from waveforms in memory to texts: features, encoder, search.
"""

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch

from benchmarks.measure import Comparison, setting, table, verdict
from imlspike.data.audio import read_audio
from imlspike.data.files import atomic_write, read_kaldi
from imlspike.data.yaml_file import read_yaml
from imlspike.evaluation.error_rates import align_transcripts, summarize

FASTER, POINTS = 3.0, 0.1  # the targets: times as fast, and points of CER apart
Transcribe = Callable[[list[torch.Tensor]], list[str]]


def main(argv=None) -> None:
    """Measures, and prints the table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks decoding", description=__doc__.partition("\n")[0]
    )
    add = parser.add_argument
    add("--exp-dir", type=Path, required=True, help="experiment of ESPnet, with config.yaml and the model")
    add("--data-dir", type=Path, required=True, help="Kaldi directory with wav.scp and text")
    add("--model", help="model file in it (default: the average of the first best_model_criterion)")
    add("--decode-config", type=Path, help="YAML with beam_size, ctc_weight, ... (default: beam 10, CTC 0.5)")
    add("--batch-seconds", type=float, default=120.0, help="audio in a batch of ours (default %(default)s)")
    add("--limit", type=int, help="take only so many utterances, from all over the set")
    add("--threads", type=int, default=2)
    add("--turns", type=int, default=3, help="repetitions over the whole set (default %(default)s)")
    add("--output", type=Path, help="also write the report to this file")
    args = parser.parse_args(argv)
    if min(args.threads, args.turns, args.limit or 1) < 1:
        parser.error("--threads, --turns and --limit must be at least 1")
    torch.set_num_threads(args.threads)
    report = decoding(args)
    print(report)
    if args.output:
        with atomic_write(args.output) as file:
            file.write(report + "\n")


def decoding(args: argparse.Namespace) -> str:
    """Section of the report: time and CER of both, and how many transcripts differ."""
    from imlspike.inference.decoding import batches

    ours, theirs, rate, options = peers(args)
    wavs, references = (read_kaldi(args.data_dir / name) for name in ("wav.scp", "text"))
    count = min(len(wavs), args.limit or len(wavs))
    chosen = [sorted(wavs)[n * len(wavs) // count] for n in range(count)]
    waves = {u: torch.from_numpy(read_audio(wavs[u], rate, u)) for u in chosen}
    seconds = {u: len(wave) / rate for u, wave in waves.items()}
    groups = list(batches(seconds, args.batch_seconds))
    both, texts = race(ours, theirs, [[(u, waves[u]) for u in group] for group in groups], args.turns)
    return section(both, texts, {u: references[u] for u in chosen}, seconds, options)


def peers(args: argparse.Namespace) -> tuple[Transcribe, Transcribe, int, dict]:
    """Our decoder and ESPnet's `Speech2Text` as functions of waveforms, the rate in Hz, and the options."""
    from espnet2.bin.asr_inference import Speech2Text

    from imlspike.inference import Bundle
    from imlspike.inference.beam_search import read_options
    from imlspike.inference.decoding import open_decoder
    from imlspike.inference.experiment import find_model_file

    config, options = args.exp_dir / "config.yaml", asdict(read_options(args.decode_config))
    decoder = open_decoder(Bundle.load(args.exp_dir, "recognizer", model_file=args.model), "joint", **options)
    model = find_model_file(args.exp_dir, read_yaml(config), args.model)
    speech2text = Speech2Text(config, model, **options)

    def theirs(waves: list[torch.Tensor]) -> list[str]:
        found = [speech2text(wave) for wave in waves]
        return [" ".join(nbest[0][0].split()) if nbest else "" for nbest in found]

    def ours(waves: list[torch.Tensor]) -> list[str]:
        return [text or "" for text in decoder(waves)]

    return ours, theirs, decoder.sampling_rate, options


def race(ours: Transcribe, theirs: Transcribe, groups: list, turns: int) -> tuple[Comparison, dict]:
    """Seconds of both for all of `groups` (each [(utterance, waveform)]), `turns` times, batch by batch.

    Returns:
        The comparison of the turns, and {"ours": {utterance: text}, "theirs": ...}.

    >>> both, texts = race(lambda w: w, lambda w: [x.upper() for x in w], [[("u1", "a"), ("u2", "b")]], 2)
    >>> len(both.ours), texts["theirs"]
    (2, {'u1': 'A', 'u2': 'B'})
    """
    shortest = [wave for _, wave in groups[-1][-1:]]
    ours(shortest), theirs(shortest)  # warm up
    both, texts = Comparison([], []), {"ours": {}, "theirs": {}}
    begin, done = time.perf_counter(), 0
    for turn in range(turns):
        spent = {"ours": 0.0, "theirs": 0.0}
        for number, group in enumerate(groups):
            pair = [("ours", ours), ("theirs", theirs)]
            for name, run in pair if (turn + number) % 2 == 0 else reversed(pair):
                start = time.perf_counter()
                said = run([wave for _, wave in group])
                spent[name] += time.perf_counter() - start
                texts[name] |= {u: text for (u, _), text in zip(group, said, strict=True)}
            done += 1
            left = (time.perf_counter() - begin) / done * (turns * len(groups) - done)
            print(f"batch {done}/{turns * len(groups)}, about {left:.0f} s left", file=sys.stderr, flush=True)
        both.ours.append(spent["ours"])
        both.theirs.append(spent["theirs"])
    return both, texts


def section(both: Comparison, texts: dict, references: dict, seconds: dict, options: dict) -> str:
    """The Markdown of a race: medians, CER of both, the targets and the transcripts that differ."""
    count, audio = len(both.ours), sum(seconds.values())
    cer, rows = {}, []
    for name, label in (("ours", "imlspike, batches"), ("theirs", "ESPnet, one by one")):
        taken = sorted(getattr(both, name))[count // 2]
        cer[name] = 100 * summarize(align_transcripts(references, texts[name]), resamples=1)["cer"]["rate"]
        rows.append([label, f"{taken:.1f}", f"{taken / audio:.4f}", f"{cer[name]:.2f}"])
    faster, (low, high) = 1 / both.ratio, both.spread
    apart = cer["ours"] - cer["theirs"]
    different = [u for u in references if texts["ours"][u] != texts["theirs"][u]]
    targets = [
        [
            "times as fast",
            f"{faster:.2f} ({1 / high:.2f}-{1 / low:.2f})",
            f">= {FASTER:g}",
            verdict(faster >= FASTER),
        ],
        ["CER apart, points", f"{apart:+.2f}", f"within {POINTS}", verdict(abs(apart) <= POINTS)],
        ["transcripts that differ", f"{len(different)} of {len(references)}", "", ""],
    ]
    settings = ", ".join(f"{key} {value:g}" for key, value in options.items())
    text = (
        f"## Joint decoding\n\n{setting()}\n\n{len(references)} utterances, {audio:.0f} s of audio; "
        f"{settings}; {count} turns, by turns batch by batch.\n\n"
        + table(["decoder", "seconds (median)", "real-time factor", "CER, %"], rows)
        + "\n\n"
        + table(["", "measured (quartiles)", "target", ""], targets)
    )
    lines = [f"- {u}: ours: {texts['ours'][u]}\n  - ESPnet's: {texts['theirs'][u]}" for u in different]
    return "\n".join([text, "", *lines]) if lines else text
