"""One resolved training YAML out of a base, small override files and single settings; every key checked.

The rule, for each layer in turn (base, override files, `key=value` settings):

- a key replaces what was there; a mapping such as `model_conf` is merged key by key;
- except that a layer which names a class (`encoder: transformer`) starts its `encoder_conf` afresh: what
  earlier layers said about another class can't leak into it. So too for decoder, specaug, optim, scheduler,
  but not for `model`, whose classes are ESPnet's with further losses: `model_conf` is merged.

So the ANN twin of a spiking recipe is a file of a few lines: `encoder: transformer` and its `encoder_conf`.
"""

import hashlib
import json
import os
from collections.abc import Iterable
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import imlspike
from imlspike.data.files import atomic_write
from imlspike.data.keys import check_choice, constructor_keys, unknown_key
from imlspike.data.yaml_file import ConfigError, merge, parse_setting, read_yaml
from imlspike.espnet import register

TASKS = {"asr": "ASRTask", "tts": "TTSTask"}


def resolve(
    base: str | os.PathLike, overrides: Iterable = (), set: Iterable[str] = (), task: str = "asr"
) -> dict[str, Any]:
    """The configuration that drives a training of an ESPnet task: `base`, then `overrides`, then `set`.

    Args:
        base, overrides: a training YAML, and files that say only what differs.
        set: settings `key=value` with dots for nesting, as "encoder_conf.kappa=0.5"; values are YAML.
        task: of `TASKS`.

    Raises:
        ConfigError: for a key that the task or the chosen class doesn't take, a class that doesn't
            exist, a key that stands twice, or text that isn't a YAML mapping.

    >>> import pathlib, tempfile
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> _ = (folder / "quick.yaml").write_text("encoder: iml_spikeformer\\nencoder_conf: {kappa: 0.45}\\n")
    >>> resolve(folder / "quick.yaml", set=["max_epoch=3", "encoder_conf.levels=4"])
    {'encoder': 'iml_spikeformer', 'encoder_conf': {'kappa': 0.45, 'levels': 4}, 'max_epoch': 3}
    >>> _ = (folder / "twin.yaml").write_text("encoder: transformer\\nencoder_conf: {num_blocks: 6}\\n")
    >>> resolve(folder / "quick.yaml", [folder / "twin.yaml"])
    {'encoder': 'transformer', 'encoder_conf': {'num_blocks': 6}}
    """
    layers = [(os.fspath(path), read_yaml(path)) for path in (base, *overrides)]
    layers += [(f"--set {setting}", parse_setting(setting)) for setting in set]
    known, config = _known(task), {}
    for source, layer in layers:
        for key in layer:
            if key in known["classes"] and key != "model":
                config.pop(f"{key}_conf", None)
        merge(config, layer)
        for key, value in layer.items():
            _check(f"{source}: ", key, value, config, **known)
    return config


def _check(where: str, key: str, value: Any, config: dict[str, Any], options: dict, classes: dict) -> None:
    """Raise ConfigError for a key, a class or an argument of the chosen class that ESPnet doesn't know."""
    if key not in options:
        raise ConfigError(where + unknown_key(key, options))
    if key in classes and value is not None and str(value).lower() not in classes[key]:
        told = unknown_key(str(value), classes[key])
        raise ConfigError(where + told.replace("unknown key", f"{key} can't be", 1))
    if not key.endswith("_conf"):
        return
    if not isinstance(value, dict | None):
        raise ConfigError(f"{where}{key} is {value!r}; expected a mapping of arguments")
    name = key.removesuffix("_conf")
    if not value or name not in classes:
        return
    chosen = "CTC" if name == "ctc" else config.get(name, options[name])
    if chosen is None:
        raise ConfigError(f"{where}{key} without {name}; say which {name} it is for")
    known = classes[name][str(chosen).lower()]
    for argument in value:
        if known is not None and argument not in known:
            raise ConfigError(f"{where}{key} of {chosen}: {unknown_key(argument, known)}")


def _known(name: str) -> dict[str, dict]:
    """Options that an ESPnet task takes, and the arguments of each class that can be chosen.

    ESPnet's import takes 5 to 20 seconds, so they are kept in the user's cache folder, until ESPnet or
    this package's source changes.
    """
    check_choice("task", name, TASKS)
    state = hashlib.sha256(version("espnet").encode())
    source = Path(imlspike.__file__).parent
    for path in sorted([*source.glob("espnet/*.py"), *source.glob("models/*.py")]):
        state.update(path.read_bytes())
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "imlspike")
    file = folder / f"espnet_{name}_{state.hexdigest()[:16]}.json"
    if not file.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_write(file) as out:
            json.dump(_ask_espnet(name), out)
    return json.loads(file.read_text(encoding="utf-8"))


def _ask_espnet(name: str) -> dict[str, dict]:
    """Options of a task with defaults where these name a class; classes and the arguments they take."""
    register()
    from espnet2.asr.ctc import CTC
    from espnet2.tasks.abs_task import optim_classes, scheduler_classes

    task = getattr(import_module(f"espnet2.tasks.{name}"), TASKS[name])
    classes = {choices.name: choices.classes for choices in task.class_choices_list}
    classes |= {"optim": optim_classes, "scheduler": scheduler_classes, "ctc": {"ctc": CTC}}
    options = {action.dest: action.default for action in task.get_parser()._actions}
    return {
        "options": {key: value if key in classes else None for key, value in options.items()},
        "classes": {key: {one: _keys(cls) for one, cls in found.items()} for key, found in classes.items()},
    }


def _keys(cls: type | None) -> list[str] | None:
    keys = constructor_keys(cls) if cls else None
    return None if keys is None else sorted(keys | getattr(cls, "ignored", set()))
