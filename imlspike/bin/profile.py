"""Count spikes, operations and energy of a trained recogniser, voice or vocoder on a test set.

A recogniser: every utterance runs alone through the (folded) encoder, the CTC head and, over its transcript,
the decoder. A voice: it speaks every utterance's text, which stands in symbols in the data directory, with
predicted durations, pitch and energy; its aligner takes no part. A vocoder: every utterance's mel spectrogram
runs alone through backbone and head.
"""

import argparse
import os
import sys
from dataclasses import fields
from pathlib import Path

from imlspike.analysis.energy import FIGURES, MEANING, Costs
from imlspike.data.audio import read_audio
from imlspike.data.kaldi import read_data_dir
from imlspike.data.progress import Progress
from imlspike.inference.bundle import Bundle

TIMED = 10  # utterances on which a voice's or a vocoder's speed is measured


def main(argv=None) -> int:
    """Write the tables, pictures and energy.json; print the three energy figures. Returns the exit status."""
    args = parse(argv)
    try:
        utterances = read_data_dir(args.data_dir)[: args.limit or None]
        if not utterances:
            raise ValueError(f"{args.data_dir}/wav.scp is empty; there is nothing to run")
        by_length = sorted(utterances, key=lambda utterance: utterance.seconds)
        shown = args.raster or by_length[len(by_length) // 2].id
        costs = Costs(**{f.name: getattr(args, f.name) for f in fields(Costs)})
        run, bundle = what_runs(args)
        report, files = run(bundle, args, utterances, shown, costs)
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
    where.add_argument(
        "--exp", type=Path, help="experiment folder or bundle of a recogniser, a voice or a vocoder"
    )
    where.add_argument("--config", type=Path, help="its config.yaml instead")
    parser.add_argument(
        "--model", type=Path, help="an ESPnet model file (default: average by best_model_criterion)"
    )
    parser.add_argument(
        "--data-dir", type=Path, required=True, help="Kaldi directory; for a voice its text in symbols"
    )
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


def what_runs(args):
    """What the command line names, and the one of the functions below that profiles it."""
    folder = args.exp or args.config.parent
    bundle = Bundle.load(folder, model_file=args.model and os.path.relpath(args.model, folder))
    return {"recognizer": run_recogniser, "voice": run_voice, "vocoder": run_vocoder}[bundle.kind], bundle


def run_recogniser(bundle, args, utterances, shown: str, costs: Costs) -> tuple[dict, list[Path]]:
    """The content of a recogniser's energy.json, and the files."""
    from imlspike.analysis.profiling import energy_report, profile, write_profile
    from imlspike.espnet.parts import open_attention
    from imlspike.inference.decoding import open_decoder

    decoder = open_decoder(bundle)
    model = decoder.recognizer
    open_attention(bundle, model)
    run = (listen(model, utterance) for utterance in utterances)
    measured = profile(model, lambda wave: decoder([wave]), run, shown, follow(len(utterances)))
    report = energy_report(measured, model, args.beam, costs)
    return report, write_profile(measured, report, args.output_dir)


def run_voice(bundle, args, utterances, shown: str, costs: Costs) -> tuple[dict, list[Path]]:
    """The content of a voice's energy.json, with its speed, and the files."""
    import functools

    from imlspike.analysis.profiling import write_profile
    from imlspike.analysis.voice_profile import (
        Sentence,
        for_inference,
        plot_voice_rates,
        profile_voice,
        speaking_speed,
        voice_report,
    )
    from imlspike.inference.voice import TrainedVoice

    voice = TrainedVoice.from_bundle(bundle)
    frame_rate = voice.features["sampling_rate"] / voice.features["hop_length"]
    model = for_inference(voice.model)
    sentences = [
        Sentence(
            utterance.id,
            voice.numbers(utterance.text.split(), utterance.id),
            None if model.speakers is None else voice.speaker_number(utterance.speaker),
        )
        for utterance in utterances
    ]
    measured = profile_voice(model, sentences, frame_rate, shown, follow(len(sentences)))
    report = voice_report(measured, model, costs)
    report["speed"] = speaking_speed(model, sentences[:TIMED], frame_rate)
    plot_rates = functools.partial(plot_voice_rates, model)
    return report, write_profile(measured, report, args.output_dir, plot_rates)


def run_vocoder(bundle, args, utterances, shown: str, costs: Costs) -> tuple[dict, list[Path]]:
    """The content of a vocoder's energy.json, with its speed, and the files."""
    import torch

    from imlspike.analysis.profiling import Heard, write_profile
    from imlspike.analysis.vocoder_profile import decoding_speed, profile_vocoder, vocoder_report
    from imlspike.inference.vocoder import spiking_vocos

    model = spiking_vocos(bundle)
    rate = model.config["sampling_rate"]

    def heard(utterance):
        wave = torch.from_numpy(read_audio(utterance.wav, rate, utterance.id))
        return Heard(utterance.id, len(wave) / rate, wave)

    measured = profile_vocoder(model, map(heard, utterances), shown, follow(len(utterances)))
    long_enough = [utterance for utterance in utterances if utterance.id not in measured.too_short]
    timed = [heard(utterance).wave for utterance in long_enough[:TIMED]]
    report = vocoder_report(measured, model, costs) | {"speed": decoding_speed(model, timed)}
    return report, write_profile(measured, report, args.output_dir)


def follow(total: int):
    """What tells how far the profile is, called with the utterances that are done."""
    progress = Progress("utterances profiled")
    return lambda done: progress(done, total)


def listen(recognizer, utterance):
    """An `imlspike.data.kaldi.Utterance` as `imlspike.analysis.profiling.profile` takes it."""
    import torch

    from imlspike.analysis.profiling import Heard

    rate, tokens = recognizer.sampling_rate, recognizer.tokens
    wave = torch.from_numpy(read_audio(utterance.wav, rate, utterance.id))
    said = torch.tensor([tokens.eos, *tokens.numbers(utterance.text)])
    return Heard(utterance.id, len(wave) / rate, wave, said)


def format_report(report: dict) -> str:
    """The content of energy.json as a small table."""
    lines = [f"energy, {report['unit']} ({report['utterances']} utterances, {report['seconds']:.0f} s)"]
    scopes = [scope for scope in ("blocks", report["scope"], "model") if scope in report]
    modules = report.get("modules", {})
    lines.append(f"  {'':<50}{''.join(f'{scope:>10}' for scope in scopes)}")
    for figure in FIGURES:
        cells = "".join(f"{report[scope][figure]:>10.1f}" for scope in scopes)
        lines.append(f"  {MEANING[figure]:<50}{cells}")
    if report["firing_rate"] is not None:
        lines.append(f"mean count {report['mean_count']:.3f}, firing rate {report['firing_rate']:.1%}")
    for module, found in modules.items():
        fires = "" if found["rate"] is None else f"firing rate {found['rate']:.1%}, "
        energies = ", ".join(f"{figure} {report['parts'][module][figure]:.1f}" for figure in FIGURES)
        lines.append(f"  {module:<10}{fires}{energies}")
    if report["beam"]:
        lines.append(f"the model's figures are for a beam of {report['beam']}, keys and values kept")
    for key, what in (
        ("too_short", "too short for the network, left out"),
        ("neurons_that_never_ran", "neurons that never ran"),
        ("rates_out_of_range", "neurons that fire less than 0.5 % or more than 60 %"),
        ("operations_not_known", "operations counted as one addition an element"),
    ):
        if report.get(key):
            lines.append(f"{what}: {' '.join(report[key])}")
    if "speed" in report:
        seconds, threads = report["speed"]["seconds_per_second"], report["speed"]["threads"]
        what = "symbols to mel" if modules else "mel to waveform"
        lines.append(f"{seconds:.3g} s for a second of audio, {what}, threads: {threads}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
