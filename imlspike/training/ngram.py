"""Training of an n-gram language model: it counts."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from imlspike.data.files import atomic_write, make_folder, read_kaldi
from imlspike.data.yaml_file import write_yaml
from imlspike.inference.ngram import NGramLanguageModel
from imlspike.inference.recognizer import Tokens
from imlspike.text.tokens import read_tokens


def train(folder: str, model_file: str, config: Mapping[str, Any], train_text: str, test_text: str) -> None:
    """Fit a model and write it as an experiment, with ``perplexity/ppl`` of a token of the test text.

    Args:
        folder: of the experiment: config.yaml and the model file, as ESPnet's LM task leaves them.
        model_file: path of the model file, in it.
        config: ``lm: ngram``, ``lm_conf`` with ``order`` and ``discount``, and the tokens as ESPnet's tasks
            have them: ``token_type``, ``token_list`` (a file), ``bpemodel``.
        train_text, test_text: Kaldi texts.
    """
    names, bpe = read_tokens(config["token_list"]), config.get("bpemodel")
    tokens = Tokens(names, config["token_type"], bpe and Path(bpe).read_bytes())
    said = ([tokens.numbers(text) for text in read_kaldi(one).values()] for one in (train_text, test_text))
    model = NGramLanguageModel.fit(next(said), len(names), **config.get("lm_conf") or {})
    conf = {"order": model.order, "ngrams": len(model.ngrams), "discount": model.discount}
    make_folder(Path(folder) / "perplexity")
    write_yaml(Path(folder) / "config.yaml", dict(config) | {"lm_conf": conf, "token_list": names})
    with atomic_write(model_file, "wb") as out:
        torch.save({f"lm.{key}": state for key, state in model.state_dict().items()}, out)
    with atomic_write(Path(folder) / "perplexity/ppl") as out:
        out.write(f"{model.perplexity(next(said))}\n")
