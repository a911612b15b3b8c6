"""Find the recogniser that a user names: an experiment, a folder that holds one, a zip, a name on the hub."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

import yaml

from imlspike.data.place import find_one, open_place
from imlspike.espnet.decode import average_criterion

EXPECTED = (
    "expected an experiment (a folder with config.yaml and the averaged model, as exp/NAME), a folder that "
    "holds one, a .zip that espnet2.bin.pack made, or a name OWNER/MODEL on the Hugging Face hub"
)


@dataclass(frozen=True)
class Experiment:
    """The files of a trained recogniser: `config.yaml`, the model, and of a pack the language model's two."""

    config: Path
    model: Path
    lm_config: Path | None = None
    lm_file: Path | None = None


def find_experiment(
    path: str | os.PathLike, model_file: str | None = None, cache_dir: str | os.PathLike | None = None
) -> Experiment:
    """The files of the recogniser that `path` names.

    Args:
        path: an experiment's folder; a folder with exactly one trained recogniser in it or in its `exp/`; a
            zip of `espnet2.bin.pack asr` (or of an experiment's folder); or, where there is neither and the
            package huggingface_hub is installed, a model's name on the hub.
        model_file: a file beside `config.yaml`; default: the averaged model of the first
            `best_model_criterion`, or the one that a pack holds.
        cache_dir: where zips are unpacked and models of the hub kept. Default: a temporary folder that is
            removed when Python ends, and the hub's own cache.

    Raises:
        ValueError: saying what was expected and what there is, if there is no such recogniser or several.

    >>> try:
    ...     find_experiment("no/such/folder")
    ... except ValueError as error:
    ...     print(error)
    no/such/folder: no such file or folder; expected an experiment (a folder with config.yaml ...
    """
    folder = open_place(path, EXPECTED, cache_dir)
    packed = _read_meta(folder)
    if packed and model_file is None:
        return packed
    named = os.fspath(path)
    kind = (_is_recogniser, "recogniser", named, EXPECTED)
    config = packed.config if packed else find_one(folder, "config.yaml", *kind)
    return Experiment(config, _model(config, model_file))


def find_lm(experiment: Experiment, folder: str | os.PathLike | None = None) -> tuple[Path, Path]:
    """`config.yaml` and model of the language model that belongs to a recogniser.

    Args:
        experiment: the recogniser.
        folder: the language model's experiment; default: what is packed with the recogniser, or, of a recipe,
            the only trained one beside it, `exp/lm*`.

    Raises:
        ValueError: if there is none or several, saying which.
    """
    if folder is not None:
        config = Path(folder) / "config.yaml"
        if not config.is_file() or not _is_lm(config):
            raise ValueError(f"{os.fspath(folder)}: expected the experiment of a language model, as exp/lm")
        return config, _model(config)
    if experiment.lm_config and experiment.lm_file:
        return experiment.lm_config, experiment.lm_file
    here = experiment.config.parent
    packed = (here / "meta.yaml").is_file()
    beside = [] if packed else sorted(here.parent.glob("lm*/config.yaml"))
    found = [config for config in beside if _is_lm(config)]
    found = [config for config in found if (config.parent / average_criterion(config)).is_file()]
    if len(found) == 1:
        return found[0], _model(found[0])
    if found:
        several = ", ".join(str(config.parent) for config in found)
        raise ValueError(f"{here}: several language models lie beside it, name one of them: {several}")
    where = "is packed with it" if packed else f"lies beside it (as {here.parent}/lm, trained to the end)"
    raise ValueError(f"{here}: no language model {where}; decode without lm_weight, or name one")


def _model(config: Path, model_file: str | None = None) -> Path:
    """A model of an experiment; default: the average for its first criterion."""
    model = config.parent / (model_file or average_criterion(config))
    if not model.is_file():
        there = ", ".join(sorted(file.name for file in config.parent.glob("*.pth"))) or "no .pth file"
        raise ValueError(f"{model}: no such model; there is {there}. Train to the end, or name one of them")
    return model


def _is_lm(config: Path) -> bool:
    """Whether a config.yaml is of ESPnet's LM task."""
    return re.search(r"^lm:", config.read_text(encoding="utf-8"), re.MULTILINE) is not None


def _read_meta(folder: Path) -> Experiment | None:
    """The files that ESPnet's `meta.yaml` names, where a folder was a pack."""
    meta = folder / "meta.yaml"
    if not meta.is_file():
        return None
    content = yaml.safe_load(meta.read_text(encoding="utf-8"))
    named = {**content.get("yaml_files", {}), **content.get("files", {})}
    keys = ("asr_train_config", "asr_model_file", "lm_train_config", "lm_file")
    files = [folder / named[key].lstrip("/") if key in named else None for key in keys]
    if None in files[:2]:
        raise ValueError(
            f"{meta}: names {', '.join(named)}, no asr_train_config and asr_model_file; {EXPECTED}"
        )
    if missing := [file for file in files if file and not file.is_file()]:
        raise ValueError(f"{meta}: names {missing[0]}, which isn't there; copy or pack it again")
    return Experiment(*files)


def _is_recogniser(config: Path) -> bool:
    """Whether a config.yaml is of ESPnet's ASR task (a language model's has no ctc_conf), with a model."""
    if not next(config.parent.glob("*.pth"), None):
        return False
    return re.search(r"^ctc_conf:", config.read_text(encoding="utf-8"), re.MULTILINE) is not None
