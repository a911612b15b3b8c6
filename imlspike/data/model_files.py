"""Names of the files that an ESPnet training leaves: which average of epochs counts, and what is of it."""

import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from imlspike.data.yaml_file import ConfigError


def criterion(config: Mapping[str, Any]) -> tuple[str, str, str]:
    """The phase, key and direction (min or max) by which a training's epochs are chosen; ESPnet's by default.

    >>> criterion({"best_model_criterion": [["valid", "acc", "max"], ["train", "loss", "min"]]})
    ('valid', 'acc', 'max')
    """
    phase, key, best = (config.get("best_model_criterion") or [["train", "loss", "min"]])[0]
    return phase, key, best


def average(config: Mapping[str, Any], given: str = "") -> str:
    """The model file that counts: `given`, or the average of the epochs that `criterion` chooses."""
    phase, key, _ = criterion(config)
    return given or f"{phase}.{key}.ave.pth"


def suffix(config: Mapping[str, Any], given: str) -> str:
    """The end of the names of folders with a model file's results: empty for the average that counts.

    >>> suffix({}, ""), suffix({}, "train.loss.ave.pth"), suffix({}, "3epoch.pth")
    ('', '', '_3epoch')
    """
    return "" if average(config, given) == average(config) else f"_{Path(given).stem}"


def load_checkpoint(path: Path, way_out: Callable[[], str], weights_only: bool = True) -> dict[str, Any]:
    """Map a training's checkpoint into memory.

    Raises:
        ConfigError: naming a damaged file, with `way_out()`.
    """
    import torch

    try:
        return torch.load(path, map_location="cpu", mmap=True, weights_only=weights_only)
    except (RuntimeError, OSError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        told = str(error).partition("\n")[0]
        raise ConfigError(f"{path}: damaged, can't be read ({told}); {way_out()}") from None
