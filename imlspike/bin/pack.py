"""Pack a trained recogniser, voice or vocoder with its model card into one zip file that imlspike opens.

python -m imlspike.bin.pack exp/quick --output exp/quick/quick.zip
python -m imlspike.bin.pack exp/spikevoice --output voice.zip --half
"""

import argparse
import sys
import tempfile
from pathlib import Path

import yaml

from imlspike.analysis.results import gather, table
from imlspike.bin.report import made, made_on, notes, surroundings
from imlspike.data.kaldi import read_data_dir
from imlspike.inference.packing import kind_of, model_bytes, pack_vocoder, pack_voice, write_zip

PARTS = {
    "iml_spikeformer": "IML-Spikeformer (spiking)",
    "transformer": "Transformer",
    "conformer": "Conformer",
}


def main(argv: list[str] | None = None) -> int:
    """Write the zip: configuration, model, model card; of a recogniser, which ESPnet opens too, also tokens,
    statistics, BPE model and language model. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="imlspike pack", description=main.__doc__)
    add = parser.add_argument
    add("exp", type=Path, help="experiment folder")
    add("--model", type=Path, help="model file (default: the average of the first best_model_criterion)")
    add("--output", type=Path, required=True, help="the zip file to write")
    add("--half", action="store_true", help="weights in fp16: half the size, rounded at the 4th digit")
    add("--decode-config", type=Path, help="recogniser: YAML of the beam search, packed as decode.yaml")
    add("--lm", type=Path, help="recogniser: experiment folder of a language model")
    add("--lm-model", type=Path, help="its model file (default: as for --model)")
    add("--train-dir", type=Path, help="data directory it was trained on, to say how much that was")
    add("--corpus", default="", help="the corpus and its licence, in a sentence")
    add("--license", default="apache-2.0", help="of the model (default: %(default)s)")
    add("--primary", choices=("cer", "wer"), default="cer", help="the error rate that counts (default: cer)")
    add("--command", default="", help="the command that trained it (default: what the experiment tells)")
    args = parser.parse_args(argv)
    try:
        kind = kind_of(args.exp)
        names = pack_recogniser(args) if kind == "recogniser" else pack_synthesis(args, kind)
    except (ValueError, OSError) as error:
        print(f"pack: {error}", file=sys.stderr)
        return 1
    print(f"{args.output}: {args.output.stat().st_size / 1e6:.1f} MB, {' '.join(names)}")
    return 0


def pack_recogniser(args: argparse.Namespace) -> list[str]:
    """Write a recogniser's zip; the names in it."""
    from imlspike.espnet.decode import average_criterion
    from imlspike.espnet.pack import pack_recognizer

    config = args.exp / "config.yaml"
    model = args.model or args.exp / average_criterion(config)
    lm = None
    if args.lm:
        lm_config = args.lm / "config.yaml"
        lm = lm_config, args.lm_model or args.lm / average_criterion(lm_config)
    with tempfile.TemporaryDirectory() as folder:
        card = Path(folder) / "README.md"
        card.write_text(model_card(args), encoding="utf-8")
        extra = {"README.md": card}
        if args.decode_config:
            extra["decode.yaml"] = args.decode_config
        if args.half:
            half = Path(folder) / model.name
            half.write_bytes(model_bytes(model, half=True))
            model = half
        return pack_recognizer(config, model, args.output, lm, extra)


def pack_synthesis(args: argparse.Namespace, kind: str) -> list[str]:
    """Write the zip of a voice or vocoder; the names in it."""
    if args.lm or args.lm_model or args.decode_config:
        raise ValueError(f"{args.exp} is a {kind}: --lm, --lm-model and --decode-config are for recognisers")
    if kind == "vocoder":
        files = pack_vocoder(args.exp, args.half)
    else:
        files = pack_voice(args.exp, args.model and args.model.name, args.half)
    write_zip(args.output, files | {"README.md": synthesis_card(args, kind, files).encode()})
    return [*files, "README.md"]


def synthesis_card(args: argparse.Namespace, kind: str, files: dict[str, bytes]) -> str:
    """The model card of a voice or vocoder that is packed as these files."""
    about, config = surroundings(), yaml.safe_load(next(iter(files.values())))
    model, task = config, "audio-to-audio"
    if kind == "voice":
        model, task = config["tts_conf"], "text-to-speech"
    neuron = model.get("neuron", "lif")
    name, what = SYSTEMS[kind]
    if neuron == "none":
        what = f"{kind.capitalize()}: the ANN twin of {name}."
    else:
        what = f"{what}, neuron {neuron}, {model.get('steps', 4)} time steps."
    command = args.exp / "command"
    told = args.command or (command.read_text(encoding="utf-8").strip() if command.is_file() else "")
    use = USE_OF[kind].format(zip=args.output.name)
    lines = [*title(args, ["imlspike"], task), what, "", *data(args), "", use]
    lines += ["", "## How it was made", "", *([f"- command: `{told}`"] if told else [])]
    lines += [f"- git: {about['git']}", *made_on(about)]
    shown = yaml.safe_dump({k: v for k, v in config.items() if k != "token_list"}, sort_keys=False)
    return "\n".join([*lines, "", "```yaml", shown.strip(), "```", "", *licence(args)])


def title(args: argparse.Namespace, libraries: list[str], task: str) -> list[str]:
    """The head of a card, which model hubs read, and its title; it names the library that opens it first."""
    head = {"license": args.license, "library_name": libraries[0], "pipeline_tag": task}
    head["tags"] = ["audio", "spiking-neural-network", *libraries]
    return ["---", yaml.safe_dump(head, sort_keys=False).strip(), "---", "", f"# {args.exp.name}", ""]


def licence(args: argparse.Namespace) -> list[str]:
    """The end of a card; with --half it says so."""
    half = ["Weights of two dimensions or more are rounded to fp16.", ""] if args.half else []
    return [*half, "## Licence", "", f"{args.license}.", ""]


def model_card(args: argparse.Namespace) -> str:
    """The model card, in Markdown with the head that model hubs read; `args` are the command line's."""
    experiment = gather(args.exp)
    if args.model:  # error rates of another model file are none of this one's
        mine = f"_asr_model_{args.model.stem}"
        experiment["scores"] = [
            score
            for score in experiment["scores"]
            if score["decoding"].endswith(mine) or "_asr_model_" not in score["decoding"]
        ]
    config = yaml.safe_load((args.exp / "config.yaml").read_text(encoding="utf-8"))
    about = {"command": args.command, **surroundings()}
    lines = title(args, ["espnet", "imlspike"], "automatic-speech-recognition")
    use = USE.format(zip=args.output.name)
    lines += [what_it_is(config, experiment), "", *data(args), "", use, ""]
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

Or `imlspike transcribe`; its `--help` tells how. ESPnet's own `Speech2Text` opens what
`espnet2.main_funcs.pack_funcs.unpack` unpacks, after `imlspike.espnet.register()`."""


def what_it_is(config: dict, experiment: dict) -> str:
    """One sentence about the model.

    >>> config = {"encoder": "iml_spikeformer", "decoder": "rnn", "token_type": "char", "token_list": ["a"]}
    >>> what_it_is(config, {"energy": None})
    'Speech recogniser: IML-Spikeformer (spiking) encoder, rnn decoder, CTC and attention, 1 tokens (char).'
    """
    encoder, decoder = (PARTS.get(config[part], config[part]) for part in ("encoder", "decoder"))
    size = ""
    if experiment["energy"]:
        size = f", {experiment['energy']['parameters']['model'] / 1e6:.2f} M parameters"
    tokens = f"{len(config['token_list'])} tokens ({config['token_type']})"
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
