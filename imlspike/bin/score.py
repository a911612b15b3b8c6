"""Score a recognizer's transcripts, a voice's or vocoder's audio, or a voice's alignment.

imlspike score --ref data/test/text --hyp exp/quick/text --output-dir DIR
imlspike score --data-dir data/test --systems voice=exp/free --asr-model exp/full --output-dir DIR
imlspike score --data-dir data/test --systems voice=exp/free --asr-model whisper --output-dir DIR
imlspike score --data-dir data/test --systems ann=exp/ann/wav --model exp/ann --output-dir DIR
imlspike score --data-dir dump/phn/test --labels lab --model exp/spikevoice --output-dir DIR
"""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from imlspike.bin._command import command
from imlspike.bin._files import output_dir
from imlspike.data.files import read_kaldi
from imlspike.evaluation.error_rates import format_summary, score_files

EPILOG = """\
transcripts (--ref, --hyp): error rates with intervals; writes score.json and alignments.txt.
audio (--systems): of voices, of several speakers with who is nearest to whom; with --model, a vocoder, of
  copy-synthesis, Griffin-Lim in the table; writes scores.json, scores.csv and scores.md, and keeps scores in
  kept/: a second run computes only what is new.
alignment (--labels): boundaries of symbols as a voice's aligner (--model) or another (--durations) puts them,
  against phone labels, where the two neighbors stand in both; writes alignment.* and errors.png.
"""


def parse(argv) -> argparse.Namespace:
    """The command line's options."""
    parser = argparse.ArgumentParser(
        prog="imlspike score",
        description=__doc__.partition("\n")[0],
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add, default = parser.add_argument, "(default: %(default)s)"
    add("--output-dir", type=output_dir, required=True, help="where the results go")
    add("--no-spaces", action="store_true", help="take spaces out of the texts before, as for Mandarin")
    add("--resamples", type=int, default=10000, help=f"of the bootstrap {default}")
    add("--seed", type=int, default=0, help=f"seed of the bootstrap {default}")
    add = parser.add_argument_group("transcripts").add_argument
    add("--ref", help="reference transcripts, a line: utterance word word ...")
    told = "the recognizer's transcripts, same form; a missing one counts as deletions and is named"
    add("--hyp", help=told)
    told = "Kaldi directory whose spk2gender, spk2age, ... make groups of speakers, scored one by one"
    add("--groups", type=Path, metavar="DIR", help=told)
    add("--name", default="", help="what to call this decoding in the table")
    add = parser.add_argument_group("audio").add_argument
    told = "Kaldi directory of the natural speech and its text (alignment: in symbols)"
    add("--data-dir", type=Path, help=told)
    told = "name of a system and its folder of audio"
    add("--systems", nargs="*", default=[], metavar="NAME=DIR", help=told)
    told = "a vocoder: the systems do copy-synthesis of its mel; alignment: a voice, its aligner"
    add("--model", help=told)
    add("--measures", nargs="+", default=[], help="keys of imlspike.evaluation.measures (default: all)")
    add("--ceiling", help="system whose error rates the others are compared with (default: natural mels)")
    told = "system whose other scores the others are compared with (default: ann, if there is one)"
    add("--twin", help=told)
    asr = parser.add_mutually_exclusive_group().add_argument
    told = "a recognizer's folder, as for `imlspike transcribe`, or whisper, OpenAI's (extra whisper; "
    told += "whisper:FOLDER: another model of faster-whisper): adds its error rates"
    asr("--asr-model", help=told)
    told = "any recognizer's command line; it reads {wav_scp} and writes {text}, Kaldi tables"
    asr("--asr-command", help=told)
    add("--asr-name", help="what the recognizer is called in the table's notes")
    told = (
        "code of what is spoken, as nl (default: the data directory's utt2lang): for whisper, and to count "
    )
    told += "errors with numbers in words"
    add("--language", help=told)
    add("--text", type=Path, help="Kaldi table of what is said (default: the data directory's text)")
    add("--natural-durations", type=Path, metavar="FILE", help="Kaldi table: frames of each natural symbol")
    add("--hop-length", type=int, default=256, help=f"samples in a frame of durations {default}")
    add("--f0", type=float, nargs=2, default=(60.0, 500.0), metavar="HZ", help=f"range {default}")
    add("--crepe", choices=("full", "tiny"), default="full", help="of vocoders; tiny is 20 x faster")
    add("--nj", type=int, default=1, help=f"processes {default}")
    add = parser.add_argument_group("alignment").add_argument
    add("--labels", type=Path, help="folder with <utterance>.lab, .TextGrid or .interval")
    told = "Kaldi table: frames of each symbol by any aligner, instead of --model"
    add("--durations", type=Path, help=told)
    add("--model-file", help="another model of the voice's experiment than the average of its best epochs")
    add("--tier", default="phones", help=f"of a TextGrid with several {default}")
    args = parser.parse_args(argv)
    if bool(args.ref) != bool(args.hyp) or not (args.ref or args.data_dir):
        parser.error("expected --ref and --hyp (transcripts), or --data-dir (audio, alignment)")
    if args.data_dir and not (args.systems or args.model or args.durations):
        parser.error(
            "expected --systems, or --model of a vocoder; with --labels, --model of a voice or --durations"
        )
    return args


def score_audio(args: argparse.Namespace) -> tuple[str, list[Path]]:
    """The table and its notes, and the files."""
    from imlspike.evaluation.recognition import command_recognizer, read_languages, trained_recognizer
    from imlspike.evaluation.score_tables import score_notes, scores_table, speakers_table, write_scores
    from imlspike.evaluation.scoring import score_systems
    from imlspike.evaluation.whisper import is_whisper, whisper_recognizer
    from imlspike.inference.bundle import Bundle

    os.environ.setdefault("NUMBA_NUM_THREADS", "1")  # ViSQOL's: the processes of --nj share the cores
    heard = {}
    if args.asr_command:
        heard["recognize"] = command_recognizer(args.asr_command)
        heard["recognizer"] = args.asr_name or args.asr_command.split()[0]
    elif args.asr_model and is_whisper(args.asr_model):
        languages = read_languages(args.data_dir, args.language, read_kaldi(args.data_dir / "wav.scp"))
        name, heard["recognize"] = whisper_recognizer(args.asr_model, languages, args.nj)
        heard["recognizer"] = args.asr_name or name
    elif args.asr_model:
        heard["recognize"] = trained_recognizer(args.asr_model)
        heard["recognizer"] = args.asr_name or Path(args.asr_model).name
    features = Bundle.load(args.model, "vocoder").config["features"] if args.model else None
    report, scored = score_systems(args, name_systems(args.systems), features, **heard)
    files = write_scores(report, scored, args.output_dir)
    tables = [scores_table(report), "", *score_notes(report), "", speakers_table(report)]
    return "\n".join(tables).rstrip("\n") + "\n", files


def score_boundaries(args: argparse.Namespace) -> tuple[str, list[Path]]:
    """The table of boundary errors, and the files."""
    from imlspike.evaluation.alignment import score_alignment
    from imlspike.inference.bundle import Bundle
    from imlspike.inference.voice import TrainedVoice

    voice = None
    if args.model:
        voice = TrainedVoice.from_bundle(Bundle.load(args.model, "voice", model_file=args.model_file))
    aligner = args.model or args.durations
    where = args.data_dir, args.labels, aligner, voice, args.hop_length, args.output_dir
    return score_alignment(*where, args.tier)


def name_systems(named: Sequence[str]) -> dict[str, Path]:
    """`NAME=DIR` each, as a dict.

    Raises:
        ValueError: for one of another form, a name that stands twice or that of natural speech.
    """
    systems: dict[str, Path] = {}
    for entry in named:
        name, equals, folder = entry.partition("=")
        if not (name and equals and folder):
            raise ValueError(f"--systems {entry!r}: expected NAME=DIR")
        if name in systems or name == "natural":
            raise ValueError(f"--systems: the name {name!r} is taken; give each system its own")
        systems[name] = Path(folder)
    return systems


@command
def main(argv=None) -> None:
    """Write the scores and print them. Returns the exit status."""
    args = parse(argv)
    if args.ref:
        options = args.resamples, args.seed, not args.no_spaces, args.groups
        print(format_summary(score_files(args.ref, args.hyp, args.output_dir, args.name, *options)))
        print(f"  alignments and figures: {args.output_dir}")
    else:
        text, files = score_boundaries(args) if args.labels else score_audio(args)
        print(f"{text}\nscores: {' '.join(map(str, files))}")
