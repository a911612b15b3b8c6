"""The weights of an ESPnet Transformer as first weights of an IML-Spikeformer.

    python -m imlspike.espnet.from_transformer exp/asr_transformer/valid.acc.ave.pth first.pth
    python -m imlspike.espnet asr --config spikeformer.yaml --init_param first.pth ...

The maps of attention, feed-forward and subsampling, the decoder's tokens and output, CTC, and what is in
front of the encoder carry over. Biases that a batch norm takes out again, layer norms and positions don't.
"""

import argparse
import pickle
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from imlspike.data.files import save_checkpoint

BRANCH, MAP = "linear.weight.weight", r"linear_([qkvo])\w*\.weight"  # of a RepLinear; of ESPnet's attention
RULES = {
    r"encoder\.encoders\.(\d+)\.self_attn\." + MAP: rf"encoder.blocks.\1.attention.\2.{BRANCH}",
    r"(decoder)\.decoders\.(\d+)\.(s\w+_attn)\." + MAP: rf"\1.blocks.\2.\3.\4.{BRANCH}",
    r"(\w+)\.\w+coders\.(\d+)\.feed_forward\.w_1\.weight": rf"\1.blocks.\2.feed_forward.expand.{BRANCH}",
    r"(\w+)\.\w+coders\.(\d+)\.feed_forward\.w_2\.weight": rf"\1.blocks.\2.feed_forward.project.{BRANCH}",
    r"encoder\.embed\.out(\.0)?\.weight": f"encoder.embed.linear.{BRANCH}",
    r"encoder\.embed\.conv\.0\.(weight|bias)": r"encoder.embed.stages.0.conv.\1",
    r"encoder\.embed\.conv\.2\.(weight|bias)": r"encoder.embed.stages.1.conv.\1",
    r"encoder\.embed\.conv\.4\.(weight|bias)": r"encoder.embed.stages.2.conv.\1",
    r"decoder\.embed\.0\.weight": "decoder.embed.weight",
    r"(decoder\.output_layer|ctc|frontend|normalize|specaug)\.(.+)": r"\1.\2",
}


def from_transformer(states: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return what an IML-Spikeformer of the same sizes has of an ESPnet model, under its own names."""
    found = {}
    for key, state in states.items():
        for theirs, ours in RULES.items():
            if match := re.fullmatch(theirs, key):
                found[match.expand(ours)] = state
    if "encoder.embed.0.bias" in states:  # input_layer: linear; embed has no bias
        found["encoder.embed.linear." + BRANCH] = states["encoder.embed.0.weight"]
    first, out = found.get("encoder.embed.stages.0.conv.weight"), f"encoder.embed.linear.{BRANCH}"
    if first is not None and first.dim() == 3:  # conv1d2, here a convolution with one frequency
        found |= {key: state[..., None] for key, state in found.items() if state.dim() == 3}
    if first is not None and out in found:  # channels of a frequency lie side by side here
        found[out] = found[out].unflatten(1, (len(first), -1)).transpose(1, 2).flatten(1)
    return found


def main(argv: Sequence[str] | None = None) -> None:
    """Read ESPnet's model file, write ours."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model", type=Path, help="ESPnet's model file, not a checkpoint.pth")
    parser.add_argument("out", type=Path, help="for --init_param")
    args = parser.parse_args(argv)
    try:
        found = from_transformer(torch.load(args.model, map_location="cpu", weights_only=True))
    except (OSError, pickle.UnpicklingError, EOFError, RuntimeError, AttributeError) as error:
        parser.error(f"{args.model}: not readable as a model ({error})")
    if not any(key.startswith("encoder.blocks.") for key in found):
        told = "holds no encoder of ESPnet's Transformer; expected a model file as valid.acc.ave.pth"
        parser.error(f"{args.model} {told} (of our own kind: --init_param takes it as it is)")
    save_checkpoint(args.out, partial(torch.save, found))


if __name__ == "__main__":
    main()
