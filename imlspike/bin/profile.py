"""Count spikes, operations and energy of a trained recogniser on a test set.

Every utterance runs alone through the (folded) encoder, the CTC head and, over its transcript, the decoder.
"""

import argparse
import sys
import time
from dataclasses import fields
from pathlib import Path

from imlspike.analysis.energy import FIGURES, MEANING, Costs
from imlspike.data.audio import read_audio
from imlspike.data.kaldi import read_data_dir


def main(argv=None) -> int:
    """Write the tables, pictures and energy.json; print the three energy figures. Returns the exit status."""
    args = parse(argv)
    from imlspike.analysis.profiling import energy_report, profile, write_profile
    from imlspike.espnet.decode import GreedyDecoder, average_criterion

    try:
        config = args.config or args.exp / "config.yaml"
        decoder = GreedyDecoder(config, args.model or config.parent / average_criterion(config))
        utterances = read_data_dir(args.data_dir)[: args.limit or None]
        if not utterances:
            raise ValueError(f"{args.data_dir}/wav.scp is empty; there is nothing to run")
        by_length = sorted(utterances, key=lambda utterance: utterance.seconds)
        shown = args.raster or by_length[len(by_length) // 2].id
        run = (listen(decoder, utterance) for utterance in utterances)
        measured = profile(decoder.model, lambda wave: decoder([wave]), run, shown, Progress(len(utterances)))
        costs = Costs(**{f.name: getattr(args, f.name) for f in fields(Costs)})
        report = energy_report(measured, decoder.model, args.beam, costs)
        files = write_profile(measured, report, args.output_dir)
    except (OSError, ValueError) as error:
        print(f"profile: {error}", file=sys.stderr)
        return 1
    print(format_report(report))
    print(f"tables and pictures: {' '.join(str(file) for file in files)}")
    return 0


def parse(argv):
    """The command line's options."""
    parser = argparse.ArgumentParser(prog="imlspike profile", description=__doc__.partition("\n")[0])
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--exp", type=Path, help="experiment folder of ESPnet, with its config.yaml")
    where.add_argument("--config", type=Path, help="its config.yaml instead")
    parser.add_argument(
        "--model", type=Path, help="model file (default: average of the first best_model_criterion)"
    )
    parser.add_argument("--data-dir", type=Path, required=True, help="Kaldi directory with wav.scp and text")
    parser.add_argument("--output-dir", type=Path, required=True, help="where tables and pictures go")
    parser.add_argument(
        "--limit", type=int, default=0, help="run the first so many utterances (default: all)"
    )
    parser.add_argument(
        "--beam", type=int, default=10, help="hypotheses that the decoder carries (default: %(default)s)"
    )
    parser.add_argument("--raster", default="", help="utterance to draw (default: one of median length)")
    for field in fields(Costs):
        option = f"--{field.name.replace('_', '-')}"
        parser.add_argument(option, type=float, default=field.default, help="pJ (default: %(default)s)")
    return parser.parse_args(argv)


def listen(decoder, utterance):
    """An `imlspike.data.kaldi.Utterance` as `imlspike.analysis.profiling.profile` takes it."""
    import torch

    from imlspike.analysis.profiling import Heard

    wave = torch.from_numpy(read_audio(utterance.wav, decoder.sampling_rate, utterance.id))
    token_list = decoder.model.token_list
    number = {token: i for i, token in enumerate(token_list)}
    tokens = [number.get(token, number["<unk>"]) for token in decoder.tokenizer.text2tokens(utterance.text)]
    return Heard(
        utterance.id, len(wave) / decoder.sampling_rate, wave, torch.tensor([decoder.model.sos, *tokens])
    )


class Progress:
    """Says how far it is and how long the rest takes, every five seconds."""

    def __init__(self, total: int):
        self.total, self.began = total, time.monotonic()
        self.last = self.began

    def __call__(self, done: int) -> None:
        """`done` utterances are done."""
        now = time.monotonic()
        if now - self.last > 5:
            self.last = now
            left = (now - self.began) / done * (self.total - done)
            print(f"profiled {done}/{self.total}, about {left:.0f} s left", file=sys.stderr, flush=True)


def format_report(report: dict) -> str:
    """The content of energy.json as a small table."""
    lines = [f"energy, {report['unit']} ({report['utterances']} utterances, {report['seconds']:.0f} s)"]
    lines.append(f"  {'':<50}{'encoder':>10}{'model':>10}")
    for figure in FIGURES:
        lines.append(
            f"  {MEANING[figure]:<50}{report['encoder'][figure]:>10.1f}{report['model'][figure]:>10.1f}"
        )
    if report["firing_rate"] is not None:
        lines.append(f"mean count {report['mean_count']:.3f}, firing rate {report['firing_rate']:.1%}")
    if report["beam"]:
        lines.append(f"the model's figures are for a beam of {report['beam']}, keys and values kept")
    for key, what in (
        ("too_short", "too short for the encoder, left out"),
        ("neurons_that_never_ran", "neurons that never ran"),
        ("operations_not_known", "operations counted as one addition an element"),
    ):
        if report[key]:
            lines.append(f"{what}: {' '.join(report[key])}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
