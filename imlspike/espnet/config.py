"""One resolved training YAML out of a base, small override files and single settings; every key checked.

The rule, for each layer in turn (base, override files, `key=value` settings):

- a key replaces what was there; a mapping such as `model_conf` is merged key by key;
- except that a layer which names a class (`encoder: transformer`) starts its `encoder_conf` afresh: what
  earlier layers said about another class can't leak into it. So too for decoder, specaug, optim, scheduler.

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
        base: a training YAML.
        overrides: YAML files that say only what differs.
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
    check = _TaskKeys(task)
    config: dict[str, Any] = {}
    for source, layer in layers:
        check.top_level(source, layer)
        for key in layer:
            if key in check.classes:
                config.pop(f"{key}_conf", None)
        merge(config, layer)
        check.constructors(source, layer, config)
    return config


class _TaskKeys:
    """Options that an ESPnet task takes, and the arguments of each class that can be chosen.

    ESPnet's import takes 5 to 20 seconds, so they are kept in the user's cache folder, until ESPnet or
    this package's source changes.
    """

    def __init__(self, name: str):
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
        known = json.loads(file.read_text(encoding="utf-8"))
        self.options, self.classes, self.ctc = known["options"], known["classes"], known["ctc"]

    def top_level(self, source: str, layer: dict[str, Any]) -> None:
        """Raise ConfigError for a key or a class name that ESPnet doesn't know."""
        for key, value in layer.items():
            if key not in self.options:
                raise ConfigError(f"{source}: {unknown_key(key, self.options)}")
            if key in self.classes and value is not None and str(value).lower() not in self.classes[key]:
                text = unknown_key(str(value), self.classes[key]).replace("unknown key", f"{key} can't be", 1)
                raise ConfigError(f"{source}: {text}")
            if key.endswith("_conf") and not isinstance(value, dict | None):
                raise ConfigError(f"{source}: {key} is {value!r}; expected a mapping of arguments")

    def constructors(self, source: str, layer: dict[str, Any], config: dict[str, Any]) -> None:
        """Raise ConfigError for a key in `<name>_conf` of `layer` that the chosen class doesn't take."""
        for name in (*self.classes, "ctc"):
            conf = layer.get(f"{name}_conf") or {}
            if not conf:
                continue
            chosen = "CTC" if name == "ctc" else config.get(name, self.options[name])
            if chosen is None:
                raise ConfigError(f"{source}: {name}_conf without {name}; say which {name} it is for")
            known = self.ctc if name == "ctc" else self.classes[name][str(chosen).lower()]
            for key in conf:
                if known is not None and key not in known:
                    raise ConfigError(f"{source}: {name}_conf of {chosen}: {unknown_key(key, known)}")


def _ask_espnet(name: str) -> dict[str, Any]:
    """Options of a task with defaults where these name a class; classes and the arguments they take."""
    register()
    from espnet2.asr.ctc import CTC
    from espnet2.tasks.abs_task import optim_classes, scheduler_classes

    task = getattr(import_module(f"espnet2.tasks.{name}"), TASKS[name])
    classes = {choices.name: choices.classes for choices in task.class_choices_list}
    classes |= {"optim": optim_classes, "scheduler": scheduler_classes}
    options = {action.dest: action.default for action in task.get_parser()._actions}
    return {
        "options": {key: value if key in classes else None for key, value in options.items()},
        "classes": {key: {one: _keys(cls) for one, cls in found.items()} for key, found in classes.items()},
        "ctc": _keys(CTC),
    }


def _keys(cls: type | None) -> list[str] | None:
    keys = constructor_keys(cls) if cls else None
    return None if keys is None else sorted(keys)
