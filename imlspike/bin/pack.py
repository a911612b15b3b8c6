"""Pack a trained recognizer, voice or vocoder with its model card into one zip file: its bundle.

imlspike pack exp/quick --output exp/quick/quick.zip
imlspike pack exp/spikevoice --output voice.zip --half
"""

import argparse
import os
import shlex
from dataclasses import asdict
from pathlib import Path

import yaml

from imlspike.bin._command import command
from imlspike.bin._files import output_file
from imlspike.data.kaldi import read_data_dir
from imlspike.data.yaml_file import read_yaml
from imlspike.evaluation.experiments import gather, made_on, surroundings
from imlspike.inference.beam_search import read_options
from imlspike.inference.bundle import Bundle
from imlspike.inference.bundle_config import KINDS
from imlspike.inference.experiment import language_model

PARTS = {"iml_spikeformer": "IML-Spikeformer (spiking)"}
PARTS |= {"transformer": "Transformer", "conformer": "Conformer"}
TASKS = {"recognizer": "automatic-speech-recognition", "voice": "text-to-speech", "vocoder": "audio-to-audio"}
SYSTEMS = {"voice": "SpikeVoice", "vocoder": "Spiking Vocos"}
USE = {
    "recognizer": """\
`imlspike transcribe AUDIO --model {zip}`{searches}. In Python:

```python
from imlspike import Speech2Text

(transcript,) = Speech2Text.from_pretrained("{zip}").transcribe("in.wav")   # transcript.text
```""",
    "voice": """\
`imlspike synthesize "Text." out.wav --model {zip} --vocoder VOCODER{option}`, with a vocoder of the same mel,
or by Griffin-Lim without one. In Python:

```python
from imlspike import Text2Speech

speech = Text2Speech.from_pretrained("{zip}", "griffin_lim")("Text."{speaker})
speech.audio, speech.sampling_rate
```""",
    "vocoder": """\
`imlspike vocode in.wav out.wav --model {zip}`. In Python:

```python
from imlspike import Vocoder

audio = Vocoder.from_pretrained("{zip}").decode(mel)
```""",
}


def parse(argv) -> argparse.Namespace:
    """The command line's options."""
    parser = argparse.ArgumentParser(prog="imlspike pack", description=main.__doc__)
    add = parser.add_argument
    add("exp", type=Path, help="experiment folder, or one that espnet2.bin.pack's zip was unzipped to")
    add("--model", type=Path, help="model file (default: the average of the first best_model_criterion)")
    add("--output", type=output_file, required=True, help="the zip file to write")
    add("--half", action="store_true", help="weights in fp16: half the size, rounded at the 4th digit")
    add("--decode-config", type=Path, help="recognizer: YAML of the beam search that suits it")
    add("--lm", type=Path, help="recognizer: experiment folder of a language model")
    add("--lm-model", type=Path, help="its model file (default: as for --model)")
    add("--train-dir", type=Path, help="data directory it was trained on, to say how much that was")
    add("--corpus", default="", help="the corpus and its licence, in a sentence")
    add("--license", default="apache-2.0", help="of the model (default: %(default)s)")
    add("--primary", choices=("cer", "wer"), default="cer", help="the error rate that counts (default: cer)")
    add("--command", default="", help="the command that trained it (default: what the experiment tells)")
    args = parser.parse_args(argv)
    if args.output.suffix != ".zip":
        raise ValueError(f"{args.output}: expected a name that ends in .zip")
    return args


def add_search(bundle: Bundle, args: argparse.Namespace) -> None:
    """The language model and the options of the search of a recognizer, and ESPnet's defaults."""
    from imlspike.espnet.parts import complete

    if args.lm:
        file = args.lm_model and os.path.relpath(args.lm_model, args.lm)
        about, states, tokens = language_model(args.lm, file)
        if tokens != bundle.tokens:
            raise ValueError(f"{args.lm}: a language model of other tokens than the recognizer's")
        bundle.config["lm"], bundle.lm_states = about, states
    if args.decode_config:
        bundle.config["search"] = asdict(read_options(args.decode_config))
    complete(bundle)


def model_card(bundle: Bundle, args: argparse.Namespace) -> str:
    """The model card, in Markdown with the head that model hubs read."""
    from imlspike.evaluation.report import energy_section, score_section

    head = {"license": args.license, "library_name": "imlspike", "pipeline_tag": TASKS[bundle.kind]}
    head["tags"] = ["audio", "spiking-neural-network", "imlspike"]
    about, results, settings = surroundings(), [], bundle.config
    energy, told = None, bundle.origin.get("command")
    if bundle.kind == "recognizer":
        experiment = gather(args.exp, args.model.name if args.model else "")
        stem = args.model.stem if args.model else ""
        experiment["scores"] = [s for s in experiment["scores"] if of_model(s["decoding"], stem)]
        energy, told = experiment["energy"], experiment["command"] or told
        results = ["## Results", "", *score_section([experiment], primary=args.primary)]
        results += energy_section([experiment])
        trained = args.exp / "train.yaml"
        settings = read_yaml(trained) if trained.is_file() else {}
    data = [f"Data: {args.corpus}"] if args.corpus else []
    if args.train_dir:
        seconds = [utterance.seconds for utterance in read_data_dir(args.train_dir)]
        hours = f"{sum(seconds) / 3600:.1f} hours"
        data += [f"Trained on {len(seconds)} utterances, {hours} (copies at other speeds counted)."]
    lines = ["---", yaml.safe_dump(head, sort_keys=False).strip(), "---", "", f"# {args.exp.name}", ""]
    lines += [what_it_is(bundle, energy), "", *data, "", "## Use", ""]
    one = str((bundle.config.get("speakers") or [""])[0])  # of several; the settings below name all
    use = {"option": one and f" --speaker {shlex.quote(one)}", "speaker": one and f", {one!r}"}
    use["searches"] = searches(bundle.config) if bundle.kind == "recognizer" else ""
    lines += [USE[bundle.kind].format(zip=args.output.name, **use), "", *results, "## How it was made", ""]
    lines += [f"- command: `{told}`"] if told else []
    lines += [f"- git: {bundle.origin.get('git', about['git'])}", *made_on(about), ""]
    if settings:
        lines += ["```yaml", yaml.safe_dump(settings, sort_keys=False).strip(), "```", ""]
    lines += ["Weights of two dimensions or more are rounded to fp16.", ""] if args.half else []
    return "\n".join([*lines, "## Licence", "", f"{args.license}.", ""])


def searches(config: dict) -> str:
    """Other decodings than greedy that a recognizer's bundle has the parts for, to follow its command.

    >>> searches({"model": {"decoder": None}, "lm": {"lm": "ngram"}, "search": {"lm_weight": 0.5}})
    ';\\n`--decoding beam` asks the language model, which takes several times as long'
    >>> searches({"model": {"decoder": None}, "lm": {"lm": "ngram"}})
    ''
    """
    told, lm = [], config.get("lm")
    if lm and config.get("search", {}).get("lm_weight"):
        needs = "" if lm["lm"] in ("ngram", "seq_rnn") else ", and needs ESPnet"
        told.append(f"`--decoding beam` asks the language model, which takes several times as long{needs}")
    if config["model"].get("decoder"):
        told.append("`--decoding joint --ctc-weight 0.5`, which asks the attention decoder, needs ESPnet")
    return "".join(f";\n{one}" for one in told)


def of_model(decoding: str, stem: str) -> bool:
    """Tell a decoding by the model that is packed, as far as its name tells (ESPnet's inference tag).

    >>> of_model("greedy_asr_model_1epoch", "valid.acc.ave"), of_model("greedy", "valid.acc.ave")
    (False, True)
    """
    return not stem or "_asr_model_" not in decoding or decoding.endswith(f"_asr_model_{stem}")


def what_it_is(bundle: Bundle, energy: dict | None) -> str:
    """One sentence about the model."""
    model = bundle.config["model"]
    if bundle.kind == "recognizer":
        encoder, decoder = (PARTS.get(model.get(part), model.get(part)) for part in ("encoder", "decoder"))
        size = f", {energy['parameters']['model'] / 1e6:.2f} M parameters" if energy else ""
        tokens = f"{len(bundle.tokens)} tokens ({bundle.config['token_type']})"
        heads = f"{decoder} decoder, CTC and attention" if decoder else "CTC"
        return f"Speech recognizer: {encoder} encoder, {heads}, {tokens}{size}."
    kind, name = bundle.kind.capitalize(), SYSTEMS[bundle.kind]
    if model["neuron"] == "none":
        return f"{kind}: the ANN twin of {name}."
    what = " (spiking text-to-speech)" if kind == "Voice" else ""
    return f"{kind}: {name}{what}, neuron {model['neuron']}, {model['steps']} time steps."


@command
def main(argv: list[str] | None = None) -> None:
    """Write the bundle of an experiment as a zip: what it is, weights, tokens, model card, and of a
    recognizer its language model. Returns the exit status."""
    args = parse(argv)
    bundle = Bundle.load(args.exp, model_file=args.model and os.path.relpath(args.model, args.exp))
    args.exp = bundle.folder or args.exp  # where a recipe's folder was named
    if bundle.folder is None or (bundle.kind == "recognizer" and not (args.exp / "config.yaml").is_file()):
        raise ValueError(
            f"{args.exp}: a bundle already, which `{KINDS[bundle.kind]}` opens; copy it, or name "
            "the experiment (exp/NAME) that it was packed from"
        )
    bundle.origin |= {k: v for k in ("command", "corpus") if (v := getattr(args, k))}
    if bundle.kind == "recognizer":
        add_search(bundle, args)
    elif args.lm or args.lm_model or args.decode_config:
        raise ValueError(f"{args.exp} is a {bundle.kind}: --lm and --decode-config are for recognizers")
    bundle.files["README.md"] = model_card(bundle, args).encode()
    bundle.save(args.output, args.half)
    print(f"{args.output}: a {bundle.kind}, {args.output.stat().st_size / 1e6:.1f} MB")
