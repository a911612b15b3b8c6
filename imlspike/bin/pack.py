"""Pack a trained recogniser with its model card into one zip file that ESPnet and imlspike can open.

python -m imlspike.bin.pack exp/quick --output exp/quick/quick.zip
"""

import argparse
import sys
import tempfile
from pathlib import Path

import yaml

from imlspike.analysis.results import gather, table
from imlspike.bin.report import made, notes, surroundings
from imlspike.data.kaldi import read_data_dir

PARTS = {
    "iml_spikeformer": "IML-Spikeformer (spiking)",
    "transformer": "Transformer",
    "conformer": "Conformer",
}


def main(argv: list[str] | None = None) -> int:
    """Write the zip: configuration, model, tokens, statistics, BPE model, model card. Returns the exit
    status."""
    parser = argparse.ArgumentParser(prog="imlspike pack", description=main.__doc__)
    add = parser.add_argument
    add("exp", type=Path, help="experiment folder")
    add("--model", type=Path, help="model file (default: the average of the first best_model_criterion)")
    add("--output", type=Path, required=True, help="the zip file to write")
    add("--decode-config", type=Path, help="YAML of the beam search, packed as decode.yaml")
    add("--lm", type=Path, help="experiment folder of a language model")
    add("--lm-model", type=Path, help="its model file (default: as for --model)")
    add("--train-dir", type=Path, help="data directory it was trained on, to say how much that was")
    add("--corpus", default="", help="the corpus and its licence, in a sentence")
    add("--license", default="apache-2.0", help="of the model (default: %(default)s)")
    add("--primary", choices=("cer", "wer"), default="cer", help="the error rate that counts (default: cer)")
    add("--command", default="", help="the command that trained it, if the experiment doesn't tell")
    args = parser.parse_args(argv)
    from imlspike.espnet.decode import average_criterion
    from imlspike.espnet.pack import pack_recognizer

    try:
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
            names = pack_recognizer(config, model, args.output, lm, extra)
    except (ValueError, OSError) as error:
        print(f"pack: {error}", file=sys.stderr)
        return 1
    print(f"{args.output}: {args.output.stat().st_size / 1e6:.1f} MB, {' '.join(names)}")
    return 0


def model_card(args: argparse.Namespace) -> str:
    """The model card, in Markdown with the head that model hubs read; `args` are the command line's."""
    experiment = gather(args.exp)
    config = yaml.safe_load((args.exp / "config.yaml").read_text(encoding="utf-8"))
    about = {"command": args.command, **surroundings()}
    head = {"license": args.license, "library_name": "espnet", "pipeline_tag": "automatic-speech-recognition"}
    head["tags"] = ["espnet", "audio", "spiking-neural-network", "imlspike"]
    name = args.exp.name
    lines = ["---", yaml.safe_dump(head, sort_keys=False).strip(), "---", "", f"# {name}", ""]
    use = USE.format(zip=args.output.name)
    lines += [what_it_is(config, experiment), "", *data(args), "", use, ""]
    lines += ["## Results", "", table([experiment], [], args.primary), "", notes([experiment]), ""]
    lines += ["## How it was made", "", *made(about, [experiment])]
    if training := experiment["training"]:
        lines += [f"- training: {training['epochs']} epochs, {training['hours']:.1f} hours"]
    settings = args.exp / "train.yaml"
    if settings.is_file():
        lines += ["", "```yaml", settings.read_text(encoding="utf-8").strip(), "```"]
    return "\n".join([*lines, "", "## Licence", "", f"{args.license}.", ""])


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
