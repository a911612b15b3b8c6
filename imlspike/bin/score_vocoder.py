"""Score copy-synthesis: natural speech against what vocoders made of its mel spectrograms.

imlspike score-vocoder --data-dir data/test --model exp/ann --systems ann=exp/ann/wav tsm_kd=exp/tsm_kd/wav
    --output-dir exp/scores --nj 2
"""

import argparse
import functools
import os
import sys
from pathlib import Path

from imlspike.analysis import vocoder_table
from imlspike.analysis.kept_scores import score_or_recall
from imlspike.analysis.vocoder_measures import CREPE, MEASURES, why_not
from imlspike.analysis.vocoder_scores import (
    GRIFFIN_LIM,
    NATURAL,
    Settings,
    Task,
    character_errors,
    find_pairs,
    summarize,
    write_griffin_lim,
)
from imlspike.bin._systems import (
    add_scoring_options,
    name_systems,
    recognise,
    report_scores,
    speech_to_text,
    versions,
)
from imlspike.data.kaldi import read_data_dir
from imlspike.data.keys import check_choice
from imlspike.data.parallel import map_parallel
from imlspike.data.progress import Progress
from imlspike.inference.bundle import Bundle

PER_PROCESS = 2  # utterances that are worth a process: each takes seconds
LIBRARIES = ("pesq", "pystoi", "torchcrepe", "visqol-python", "torch", "torchaudio")


def main(argv=None) -> int:
    """Write scores.json, scores.csv and scores.md; print the table. Returns the exit status."""
    args = parse(argv)
    os.environ.setdefault("NUMBA_NUM_THREADS", "1")  # ViSQOL's: the processes of --nj share the cores
    return report_scores("score-vocoder", lambda: score(args), vocoder_table, args.output_dir)


def parse(argv):
    """The command line's options."""
    parser = argparse.ArgumentParser(
        prog="imlspike score-vocoder",
        description="Scores of one or several vocoders on copy-synthesis. Natural speech against itself and "
        "Griffin-Lim (32 iterations, from the model's mel spectrogram) are always in the table. Scores are "
        "kept in <output-dir>/kept: a second run computes only what is new.",
    )
    add = parser.add_argument
    add("--data-dir", type=Path, required=True, help="Kaldi directory of the natural speech")
    add(
        "--systems",
        nargs="*",
        default=[],
        metavar="NAME=DIR",
        help="name of a vocoder and the folder with its <utterance>.wav",
    )
    add("--model", type=Path, required=True, help="a vocoder: tells the mel")
    add("--output-dir", type=Path, required=True, help="where scores.* and Griffin-Lim's audio go")
    add("--twin", default="ann", help="which of the systems is the ANN (default: %(default)s)")
    add(
        "--crepe", choices=CREPE, default="full", help="pitch tracker; full as in the paper, tiny 20 x faster"
    )
    add(
        "--asr-model",
        help="a recogniser's folder, as for `imlspike transcribe`: adds the character error rate",
    )
    add_scoring_options(parser, list(MEASURES))
    return parser.parse_args(argv)


def score(args) -> tuple[dict, list]:
    """The content of scores.json, and the scores of each utterance."""
    systems = name_systems(args.systems)
    for key in args.measures:
        check_choice("--measures", key, MEASURES)
    left_out = {key: reason for key in args.measures if (reason := why_not(key))}
    features = Bundle.load(args.model, "vocoder").config["features"]
    settings = Settings.of(features, [key for key in args.measures if key not in left_out], args.crepe)
    utterances = read_data_dir(args.data_dir)
    rate, hop = features["sampling_rate"], features["hop_length"]
    tasks, not_scored = find_pairs(utterances, systems, rate, hop)
    if GRIFFIN_LIM not in systems:
        systems[GRIFFIN_LIM] = args.output_dir / GRIFFIN_LIM
        tasks = add_griffin_lim(settings, systems[GRIFFIN_LIM], tasks, args.nj)
    used = versions(LIBRARIES)
    work = functools.partial(score_or_recall, args.output_dir / "kept", used, settings)
    progress = Progress("utterances scored")
    scored = list(map_parallel(work, tasks, args.nj, progress, PER_PROCESS))
    twin = args.twin if args.twin in systems else None
    scores = summarize(scored, settings.measures, twin, args.resamples, args.seed)
    errors = {}
    if args.asr_model:
        heard = recognise(speech_to_text(args.asr_model), tasks, rate, args.output_dir / "asr")
        references = {utterance.id: utterance.text for utterance in utterances}
        errors = character_errors(references, heard, not args.no_spaces, args.resamples, args.seed)
    order = [NATURAL, *(name for name in scores if name != NATURAL)]
    folders = {NATURAL: str(args.data_dir)} | {name: str(folder) for name, folder in systems.items()}
    report = {
        "data_dir": str(args.data_dir),
        "utterances": len(scored),
        "seconds": sum(one.seconds for one in scored),
        "sampling_rate": rate,
        "features": dict(settings.features),
        "crepe": args.crepe,
        "bootstrap": {"resamples": args.resamples, "seed": args.seed, "confidence": 0.95},
        "measures": list(args.measures),
        "left_out": left_out,
        "asr_model": args.asr_model and Path(args.asr_model).name,
        "twin": twin,
        "not_scored": not_scored,
        "systems": {
            name: {"folder": folders[name], "scores": scores[name], "cer": errors.get(name)} for name in order
        },
        "versions": used,
    }
    return report, scored


def add_griffin_lim(settings: Settings, folder: Path, tasks: list[Task], nj: int) -> list[Task]:
    """Synthesise every utterance by Griffin-Lim into `folder`; the tasks with that system, the first one."""
    folder.mkdir(parents=True, exist_ok=True)
    work = functools.partial(write_griffin_lim, settings, str(folder))
    files = map_parallel(work, tasks, nj, Progress("utterances by Griffin-Lim"), PER_PROCESS)
    return [
        Task(task.utterance, task.natural, {GRIFFIN_LIM: file} | task.synthetic)
        for task, file in zip(tasks, files, strict=True)
    ]


if __name__ == "__main__":
    sys.exit(main())
