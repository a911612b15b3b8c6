"""Find the recogniser that a user names: an experiment, a folder that holds one, a zip, a name on the hub."""

import atexit
import hashlib
import os
import re
import shutil
import tempfile
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import yaml

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
    place = Path(path)
    if place.is_file():
        folder = unpack(place, cache_dir)
    elif place.is_dir():
        folder = place
    else:
        folder = _from_hub(os.fspath(path), cache_dir)
    packed = _read_meta(folder)
    if packed and model_file is None:
        return packed
    config = packed.config if packed else _only_config(folder, os.fspath(path))
    model = config.parent / (model_file or average_criterion(config))
    if not model.is_file():
        there = ", ".join(sorted(file.name for file in config.parent.glob("*.pth"))) or "no .pth file"
        raise ValueError(f"{model}: no such model; there is {there}. Train to the end, or name one of them")
    return Experiment(config, model)


def unpack(path: str | os.PathLike, cache_dir: str | os.PathLike | None = None) -> Path:
    """Unpack a zip, whole or not at all, into a folder of its own under `cache_dir`; once for each content.

    Returns:
        The folder.

    Raises:
        ValueError: for a file that isn't a zip or is damaged.
    """
    path = Path(path)
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path}: not a zip file; {EXPECTED}")
    if cache_dir is None:
        cache_dir = tempfile.mkdtemp(prefix="imlspike-")
        atexit.register(shutil.rmtree, cache_dir, ignore_errors=True)
    with zipfile.ZipFile(path) as archive:
        content = repr([(member.filename, member.CRC, member.file_size) for member in archive.infolist()])
    target = Path(cache_dir) / f"{path.stem}-{hashlib.sha256(content.encode()).hexdigest()[:16]}"
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.stem}.", dir=target.parent))
    try:
        with zipfile.ZipFile(path) as archive:
            archive.extractall(temporary)
        temporary.chmod(0o755)
        os.rename(temporary, target)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise ValueError(f"{path}: damaged ({error}); copy or pack it again") from None
    except OSError:
        if not target.is_dir():  # otherwise another process was quicker
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return target


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


def _only_config(folder: Path, named: str) -> Path:
    """The config.yaml of the only recogniser of a folder."""
    if (folder / "config.yaml").is_file():
        return folder / "config.yaml"
    found = [
        config
        for pattern in ("*/config.yaml", "exp/*/config.yaml")
        for config in sorted(folder.glob(pattern))
        if next(config.parent.glob("*.pth"), None) and _is_recogniser(config)
    ]
    if len(found) == 1:
        return found[0]
    if found:
        several = ", ".join(str(config.parent) for config in found)
        raise ValueError(f"{named}: holds several recognisers, name one of them: {several}")
    inside = ", ".join(sorted(child.name for child in folder.iterdir())[:10]) or "nothing"
    raise ValueError(f"{named}: no trained recogniser here (there is {inside}); {EXPECTED}")


def _is_recogniser(config: Path) -> bool:
    """Whether a config.yaml is of ESPnet's ASR task; a language model's has no ctc_conf."""
    return re.search(r"^ctc_conf:", config.read_text(encoding="utf-8"), re.MULTILINE) is not None


def _from_hub(name: str, cache_dir: str | os.PathLike | None) -> Path:
    """A model of the Hugging Face hub, in the hub's cache or in `cache_dir`."""
    owner, _, model = name.partition("/")
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name) or not owner.strip(".") or Path(owner).exists():
        raise ValueError(f"{name}: no such file or folder; {EXPECTED}")
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise ValueError(
            f"{name}: no such file or folder; {EXPECTED} (for the last: pip install huggingface_hub)"
        ) from None
    try:
        return Path(snapshot_download(name, cache_dir=cache_dir))
    except Exception as error:  # the hub's own kinds, and those of the network below it
        message = f"{name}: no such file or folder, nor to be had from the hub ({error}); {EXPECTED}"
        raise ValueError(message) from error
