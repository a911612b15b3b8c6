"""Names of the files that an ESPnet training leaves: which average of epochs counts, and what is of it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any


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
