"""A trained vocoder or voice as one zip file with everything that it needs to run elsewhere."""

import io
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml

from imlspike.data.files import atomic_write
from imlspike.inference.vocoder import Vocoder
from imlspike.models.trained_voice import load_voice

# Of a voice's config.yaml, what the model is; the rest tells where its data were.
OF_THE_VOICE = ("token_list", "token_type", "tts", "feats_", "pitch_", "energy_", "normalize", "version")


def halved(states: Mapping[str, Any]) -> dict[str, Any]:
    """A model's states with all weights of two dimensions or more in fp16; biases and statistics stay.

    They come back as fp32 where a model loads them. A weight is off by at most 0.05 % then, or below 6e-5 by
    3e-8.

    >>> states = halved({"weight": torch.full((2, 2), 1 / 3), "bias": torch.zeros(2), "steps": 3})
    >>> states["weight"].dtype, states["bias"].dtype, states["steps"]
    (torch.float16, torch.float32, 3)
    """

    def half(value):
        large = isinstance(value, torch.Tensor) and value.is_floating_point() and value.ndim > 1
        return value.half() if large else value

    return {key: half(value) for key, value in states.items()}


def model_bytes(file: str | os.PathLike, half: bool) -> bytes:
    """The content of a model file, with `half` with its weights in fp16."""
    if not half:
        return Path(file).read_bytes()
    content = io.BytesIO()
    torch.save(halved(torch.load(file, map_location="cpu", weights_only=True)), content)
    return content.getvalue()


def kind_of(exp: Path) -> str:
    """What an experiment's folder holds: "vocoder", "voice" or "recogniser".

    >>> kind_of(Path("no/such/folder"))
    Traceback (most recent call last):
    ...
    ValueError: no/such/folder: no generator.yaml and no config.yaml; expected an experiment's folder
    """
    if (exp / "generator.yaml").is_file():
        return "vocoder"
    config = exp / "config.yaml"
    if not config.is_file():
        raise ValueError(f"{exp}: no generator.yaml and no config.yaml; expected an experiment's folder")
    lines = config.read_text(encoding="utf-8").splitlines()
    return "voice" if any(line.startswith("tts:") for line in lines) else "recogniser"


def pack_vocoder(exp: Path, half: bool = False) -> dict[str, bytes]:
    """Name to content of what `Vocoder.from_pretrained` opens: generator.yaml and generator.pth.

    Raises:
        ValueError: no such vocoder.
    """
    Vocoder.from_pretrained(exp)  # what can't be opened isn't packed
    return {
        "generator.yaml": (exp / "generator.yaml").read_bytes(),
        "generator.pth": model_bytes(exp / "generator.pth", half),
    }


def pack_voice(exp: Path, model_file: str | None = None, half: bool = False) -> dict[str, bytes]:
    """Name to content of what `Text2Speech.from_pretrained` opens: config.yaml, voice.yaml and the model.

    config.yaml holds what the model is, without the files that it was trained on.

    Raises:
        ValueError: no such voice.
    """
    voice = load_voice(exp, model_file)
    config = {key: value for key, value in voice.config.items() if key.startswith(OF_THE_VOICE)}
    for key in ("normalize_conf", "pitch_normalize_conf", "energy_normalize_conf"):
        config[key] = {k: v for k, v in (config.get(key) or {}).items() if k != "stats_file"}
    about = {"front_end": voice.front_end, "model_file": "model.pth", "speakers": list(voice.speakers)}
    return {
        "config.yaml": _yaml(config),
        "voice.yaml": _yaml({key: value for key, value in about.items() if value}),
        "model.pth": model_bytes(voice.model_file, half),
    }


def _yaml(content: dict) -> bytes:
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True).encode()


def write_zip(output: Path, files: Mapping[str, bytes]) -> None:
    """Write files of these names and contents as one zip, whole or not at all; equal files, equal zip.

    Raises:
        ValueError: `output` isn't the name of a zip file.

    >>> write_zip(Path("voice.tar"), {})
    Traceback (most recent call last):
    ...
    ValueError: voice.tar: expected a name that ends in .zip
    """
    if output.suffix != ".zip":
        raise ValueError(f"{output}: expected a name that ends in .zip")
    output.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(output, "wb") as out, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
