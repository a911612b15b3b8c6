"""Count spikes, operations and energy of a trained recognizer, voice or vocoder on a test set.

A recognizer: every utterance runs alone through the (folded) encoder, the CTC head and, over its transcript,
the decoder. A voice: it speaks every utterance's text, which stands in symbols in the data directory, with
predicted durations, pitch and energy; its aligner takes no part. A vocoder: every utterance's mel spectrogram
runs alone through backbone and head.
"""

import argparse
import os
from dataclasses import fields
from pathlib import Path

from imlspike.bin._command import add_weight_bits, command, folder_of
from imlspike.bin._files import output_dir
from imlspike.data.audio import read_audio
from imlspike.data.kaldi import read_data_dir
from imlspike.data.progress import Progress
from imlspike.evaluation.energy import FIGURES, Costs
from imlspike.inference.bundle import Bundle

TIMED = 10  # utterances on which a voice's or a vocoder's speed is measured
ODD = {
    "too_short": "too short for the network, left out",
    "neurons_that_never_ran": "neurons that never ran",
    "rates_out_of_range": "neurons that fire less than 0.5 % or more than 60 %",
    "operations_not_known": "operations counted as one addition an element",
}


def parse(argv) -> argparse.Namespace:
    """The command line's options."""
    parser = argparse.ArgumentParser(prog="imlspike profile", description=__doc__.partition("\n")[0])
    add = parser.add_argument
    where = parser.add_mutually_exclusive_group(required=True).add_argument
    where("--exp", type=Path, help="experiment folder or bundle of a recognizer, a voice or a vocoder")
    where("--config", type=Path, help="its config.yaml instead")
    add("--model", type=Path, help="an ESPnet model file (default: average by best_model_criterion)")
    add("--data-dir", type=Path, required=True, help="Kaldi directory; for a voice its text in symbols")
    add("--output-dir", type=output_dir, required=True, help="where tables and pictures go")
    add("--limit", type=int, default=0, help="run the first so many utterances (default: all)")
    add("--beam", type=int, default=10, help="hypotheses that the decoder carries (default: %(default)s)")
    add("--raster", default="", help="utterance to draw (default: one of median length)")
    add_weight_bits(parser)
    for cost in fields(Costs):
        option = f"--{cost.name.replace('_', '-')}"
        unit = "results a weight is read for once" if cost.name == "reuse" else "pJ"
        add(option, type=float, default=cost.default, help=f"{unit} (default: %(default)s)")
    args = parser.parse_args(argv)
    if args.limit < 0 or args.beam < 1:
        parser.error("--limit must be at least 0, --beam at least 1")
    for cost in fields(Costs):
        if not 0 <= getattr(args, cost.name) < float("inf"):
            parser.error(f"--{cost.name.replace('_', '-')} must be pJ, 0 or more")
    if not args.reuse:
        parser.error("--reuse must be above 0")
    if args.mac < args.accumulate:
        parser.error("--mac must be at least --accumulate: it is a multiplication and an addition")
    return args


def open_system(bundle: Bundle):
    """The bundle's model as a `System`, and a function from an `Utterance` to what its `run` takes."""
    import torch

    from imlspike.evaluation import profiling

    def heard(utterance, rate: int, *tokens):
        wave = torch.from_numpy(read_audio(utterance.wav, rate, utterance.id))
        return profiling.Heard(utterance.id, len(wave) / rate, wave, *tokens)

    if bundle.kind == "vocoder":
        from imlspike.inference.vocoder import spiking_vocos

        vocoder = spiking_vocos(bundle)
        return profiling.vocoder(vocoder), lambda u: heard(u, vocoder.config["sampling_rate"])
    if bundle.kind == "voice":
        from imlspike.inference.voice import TrainedVoice

        voice = TrainedVoice.from_bundle(bundle)

        def sentence(utterance):
            speaker = None if voice.model.speakers is None else voice.speaker_number(utterance.speaker)
            numbers = voice.numbers(utterance.text.split(), utterance.id)
            return profiling.Sentence(utterance.id, numbers, speaker)

        frame_rate = voice.features["sampling_rate"] / voice.features["hop_length"]
        return profiling.voice(voice.model, frame_rate), sentence
    from imlspike.espnet.parts import open_attention
    from imlspike.inference.decoding import open_decoder

    decoder = open_decoder(bundle)
    recognizer, tokens = decoder.recognizer, decoder.recognizer.tokens
    open_attention(bundle, recognizer)

    def with_tokens(utterance):
        numbers = torch.tensor([tokens.eos, *tokens.numbers(utterance.text)])
        return heard(utterance, recognizer.sampling_rate, numbers)

    return profiling.recognizer(recognizer, lambda wave: decoder([wave])), with_tokens


def format_report(report: dict) -> str:
    """The content of energy.json as a small table."""
    lines = [f"energy, {report['unit']} ({report['utterances']} utterances, {report['seconds']:.0f} s)"]
    scopes = [scope for scope in ("blocks", report["scope"], "model") if scope in report]
    lines.append(f"  {'':<50}{''.join(f'{scope:>10}' for scope in scopes)}")
    for figure, meaning in FIGURES.items():
        lines.append(f"  {meaning:<50}{''.join(f'{report[s][figure]:>10.1f}' for s in scopes)}")
    if report["front_end"]:
        lines.append(f"  {'front end (log-mel, fp32, an estimate), alone':<50}{report['front_end']:>10.1f}")
    if report["firing_rate"] is not None:
        lines.append(f"mean count {report['mean_count']:.3f}, firing rate {report['firing_rate']:.1%}")
    for module, found in report["modules"].items():
        fires = "" if found["rate"] is None else f"firing rate {found['rate']:.1%}, "
        shown = ("paper", "full", "int8", "int8_bitwise")
        energies = ", ".join(f"{figure} {report['parts'][module][figure]:.1f}" for figure in shown)
        lines.append(f"  {module:<10}{fires}{energies}")
    if report["beam"]:
        lines.append(f"the model's figures are for a beam of {report['beam']}, keys and values kept")
    if report["attention_forms"]:
        forms = ", ".join(f"{count} times {form}" for form, count in report["attention_forms"].items())
        lines.append(f"attention under a decay mask, counted in its cheaper form: {forms}")
    lines += [f"{what}: {' '.join(report[key])}" for key, what in ODD.items() if report[key]]
    if speed := report.get("speed"):
        took = f"{speed['seconds_per_second']:.3g} s for a second of audio"
        runs = f"smallest of {speed['runs']} runs, load {speed['load']:.1f}"
        lines.append(f"{took} ({runs}), threads: {speed['threads']}")
    return "\n".join(lines)


@command
def main(argv=None) -> None:
    """Write the tables, pictures and energy.json; print the energy figures. Returns the exit status."""
    args = parse(argv)
    from imlspike.evaluation.profiling import energy_report, profile, real_time, write_profile

    utterances = read_data_dir(args.data_dir)[: args.limit or None]
    if not utterances:
        raise ValueError(f"{args.data_dir}/wav.scp is empty; there is nothing to run")
    by_length = sorted(utterances, key=lambda utterance: utterance.seconds)
    drawn = args.raster or by_length[len(by_length) // 2].id
    if drawn not in {utterance.id for utterance in utterances}:
        raise ValueError(f"--raster {drawn}: no such utterance among those of {args.data_dir} that are run")
    folder = args.exp or folder_of(args.config)
    model_file = args.model and os.path.relpath(args.model, folder)
    bundle = Bundle.load(folder, model_file=model_file, weight_bits=args.weight_bits)
    system, item = open_system(bundle)
    system.about["weight_bits"] = args.weight_bits
    progress = Progress("utterances profiled")
    measured = profile(system, map(item, utterances), drawn, lambda done: progress(done, len(utterances)))
    costs = Costs(**{cost.name: getattr(args, cost.name) for cost in fields(Costs)})
    recognizes = bundle.kind == "recognizer"
    report = energy_report(measured, system, args.beam if recognizes else None, costs)
    if not recognizes:  # a recognizer's time is that of its decoding
        timed = [utterance for utterance in utterances if utterance.id not in measured.too_short][:TIMED]
        report["speed"] = real_time(system.run, list(map(item, timed)))
    files = write_profile(measured, report, system, args.output_dir)
    print(format_report(report))
    print(f"tables and pictures: {' '.join(map(str, files))}")
