"""The folder that a user means by a path, a zip, or a model's name on the Hugging Face hub."""

import atexit
import hashlib
import os
import re
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path


def open_place(path: str | os.PathLike, expected: str, cache_dir: str | os.PathLike | None = None) -> Path:
    """The folder that `path` names, unpacked or fetched if need be.

    Args:
        path: a folder; a zip; or, where there is neither and the package huggingface_hub is installed, a
            model's name on the hub.
        expected: what errors say was expected, as "expected an experiment (...)".
        cache_dir: where zips are unpacked and models of the hub kept. Default: a temporary folder that is
            removed when Python ends, and the hub's own cache.

    Raises:
        ValueError: if there is nothing of the kind, saying what was expected.

    >>> open_place("no/such/folder", "expected a folder")
    Traceback (most recent call last):
    ValueError: no/such/folder: no such file or folder; expected a folder
    """
    place = Path(path)
    if place.is_file():
        return unpack(place, expected, cache_dir)
    return place if place.is_dir() else _from_hub(os.fspath(path), expected, cache_dir)


def unpack(path: str | os.PathLike, expected: str, cache_dir: str | os.PathLike | None = None) -> Path:
    """Unpack a zip, whole or not at all, into a folder of its own under `cache_dir`; once for each content.

    Args:
        path, expected, cache_dir: as for `open_place`.

    Returns:
        The folder.

    Raises:
        ValueError: for a file that isn't a zip or is damaged.
    """
    path = Path(path)
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path}: not a zip file; {expected}")
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


def find_one(
    folder: Path, marker: str, accept: Callable[[Path], bool], kind: str, named: str, expected: str
) -> Path:
    """The one file `marker` that stands for a trained model of a folder: in it, in `*/` or in `exp/*/`.

    Args:
        folder: where to look.
        marker: the file's name, as "config.yaml".
        accept: whether a marker below the folder is of the kind looked for, and trained.
        kind: what is looked for, as "recogniser"; `named`: the folder as the user named it; `expected`: as
            for `open_place`. All for errors.

    Raises:
        ValueError: if there is none, or several.
    """
    if (folder / marker).is_file():
        return folder / marker
    below = [path for pattern in ("*", "exp/*") for path in sorted(folder.glob(f"{pattern}/{marker}"))]
    found = [path for path in below if accept(path)]
    if len(found) == 1:
        return found[0]
    if found:
        several = ", ".join(str(path.parent) for path in found)
        raise ValueError(f"{named}: holds several {kind}s, name one of them: {several}")
    inside = ", ".join(sorted(child.name for child in folder.iterdir())[:10]) or "nothing"
    raise ValueError(f"{named}: no trained {kind} here (there is {inside}); {expected}")


def _from_hub(name: str, expected: str, cache_dir: str | os.PathLike | None) -> Path:
    """A model of the Hugging Face hub, in the hub's cache or in `cache_dir`."""
    owner, _, model = name.partition("/")
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name) or not owner.strip(".") or Path(owner).exists():
        raise ValueError(f"{name}: no such file or folder; {expected}")
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise ValueError(
            f"{name}: no such file or folder; {expected} (for the last: pip install huggingface_hub)"
        ) from None
    try:
        return Path(snapshot_download(name, cache_dir=cache_dir))
    except Exception as error:  # the hub's own kinds, and those of the network below it
        message = f"{name}: no such file or folder, nor to be had from the hub ({error}); {expected}"
        raise ValueError(message) from error
