"""Files that are never half written, folders that one training has for itself, Kaldi's `key value` tables."""

import fcntl
import logging
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

# `logging.warning`, called before ESPnet sets up the log, would set it up itself, for warnings only.
_log = logging.getLogger(__name__)


@contextmanager
def atomic_write(path: str | os.PathLike, mode: str = "w") -> Iterator[IO]:
    """Open `path` for writing so that a killed or failed run leaves the old file or the new one, never a
    part of it.

    What is written goes to a temporary name in the same folder, reaches the disk (fsync) and is renamed onto
    `path` when the block ends. On an exception the temporary file is removed and the old file stays. A
    symbolic link keeps pointing where it did; its target is replaced. Text is UTF-8, newlines as written.

    Args:
        path: the file to replace; its folder must exist.
        mode: "w" for text or "wb" for bytes.

    Raises:
        ValueError: for any other mode (appending in place can't be atomic).

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "a.txt"
    >>> with atomic_write(path) as out:
    ...     _ = out.write("one line")
    >>> path.read_text()
    'one line'
    """
    if mode not in ("w", "wb"):
        raise ValueError(f"atomic_write({os.fspath(path)!r}): mode is {mode!r}; expected 'w' or 'wb'")
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f".{target.name[:100]}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    text = {} if "b" in mode else {"encoding": "utf-8", "newline": ""}
    try:
        with open(temporary, mode.replace("w", "x"), **text) as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def save_checkpoint(path: str | os.PathLike, write: Callable[[IO], object]) -> None:
    """Have `write` fill the file `path`, which is then the old one or the new one, never a part.

    Raises:
        OSError: if the file can't be written whole; names it and the space left.
    """
    try:
        with atomic_write(path, "wb") as out:
            write(out)
    except (OSError, RuntimeError) as error:
        folder = Path(path).parent
        free = f"{shutil.disk_usage(folder).free / 1e6:.0f} MB free" if folder.is_dir() else "no such folder"
        raise OSError(
            f"couldn't write {os.fspath(path)} ({free}): {error}. The file that was there before is "
            "unchanged. Make room and run the same command again: training goes on from the last checkpoint"
        ) from error


@contextmanager
def sole_training(folder: Path) -> Iterator[None]:
    """Within the block no other process trains in `folder`, however it was started; the file `.training` is
    locked.

    The lock goes with the process, so a killed training leaves none behind. Where the file system has no
    locks, there is a warning and no protection.

    Raises:
        RuntimeError: if another process trains there.

    >>> import tempfile
    >>> with sole_training(folder := Path(tempfile.mkdtemp())), sole_training(folder):  # doctest: +ELLIPSIS
    ...     pass
    Traceback (most recent call last):
    ...
    RuntimeError: another process is training in ...; wait for it or end it
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".training", "a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RuntimeError(f"another process is training in {folder}; wait for it or end it") from None
        except OSError as error:
            _log.warning(f"{lock.name} can't be locked ({error}): see to it that nothing else trains there")
        yield


def read_kaldi(path: str | os.PathLike) -> dict[str, str]:
    """Read a Kaldi table (`text`, `wav.scp`, `utt2spk`, ...): one `key value` a line; the value may be empty.

    Raises:
        ValueError: naming file and line for a key that stands twice, an empty line, or bytes that aren't
            UTF-8.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "text"
    >>> write_kaldi(path, {"b": "two words", "a": ""})
    >>> read_kaldi(path)
    {'a': '', 'b': 'two words'}
    """
    table: dict[str, str] = {}
    lines = Path(path).read_bytes().removesuffix(b"\n").split(b"\n")
    for number, raw in enumerate([] if lines == [b""] else lines, start=1):
        where = f"{os.fspath(path)}, line {number}"
        try:
            line = raw.decode("utf-8").strip(" \t\r")
        except UnicodeDecodeError as error:
            raise ValueError(f"{where}: not UTF-8 ({error.reason}); convert the file to UTF-8") from None
        if not line:
            raise ValueError(f"{where}: empty line; expected 'key value'")
        key, *value = re.split(r"[ \t]+", line, maxsplit=1)
        if key in table:
            raise ValueError(f"{where}: key {key!r} stands twice; remove or rename one of the two lines")
        table[key] = value[0] if value else ""
    return table


def write_kaldi(path: str | os.PathLike, table: Mapping[str, str]) -> None:
    """Write a Kaldi table, sorted by key as Kaldi's C locale sorts, atomically.

    Raises:
        ValueError: for a key that is empty or holds white space, and for a value with a line break or with
            blanks at its ends: they would not read back as written.

    >>> write_kaldi("text", {"two words": "x"})
    Traceback (most recent call last):
    ValueError: text: key 'two words' must be one word without white space
    """
    for key, value in table.items():
        if not key or re.search(r"\s", key):
            raise ValueError(f"{os.fspath(path)}: key {key!r} must be one word without white space")
        if value != value.strip(" \t\r") or "\n" in value:
            raise ValueError(f"{os.fspath(path)}: {key!r}: blanks at the ends or a line break in {value!r}")
    with atomic_write(path) as out:
        out.writelines(f"{key} {table[key]}".rstrip(" ") + "\n" for key in sorted(table))
