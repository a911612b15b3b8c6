"""ESPnet's own parts of a recognizer's bundle: encoders of ANN twins, attention decoders, language models."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from functools import partial
from io import StringIO
from typing import Any

import torch

from imlspike.data.keys import construct, unknown_key
from imlspike.data.yaml_file import ConfigError
from imlspike.espnet import register
from imlspike.inference.beam_search import MakeScorer
from imlspike.inference.bundle import Bundle
from imlspike.inference.experiment import SPIKING, effective
from imlspike.inference.recognizer import Recognizer
from imlspike.layers.rounding import round_weights

FROM_ARGUMENTS = {
    "encoder": "iml_spikeformer transformer conformer branchformer e_branchformer multiconv_conformer "
    "contextual_block_transformer contextual_block_conformer rnn vgg_rnn",
    "decoder": "iml_spikeformer transformer lightweight_conv lightweight_conv2d dynamic_conv "
    "dynamic_conv2d rnn",
    "lm": "transformer seq_rnn",
}
"""ESPnet's classes that are built of their arguments alone; others read files or the network where a bundle,
which may be a stranger's, tells them to."""
_YAML = str | int | float | list | None


def build_encoder(name: str, arguments: dict[str, Any], source: str) -> tuple[torch.nn.Module, int]:
    """An encoder of ESPnet's by its key and arguments, and the frames that it needs for one token.

    `source` is named in errors, here and below.

    Raises:
        ConfigError: for a name or an argument that ESPnet doesn't know.
        ImportError: without ESPnet.
    """
    encoder = construct(_class("encoder", name, source), arguments, source)
    from espnet.nets.pytorch_backend.transformer.subsampling import check_short_utt

    return encoder, max(1, check_short_utt(getattr(encoder, "embed", None), 0)[1])


def attention_scorer(bundle: Bundle, recognizer: Recognizer) -> MakeScorer:
    """Return the maker of scorers for a recognizer's attention decoder, which becomes `recognizer.decoder`.

    Raises:
        ConfigError: if the bundle has none that can search; and as `build_encoder`.
    """
    open_attention(bundle, recognizer)
    if not hasattr(recognizer.decoder, "batch_score"):
        told = "no attention decoder that can search; decode it by beam, or set ctc_weight: 1"
        raise ConfigError(f"{bundle.source}: {told}")
    from imlspike.espnet.scorers import decoder_scorer

    return partial(decoder_scorer, recognizer.decoder)


def open_attention(bundle: Bundle, recognizer: Recognizer) -> None:
    """Give a recognizer its attention decoder, if the bundle has one; folded if its encoder is."""
    conf, where = bundle.config["model"], bundle.where("model")
    if "decoder" not in conf:
        return
    arguments = {"vocab_size": len(bundle.tokens), "encoder_output_size": recognizer.encoder.output_size()}
    arguments |= conf["decoder_conf"] or {}
    make = partial(construct, _class("decoder", conf["decoder"], where), arguments, where)
    recognizer.decoder = decoder = bundle.fill(make, bundle.part("decoder."))
    if not recognizer.exact and hasattr(decoder, "reparameterize"):
        decoder.reparameterize()
    round_weights(decoder, bundle.weight_bits)


def lm_scorer_of(
    bundle: Bundle, name: str, arguments: dict[str, Any], states: dict[str, torch.Tensor], source: str
) -> MakeScorer:
    """Return the maker of scorers for an ESPnet language model of this name, arguments and weights."""
    lm = bundle.fill(partial(construct, _class("lm", name, source), arguments, source), states)
    from imlspike.espnet.scorers import lm_scorer

    return partial(lm_scorer, lm)


def complete(bundle: Bundle) -> None:
    """Write out the defaults of ESPnet's parts in a recognizer's bundle, so that none of them can change."""
    model, where = bundle.config["model"], bundle.where("model")
    parts = [(model, part) for part in ("encoder", "decoder") if model.get(part) not in (None, SPIKING)]
    lm = bundle.config.get("lm")
    for config, part in [*parts, *([(lm, "lm")] if lm and lm["lm"] != "ngram" else [])]:
        defaults = effective(_class(part, config[part], where), {})
        defaults = {key: value for key, value in defaults.items() if isinstance(value, _YAML)}
        config[f"{part}_conf"] = defaults | (config[f"{part}_conf"] or {})


def _class(part: str, name: str, source: str) -> type:
    with quiet():
        register()
        from espnet2.tasks import asr, lm
    if str(name).lower() not in FROM_ARGUMENTS[part].split():
        raise ConfigError(f"{source}, {part}: {unknown_key(str(name), FROM_ARGUMENTS[part].split())}")
    return getattr(lm if part == "lm" else asr, f"{part}_choices").get_class(name)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep what ESPnet's import prints and warns of from the user, who can't do anything about it."""
    level = logging.root.level
    with warnings.catch_warnings(), redirect_stdout(StringIO()):
        warnings.simplefilter("ignore")
        logging.root.setLevel(logging.ERROR)
        try:
            yield
        finally:
            logging.root.setLevel(level)
