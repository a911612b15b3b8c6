"""Write a trained recognizer, vocoder or voice as ONNX, for programs without torch.

imlspike export pretrained/recogniser.zip --output onnx
imlspike transcribe interview.wav --model onnx --engine onnx
"""

import argparse

from imlspike.bin._command import EPILOG, command, number, teller
from imlspike.bin._files import output_dir

INT8 = "weights int8, spikes uint8, integer products"


@command
def main(argv=None) -> int:
    """Export what the command line names."""
    parser = argparse.ArgumentParser(prog="imlspike export", description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("model", help="a bundle (folder or .zip), experiment, or OWNER/MODEL on the hub")
    add("--output", required=True, type=output_dir, metavar="DIR", help="folder for .onnx and tokens.txt")
    add("--int8", action="store_true", help=f"of a recognizer: {INT8}; the file is model.int8.onnx")
    told = "of a recognizer of streams: a step with so many tokens of look-ahead, into stream.onnx"
    add("--look-ahead", type=number(0, 1000, int), metavar="TOKENS", help=told)
    add("--overwrite", action="store_true", help="replace files of these names that are in DIR")
    parser.epilog = EPILOG
    args = parser.parse_args(argv)
    from imlspike.export.bundles import export_bundle
    from imlspike.inference import Bundle

    bundle = Bundle.load(args.model)
    say = teller("export")
    for path in export_bundle(bundle, args.output, args.int8, args.look_ahead, args.overwrite, say):
        say(f"{path}: {path.stat().st_size / 1e6:.1f} MB")
    return 0
