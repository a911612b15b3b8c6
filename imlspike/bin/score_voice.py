"""Score voices: what they make of sentences, against natural speech of the same sentences.

imlspike score-voice --data-dir data/test --systems ceiling=exp/voice/natural voice=exp/voice/free
    --ceiling ceiling --asr-model ../asr1/exp/full --natural-durations exp/voice/forced/durations
    --output-dir exp/scores --nj 2
"""

import argparse
import functools
import sys
from collections.abc import Mapping
from pathlib import Path

from imlspike.analysis import voice_table
from imlspike.analysis.vocoder_measures import why_not
from imlspike.analysis.vocoder_scores import NATURAL, find_pairs, summarize
from imlspike.analysis.voice_measures import F0_RANGE, MEASURES, has_world
from imlspike.analysis.voice_scores import (
    RATES,
    Settings,
    System,
    add_durations,
    open_system,
    recognition_errors,
    score_utterance,
)
from imlspike.bin._systems import (
    Recogniser,
    add_scoring_options,
    command_recogniser,
    name_systems,
    recognise,
    report_scores,
    speech_to_text,
    versions,
)
from imlspike.data.audio import audio_format
from imlspike.data.files import read_kaldi
from imlspike.data.kaldi import Utterance, read_data_dir
from imlspike.data.keys import check_choice
from imlspike.data.parallel import map_parallel
from imlspike.data.progress import Progress

PER_PROCESS = 2  # utterances that are worth a process: each takes seconds
LIBRARIES = "pyworld librosa resemblyzer speechmos onnxruntime torchmetrics jiwer torch".split()


def main(argv=None) -> int:
    """Write scores.json, scores.csv and scores.md; print the table. Returns the exit status."""
    args = parse(argv)
    return report_scores("score-voice", lambda: score(args), voice_table, args.output_dir)


def parse(argv):
    """The command line's options."""
    parser = argparse.ArgumentParser(
        prog="imlspike score-voice",
        description="Scores of one or several voices, or of any other audio of the same sentences. Natural "
        "speech against itself is always in the table.",
    )
    add = parser.add_argument
    add("--data-dir", type=Path, required=True, help="Kaldi directory of the natural speech and its text")
    add(
        "--systems",
        nargs="+",
        required=True,
        metavar="NAME=DIR",
        help="name of a system and its folder, as `imlspike synthesize --data-dir` writes it (wav, "
        "durations, synthesis.yaml), or a folder with <utterance>.wav",
    )
    add("--output-dir", type=Path, required=True, help="where scores.* and the recogniser's texts go")
    add(
        "--ceiling",
        help="the system whose error rates the others are compared with (default: the one that was "
        "synthesised with --mode natural, if it is one; else natural speech)",
    )
    add("--twin", help="the system whose other scores the others are compared with, as the ANN")
    asr = parser.add_mutually_exclusive_group()
    asr.add_argument("--asr-model", help="a recogniser's folder, as for `imlspike transcribe`")
    asr.add_argument(
        "--asr-command",
        help="any recogniser's command line with {wav_scp} (Kaldi table to read) and {text} (to write)",
    )
    add("--asr-name", help="what the recogniser is called in the table's notes")
    add("--text", type=Path, help="Kaldi table of what is said (default: the data directory's text)")
    add("--natural-durations", type=Path, metavar="FILE", help="Kaldi table: frames of each natural symbol")
    add("--hop-length", type=int, default=256, help="samples in a frame of durations (default: %(default)s)")
    add("--f0", type=float, nargs=2, default=F0_RANGE, metavar="HZ", help="range (default: %(default)s)")
    add_scoring_options(parser, list(MEASURES))
    return parser.parse_args(argv)


def score(args) -> tuple[dict, list]:
    """The content of scores.json, and the scores of each utterance."""
    systems = {name: open_system(folder) for name, folder in name_systems(args.systems).items()}
    for key in args.measures:
        check_choice("--measures", key, MEASURES)
    ceiling = args.ceiling or find_ceiling(systems)
    for option, name in (("--ceiling", ceiling), ("--twin", args.twin)):
        if name is not None:
            check_choice(option, name, systems)
    recogniser = open_recogniser(args)
    left_out = {key: reason for key in args.measures if (reason := why_not(key, MEASURES))}
    if args.natural_durations is None and "symbol_duration" in args.measures:
        left_out["symbol_duration"] = "no natural durations were named (--natural-durations)"
    utterances = read_data_dir(args.data_dir)
    references = read_references(args, utterances)
    rate = audio_format(utterances[0].wav, utterances[0].id).sampling_rate if utterances else 0
    tasks, not_scored = find_pairs(utterances, {name: system.audio for name, system in systems.items()}, rate)
    measures = tuple(key for key in args.measures if key not in left_out)
    settings = Settings(rate, measures, tuple(args.f0), args.hop_length / rate)
    work, progress = functools.partial(score_utterance, settings), Progress("utterances scored")
    timed = add_durations(tasks, args.natural_durations, systems)
    scored = list(map_parallel(work, timed, args.nj, progress, PER_PROCESS))
    scores = summarize(scored, measures, args.twin, args.resamples, args.seed)
    errors = {}
    if recogniser:
        heard = recognise(recogniser, tasks, rate, args.output_dir / "asr")
        options = (ceiling, not args.no_spaces, args.resamples, args.seed)
        errors = recognition_errors(references, heard, *options)
    natural = System(args.data_dir, args.natural_durations, None)
    report = {
        "data_dir": str(args.data_dir),
        "utterances": len(scored),
        "seconds": sum(one.seconds for one in scored),
        "sampling_rate": rate,
        "hop_length": args.hop_length,
        "f0": list(args.f0),
        "cepstra": "world" if has_world() else "spectrum",
        "bootstrap": {"resamples": args.resamples, "seed": args.seed, "confidence": 0.95},
        "measures": list(args.measures),
        "left_out": left_out,
        "recogniser": recogniser and (args.asr_name or recogniser_name(args)),
        "characters": "spaces left out" if args.no_spaces else "characters with spaces",
        "ceiling": ceiling,
        "twin": args.twin,
        "not_scored": not_scored,
        "systems": {
            name: {
                "folder": str(system.audio),
                "scores": scores[name],
                "durations": bool(args.natural_durations and system.durations),
                "synthesis": system.synthesis,
            }
            | {key: errors[name][key] if errors else None for key in RATES}
            for name, system in {NATURAL: natural, **systems}.items()
        },
        "versions": versions(LIBRARIES),
    }
    return report, scored


def find_ceiling(systems: Mapping[str, System]) -> str | None:
    """The only system that is natural mels through a vocoder, by its synthesis.yaml; None: none or several.

    >>> from pathlib import Path
    >>> systems = {"mel": System(Path("wav"), None, {"mode": "natural"}), "voice": open_system(Path("x"))}
    >>> find_ceiling(systems)
    'mel'
    """
    natural = [name for name, s in systems.items() if (s.synthesis or {}).get("mode") == "natural"]
    return natural[0] if len(natural) == 1 else None


def read_references(args, utterances: list[Utterance]) -> dict[str, str]:
    """What is said in each utterance.

    Raises:
        ValueError: --text lacks an utterance.
    """
    if args.text is None:
        return {utterance.id: utterance.text for utterance in utterances}
    table = read_kaldi(args.text)
    absent = [utterance.id for utterance in utterances if utterance.id not in table]
    if absent:
        raise ValueError(f"{args.text}: no line for {absent[0]} ({len(absent)} of {len(utterances)})")
    return {utterance.id: table[utterance.id] for utterance in utterances}


def open_recogniser(args) -> Recogniser | None:
    """The recogniser that the command line names; None if it names none."""
    if args.asr_command:
        return command_recogniser(args.asr_command)
    return speech_to_text(args.asr_model) if args.asr_model else None


def recogniser_name(args) -> str:
    """What the recogniser is called without --asr-name: its folder's name, or its program's."""
    return args.asr_command.split()[0] if args.asr_command else Path(args.asr_model).name


if __name__ == "__main__":
    sys.exit(main())
