"""Pack a trained recogniser, voice or vocoder with its model card into one zip file: its bundle.

python -m imlspike.bin.pack exp/quick --output exp/quick/quick.zip
python -m imlspike.bin.pack exp/spikevoice --output voice.zip --half
"""

import argparse
import os
import sys
from dataclasses import asdict
from pathlib import Path

import yaml

from imlspike.analysis.results import gather, table
from imlspike.bin.report import made, made_on, notes, surroundings
from imlspike.data.kaldi import read_data_dir
from imlspike.data.yaml_file import ConfigError
from imlspike.inference.beam_search import read_options
from imlspike.inference.bundle import Bundle
from imlspike.inference.experiment import language_model

PARTS = {
    "iml_spikeformer": "IML-Spikeformer (spiking)",
    "transformer": "Transformer",
    "conformer": "Conformer",
}


def main(argv: list[str] | None = None) -> int:
    """Write the bundle of an experiment as a zip: what it is, weights, tokens, model card, and of a
    recogniser its language model. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="imlspike pack", description=main.__doc__)
    add = parser.add_argument
    add("exp", type=Path, help="experiment folder, or one that espnet2.bin.pack's zip was unzipped to")
    add("--model", type=Path, help="model file (default: the average of the first best_model_criterion)")
    add("--output", type=Path, required=True, help="the zip file to write")
    add("--half", action="store_true", help="weights in fp16: half the size, rounded at the 4th digit")
    add("--decode-config", type=Path, help="recogniser: YAML of the beam search that suits it")
    add("--lm", type=Path, help="recogniser: experiment folder of a language model")
    add("--lm-model", type=Path, help="its model file (default: as for --model)")
    add("--train-dir", type=Path, help="data directory it was trained on, to say how much that was")
    add("--corpus", default="", help="the corpus and its licence, in a sentence")
    add("--license", default="apache-2.0", help="of the model (default: %(default)s)")
    add("--primary", choices=("cer", "wer"), default="cer", help="the error rate that counts (default: cer)")
    add("--command", default="", help="the command that trained it (default: what the experiment tells)")
    args = parser.parse_args(argv)
    try:
        bundle = pack(args)
    except (ValueError, OSError, ImportError) as error:
        print(f"pack: {error}", file=sys.stderr)
        return 1
    print(f"{args.output}: a {bundle.kind}, {args.output.stat().st_size / 1e6:.1f} MB")
    return 0


def pack(args: argparse.Namespace) -> Bundle:
    """Write the zip; what is in it."""
    if args.output.suffix != ".zip":
        raise ConfigError(f"{args.output}: expected a name that ends in .zip")
    bundle = Bundle.load(args.exp, model_file=args.model and os.path.relpath(args.model, args.exp))
    given = {"command": args.command, "corpus": args.corpus}
    bundle.origin |= {key: value for key, value in given.items() if value}
    if bundle.kind == "recognizer":
        add_search(bundle, args)
        card = model_card(bundle, args)
    elif args.lm or args.lm_model or args.decode_config:
        raise ConfigError(f"{args.exp} is a {bundle.kind}: --lm and --decode-config are for recognisers")
    else:
        card = synthesis_card(bundle, args)
    bundle.files["README.md"] = card.encode()
    bundle.save(args.output, args.half)
    return bundle


def add_search(bundle: Bundle, args: argparse.Namespace) -> None:
    """The language model and the options of the search of a recogniser, and ESPnet's defaults."""
    from imlspike.espnet.parts import complete

    if args.lm:
        file = args.lm_model and os.path.relpath(args.lm_model, args.lm)
        about, states, tokens = language_model(args.lm, file)
        if tokens != bundle.tokens:
            raise ConfigError(f"{args.lm}: a language model of other tokens than the recogniser's")
        bundle.config["lm"], bundle.lm_states = about, states
    if args.decode_config:
        bundle.config["search"] = asdict(read_options(args.decode_config))
    complete(bundle)


def synthesis_card(bundle: Bundle, args: argparse.Namespace) -> str:
    """The model card of a voice or vocoder."""
    about, model = surroundings(), bundle.config["model"]
    task = {"voice": "text-to-speech", "vocoder": "audio-to-audio"}[bundle.kind]
    name, what = SYSTEMS[bundle.kind]
    if model["neuron"] == "none":
        what = f"{bundle.kind.capitalize()}: the ANN twin of {name}."
    else:
        what = f"{what}, neuron {model['neuron']}, {model['steps']} time steps."
    told = bundle.origin.get("command")
    use = USE_OF[bundle.kind].format(zip=args.output.name)
    lines = [*title(args, task), what, "", *data(args), "", use]
    lines += ["", "## How it was made", "", *([f"- command: `{told}`"] if told else [])]
    lines += [f"- git: {bundle.origin.get('git', about['git'])}", *made_on(about)]
    shown = yaml.safe_dump(bundle.config, sort_keys=False)
    return "\n".join([*lines, "", "```yaml", shown.strip(), "```", "", *licence(args)])


def title(args: argparse.Namespace, task: str) -> list[str]:
    """The head of a card, which model hubs read, and its title."""
    head = {"license": args.license, "library_name": "imlspike", "pipeline_tag": task}
    head["tags"] = ["audio", "spiking-neural-network", "imlspike"]
    return ["---", yaml.safe_dump(head, sort_keys=False).strip(), "---", "", f"# {args.exp.name}", ""]


def licence(args: argparse.Namespace) -> list[str]:
    """The end of a card; with --half it says so."""
    half = ["Weights of two dimensions or more are rounded to fp16.", ""] if args.half else []
    return [*half, "## Licence", "", f"{args.license}.", ""]


def model_card(bundle: Bundle, args: argparse.Namespace) -> str:
    """The model card of a recogniser, in Markdown with the head that model hubs read."""
    experiment = gather(args.exp)
    if args.model:  # error rates of another model file are none of this one's
        mine = f"_asr_model_{args.model.stem}"
        experiment["scores"] = [
            score
            for score in experiment["scores"]
            if score["decoding"].endswith(mine) or "_asr_model_" not in score["decoding"]
        ]
    about = {"command": args.command, **surroundings()}
    lines = title(args, "automatic-speech-recognition")
    use = USE.format(zip=args.output.name)
    lines += [what_it_is(bundle, experiment), "", *data(args), "", use, ""]
    lines += ["## Results", "", table([experiment], [], args.primary), "", notes([experiment]), ""]
    lines += ["## How it was made", "", *made(about, [experiment])]
    if training := experiment["training"]:
        lines += [f"- training: {training['epochs']} epochs, {training['hours']:.1f} hours"]
    settings = args.exp / "train.yaml"
    if settings.is_file():
        lines += ["", "```yaml", settings.read_text(encoding="utf-8").strip(), "```"]
    return "\n".join([*lines, "", *licence(args)])


SYSTEMS = {
    "voice": ("SpikeVoice", "Voice: SpikeVoice (spiking text-to-speech)"),
    "vocoder": ("Spiking Vocos", "Vocoder: Spiking Vocos"),
}
USE_OF = {
    "voice": """\
## Use

`imlspike synthesize "Text." out.wav --model {zip} --vocoder VOCODER`, with a vocoder of the same mel, or by
Griffin-Lim without one; or

```python
from imlspike import Text2Speech

speech = Text2Speech.from_pretrained("{zip}", "griffin_lim")("Text.")   # speech.audio, speech.sampling_rate
```""",
    "vocoder": """\
## Use

`imlspike vocode in.wav out.wav --model {zip}`, or

```python
from imlspike import Vocoder

audio = Vocoder.from_pretrained("{zip}").decode(mel)
```""",
}
USE = """\
## Use

```python
from imlspike import Speech2Text

speech2text = Speech2Text.from_pretrained("{zip}")
```

Or `imlspike transcribe`; its `--help` tells how. ESPnet is needed for `--decoding joint` only, which asks the
attention decoder."""


def what_it_is(bundle: Bundle, experiment: dict) -> str:
    """One sentence about the model.

    >>> model = {"encoder": "iml_spikeformer", "decoder": "rnn"}
    >>> bundle = Bundle("recognizer", "quick", {"model": model, "token_type": "char"}, {}, ("a",))
    >>> what_it_is(bundle, {"energy": None})
    'Speech recogniser: IML-Spikeformer (spiking) encoder, rnn decoder, CTC and attention, 1 tokens (char).'
    """
    model = bundle.config["model"]
    encoder, decoder = (PARTS.get(model.get(part), model.get(part)) for part in ("encoder", "decoder"))
    size = ""
    if experiment["energy"]:
        size = f", {experiment['energy']['parameters']['model'] / 1e6:.2f} M parameters"
    tokens = f"{len(bundle.tokens)} tokens ({bundle.config['token_type']})"
    return f"Speech recogniser: {encoder} encoder, {decoder} decoder, CTC and attention, {tokens}{size}."


def data(args: argparse.Namespace) -> list[str]:
    """What it was trained on."""
    lines = [f"Data: {args.corpus}"] if args.corpus else []
    if args.train_dir:
        utterances = read_data_dir(args.train_dir)
        hours = sum(utterance.seconds for utterance in utterances) / 3600
        lines += [
            f"Trained on {len(utterances)} utterances, {hours:.1f} hours (copies at other speeds counted)."
        ]
    return lines


if __name__ == "__main__":
    sys.exit(main())
