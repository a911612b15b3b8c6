"""Utterances that can be trained on: neither too short nor too long, and long enough for their transcript."""

import os
from collections.abc import Sequence
from itertools import pairwise

from imlspike.data.kaldi import Utterance, read_data_dir, read_excluded, write_data_dir
from imlspike.data.keys import check_choice
from imlspike.text.tokens import Tokenize

# ESPnet's input layers as (kernel, stride) along time, without padding. The layers know them too, but data
# imports no network.
SUBSAMPLING: dict[str, tuple[tuple[int, int], ...]] = {
    "conv1d2": ((3, 1), (3, 2)),
    "conv2d": ((3, 2), (3, 2)),
    "conv2d1": ((3, 1), (3, 1)),
    "conv2d2": ((3, 2), (3, 1)),
    "conv2d6": ((3, 2), (5, 3)),
    "conv2d8": ((3, 2), (3, 2), (3, 2)),
}
EACH_FRAME = ("linear", "embed", "wav2vec", None)  # ESPnet's input layers that make a token of each frame
VOICE = "voice"  # in place of an input layer: every symbol is spoken for at least one frame


def feature_frames(samples: int, hop: int = 160) -> int:
    """Return the frames of ESPnet's centered short-time Fourier transform."""
    return samples // hop + 1


def encoder_frames(frames: int, input_layer: str = "conv2d") -> int:
    """Return the frames that ESPnet's subsampling leaves of `frames`; 0 if too few for its kernels."""
    check_choice("input_layer", input_layer, (*SUBSAMPLING, EACH_FRAME[0]))
    for kernel, stride in SUBSAMPLING.get(input_layer, ()):
        frames = max(0, (frames - kernel) // stride + 1)
    return frames


def ctc_frames(tokens: Sequence) -> int:
    """Return the fewest frames of a finite CTC loss: one a token, a blank between equal neighbors."""
    return len(tokens) + sum(a == b for a, b in pairwise(tokens))


def fault(
    utterance: Utterance,
    tokenize: Tokenize,
    input_layer: str | None = "conv2d",
    min_seconds: float = 0.0,
    max_seconds: float = float("inf"),
    sampling_rate: int = 16000,
    hop: int = 160,
) -> str:
    """The reason why an utterance can't be trained on, or "".

    Args:
        tokenize: text -> tokens, from `imlspike.text.tokens.load_tokenizer`.
        input_layer: the encoder's subsampling; `VOICE`: frames are those of the mel, and each token takes
            one or more; None: only durations are looked at.
        min_seconds, max_seconds: limits of duration, both allowed themselves.
        sampling_rate: in Hz; hop: of the features, in samples.
    """
    if not min_seconds <= utterance.seconds <= max_seconds:
        return f"{utterance.seconds:.2f} s; allowed are {min_seconds} to {max_seconds} s"
    if input_layer is None:
        return ""
    tokens = tokenize(utterance.text)
    frames = feature_frames(round(utterance.seconds * sampling_rate), hop)
    if input_layer == VOICE:
        given, needed, wants = "of mel", len(tokens), "a voice"
    else:
        frames = encoder_frames(frames, input_layer)
        given, needed, wants = f"after {input_layer}", max(1, ctc_frames(tokens)), "CTC"
    if frames >= needed:
        return ""
    given = f"{utterance.seconds:.2f} s give {frames} frames {given}"
    return f"too short for its transcript: {given}, {wants} needs {needed} for {len(tokens)} tokens"


def filter_data_dir(
    data_dir: str | os.PathLike, output_dir: str | os.PathLike, tokenize: Tokenize, **limits
) -> tuple[list[Utterance], dict[str, str]]:
    """Copy a data directory without the utterances that have a `fault` (see there for `limits`).

    They go to `output_dir/excluded.tsv`, below what was left out before. Both directories may be the same.

    Returns: (utterances kept, utterance -> reason for those left out here); ValueError if nothing is left.
    """
    utterances = read_data_dir(data_dir)
    reasons = {u.id: reason for u in utterances if (reason := fault(u, tokenize, **limits))}
    kept = [u for u in utterances if u.id not in reasons]
    if not kept:
        name, reason = next(iter(reasons.items()), ("none", "the directory is empty"))
        raise ValueError(f"{data_dir}: no utterance is left; {name}: {reason}")
    write_data_dir(output_dir, kept, read_excluded(data_dir) | reasons)
    return kept, reasons
