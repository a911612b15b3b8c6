"""A trained ESPnet recogniser, opened for inference: loaded strictly, wherever it lies now."""

import argparse
import os
from collections.abc import Iterable
from pathlib import Path

import humanfriendly
import torch
import yaml
from torch.nn.utils.rnn import pad_sequence

from imlspike.espnet import register


class Recognizer:
    """What every decoder needs of a recogniser: waveforms to encoder output, tokens to text.

    Args:
        model: ESPnet's `ESPnetASRModel` with a frontend (a recogniser of waveforms).
        args: the experiment's `config.yaml`.
        device: where to run, as torch names it.
        exact: see `load_recognizer`.

    Attributes:
        model: the model in evaluation mode, without its frontend.
        tokenizer: ESPnet's tokenizer of the experiment.
        sampling_rate: of the waveforms, in Hz.

    >>> from imlspike.espnet.recognizer import load_recognizer
    >>> try:
    ...     load_recognizer("exp/none/config.yaml", "exp/none/valid.acc.ave.pth")
    ... except ValueError as error:
    ...     print(error)
    exp/none/config.yaml: no such file; give the config.yaml of an experiment
    """

    def __init__(
        self, model: torch.nn.Module, args: argparse.Namespace, device: str = "cpu", exact: bool = False
    ):
        from espnet2.text.build_tokenizer import build_tokenizer

        self.model = model.to(device).eval()
        for part in (model.encoder, model.decoder):
            if not exact and hasattr(part, "reparameterize"):
                part.reparameterize()
        # The short-time Fourier transform mirrors an utterance at its ends, which padding would hide from it:
        # each utterance goes through the frontend alone, so that its transcript doesn't depend on its batch.
        self.frontend, self.model.frontend = self.model.frontend, None
        self.device = device
        self.alone = exact and torch.device(device).type == "cpu"
        self.min_samples = int(args.frontend_conf.get("n_fft", 512)) // 2 + 1  # less can't be mirrored
        self.peak = args.speech_volume_normalize
        self.sampling_rate = humanfriendly.parse_size(str(args.frontend_conf.get("fs", 16000)))
        self.tokenizer = build_tokenizer(token_type=args.token_type, bpemodel=args.bpemodel)

    def encode(self, waveforms: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """The encoder's output for waveforms of shape (samples,), full scale 1.

        Returns:
            float (B, N, C), padded, and the lengths (B,).

        Raises:
            TooShortUttError: (ESPnet's) if one is too short for the frontend or the subsampling.
            FloatingPointError: if the output isn't finite.
        """
        from espnet.nets.pytorch_backend.transformer.subsampling import TooShortUttError

        shortest = min(map(len, waveforms))
        if shortest < self.min_samples:
            raise TooShortUttError("too short for the frontend", shortest, self.min_samples)
        features = []
        for waveform in waveforms:
            samples = torch.tensor([len(waveform)], device=self.device)
            if self.peak is not None and waveform.any():
                waveform = waveform * (self.peak / waveform.abs().max())
            features.append(self.frontend(waveform.to(self.device)[None], samples)[0][0])
        rows = []
        for batch in [[feature] for feature in features] if self.alone else [features]:
            lengths = torch.tensor([len(feature) for feature in batch], device=self.device)
            encoded, lengths = self.model.encode(pad_sequence(batch, batch_first=True), lengths)
            if isinstance(encoded, tuple):  # with intermediate CTC
                encoded = encoded[0]
            rows += [row[:length] for row, length in zip(encoded, lengths.tolist(), strict=True)]
        if not torch.isfinite(torch.cat(rows)).all():
            raise FloatingPointError("the encoder's output isn't finite; train with a lower learning rate")
        lengths = torch.tensor([len(row) for row in rows], device=self.device)
        return pad_sequence(rows, batch_first=True), lengths

    def text(self, tokens: Iterable[int]) -> str:
        """The text of token numbers, without blanks and <sos/eos> and without white space at its ends."""
        silent = (self.model.blank_id, self.model.eos)
        words = [self.model.token_list[token] for token in tokens if token not in silent]
        return " ".join(self.tokenizer.tokens2text(words).split())  # blanks at an end can't stand in a table


def load_recognizer(
    config: str | os.PathLike, model: str | os.PathLike, device: str = "cpu", exact: bool = False
) -> Recognizer:
    """Open the recogniser of an experiment, also of one that was moved or unpacked elsewhere (`read_args`).

    Args:
        config: `config.yaml` of the experiment.
        model: a model file of it, such as `valid.acc.ave.pth`.
        device: where to run, as torch names it.
        exact: put out what ESPnet's own `asr_inference` does, to the last bit on a CPU. Otherwise an encoder
            or decoder that has `reparameterize()` is folded, and utterances go through the encoder together.
            Both change only the rounding; but where that turns a spike over, the output of a spiking encoder
            differs visibly, and so did 4 of 51 transcripts of a test set.

    Raises:
        ValueError: as `read_args`; also if the model file doesn't hold exactly the parameters that
            `config.yaml` asks for, or if the recogniser takes features, not waveforms.
    """
    args = read_args(config)
    register()
    from espnet2.tasks.asr import ASRTask

    built = ASRTask.build_model(args)
    if built.frontend is None:
        raise ValueError(f"{os.fspath(config)}: a recogniser of features; one of waveforms is needed")
    load_exactly(built, config, model)
    return Recognizer(built, args, device, exact)


def load_lm(
    config: str | os.PathLike, model: str | os.PathLike, tokens: list[str], device: str = "cpu"
) -> torch.nn.Module:
    """Open the language model of an ESPnet experiment, for a recogniser of these `tokens`.

    Raises:
        ValueError: if a file is missing or doesn't fit, or if the model knows other tokens.
    """
    args = read_args(config)
    register()
    from espnet2.tasks.lm import LMTask

    built = LMTask.build_model(args)
    if list(args.token_list) != list(tokens):
        raise ValueError(f"{os.fspath(config)}: a language model of other tokens than the recogniser's")
    load_exactly(built, config, model)
    return built.lm.to(device).eval()


def read_args(config: str | os.PathLike) -> argparse.Namespace:
    """A `config.yaml` that ESPnet wrote, as its tasks take it; the files that it names are searched.

    A `normalize_conf.stats_file`, `bpemodel` or `token_list` that isn't where `config.yaml` says is taken
    from beside `config.yaml`.

    Raises:
        ValueError: if there is no such file, if it isn't a YAML mapping, or if a file that it names is in
            neither place.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = (folder / "config.yaml").write_text("token_list: old/tokens.txt")
    >>> (folder / "tokens.txt").touch()
    >>> read_args(folder / "config.yaml").token_list == str(folder / "tokens.txt")
    True
    """
    try:
        with open(config, encoding="utf-8") as file:
            content = yaml.safe_load(file)
    except FileNotFoundError:
        message = f"{os.fspath(config)}: no such file; give the config.yaml of an experiment"
        raise ValueError(message) from None
    except yaml.YAMLError as error:
        raise ValueError(f"{os.fspath(config)}: not usable as YAML: {error}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{os.fspath(config)}: not the config.yaml of an experiment")
    for key in ("token_list", "bpemodel"):
        if isinstance(content.get(key), str):
            content[key] = _find(content[key], config, key)
    normalize = content.get("normalize_conf") or {}
    if "stats_file" in normalize:
        normalize["stats_file"] = _find(normalize["stats_file"], config, "normalize_conf.stats_file")
    return argparse.Namespace(**content)


def _find(path: str, config: str | os.PathLike, key: str) -> str:
    """`path`, or if it isn't there, the file of that name beside `config`; ValueError if it is in neither."""
    beside = Path(config).parent / Path(path).name
    for place in (Path(path), beside):
        if place.is_file():
            return str(place)
    raise ValueError(
        f"{os.fspath(config)}: {key} is {path}, which isn't there; nor is {beside}: copy it there"
    )


def load_exactly(module: torch.nn.Module, config: str | os.PathLike, path: str | os.PathLike) -> None:
    """Load parameters; unlike ESPnet, which skips what isn't there, fail on a missing or superfluous one.

    Raises:
        ValueError: if the file is missing (those there are are named) or doesn't fit.
    """
    path = Path(path)
    if not path.is_file():
        there = ", ".join(sorted(file.name for file in path.parent.glob("*.pth"))) or "no .pth file"
        raise ValueError(f"{path}: no such model file; in {path.parent} there is {there}")
    try:
        module.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    except RuntimeError as error:
        raise ValueError(f"{path} doesn't belong to {os.fspath(config)}: {error}") from None
