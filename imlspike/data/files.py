"""Files that are never half written, folders that one training has for itself, Kaldi's `key value` tables."""

import errno
import fcntl
import logging
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

# `logging.warning`, called before ESPnet sets up the log, would set it up itself, for warnings only.
_log = logging.getLogger(__name__)
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class OutputError(OSError):
    """An output that can't be written; as text it tells which, what is in the way, and the way out.

    >>> print(OutputError(errno.EACCES, "no right to write in /usr", "/usr/texts"))
    /usr/texts: can't be written (no right to write in /usr); expected a place in a folder where ...
    """

    def __str__(self) -> str:
        way_out = "make room there" if self.errno in DISK_FULL else "name another one"
        expected = f"expected a place in a folder where you may make files: {way_out}"
        return f"{self.filename}: can't be written ({self.strerror}); {expected}"


def check_output(path: str | os.PathLike, is_file: bool = False) -> None:
    """Raise OutputError for a folder, or a file, that can't be written, before its content is computed."""
    path = Path(path)
    try:
        if is_file and path.is_dir():
            raise OutputError(errno.EISDIR, "a folder has this name", os.fspath(path))
        places = [*path.absolute().parents] if is_file else [path, *path.absolute().parents]
        there = next(place for place in places if place.exists())
        if not there.is_dir():
            raise OutputError(errno.ENOTDIR, f"{there} is a file", os.fspath(path))
    except OutputError:
        raise
    except OSError as error:  # a name that is too long, or where one may not even look
        raise OutputError(error.errno, error.strerror, os.fspath(path)) from None
    if not os.access(there, os.W_OK | os.X_OK):
        raise OutputError(errno.EACCES, f"no right to write in {there}", os.fspath(path))


def make_folder(path: str | os.PathLike) -> None:
    """Make a folder for outputs, with those above it, where it isn't there; OutputError if it can't be."""
    check_output(path)
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(error.errno, error.strerror, os.fspath(path)) from None


@contextmanager
def atomic_write(path: str | os.PathLike, mode: str = "w") -> Iterator[IO]:
    """Open `path` so that a killed or failed run leaves the old file or the new one, never a part of it.

    A temporary file in the same folder, which must exist, reaches the disk (fsync) and is renamed onto `path`
    when the block ends; on an exception it is removed. A symbolic link keeps pointing where it did; its
    target is replaced. Mode is "w" for text (UTF-8, newlines as written) or "wb" for bytes, else ValueError.
    OutputError for a place that can't be written, or a full disk.
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
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        ours = isinstance(error, OSError) and error.filename in (None, os.fspath(temporary))
        if ours and (error.filename or error.errno in (*DISK_FULL, errno.EIO)):
            check_output(path, is_file=True)  # which tells more
            raise OutputError(error.errno, error.strerror, os.fspath(path)) from None
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
        folder, why = Path(path).parent, getattr(error, "strerror", None) or error
        free = f"{shutil.disk_usage(folder).free / 1e6:.0f} MB free" if folder.is_dir() else "no such folder"
        raise OSError(
            f"couldn't write {os.fspath(path)} ({free}): {why}. The file that was there before is "
            "unchanged. Make room and run the same command again: training goes on from the last checkpoint"
        ) from error


@contextmanager
def sole_training(folder: Path) -> Iterator[None]:
    """Let no other process train in `folder` within the block; its file `.training` is locked.

    The lock goes with the process, so a killed training leaves none behind. Where the file system has no
    locks, there is a warning and no protection. RuntimeError if another process trains there.
    """
    make_folder(folder)
    with open(folder / ".training", "a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RuntimeError(f"another process is training in {folder}; wait for it or end it") from None
        except OSError as error:
            _log.warning(f"{lock.name} can't be locked ({error}): see to it that nothing else trains there")
        yield


def read_text(path: str | os.PathLike) -> str:
    """Read UTF-8, with or without byte order mark, line ends CRLF or LF; ValueError for other bytes."""
    content = Path(path).read_bytes()
    try:
        return content.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ValueError(f"{path}, line {line}: not UTF-8 ({error.reason}); convert it to UTF-8") from None


def read_kaldi(path: str | os.PathLike) -> dict[str, str]:
    """Read a Kaldi table (`text`, `wav.scp`, `utt2spk`, ...): one `key value` a line; the value may be empty.

    ValueError, naming file and line, for a key that stands twice, an empty line, or bytes that aren't UTF-8.
    """
    table: dict[str, str] = {}
    content = read_text(path).removesuffix("\n")
    for number, line in enumerate(content.split("\n") if content else [], start=1):
        key, *value = re.split(r"[ \t]+", line.strip(" \t\r"), maxsplit=1)
        if not key:
            raise ValueError(f"{path}, line {number}: empty line; expected 'key value'")
        if key in table:
            raise ValueError(f"{path}, line {number}: key {key!r} stands twice; remove or rename one of them")
        table[key] = value[0] if value else ""
    return table


def write_kaldi(path: str | os.PathLike, table: Mapping[str, str]) -> None:
    """Write a Kaldi table, sorted by key as Kaldi's C locale sorts, atomically.

    ValueError for what would not read back as written: a key that is empty or holds white space, a value with
    a line break or with blanks at its ends.

    >>> write_kaldi("text", {"two words": "x"})
    Traceback (most recent call last):
    ValueError: text: key 'two words' must be one word without white space
    """
    for key, value in table.items():
        if not key or re.search(r"\s|\ufeff", key):
            raise ValueError(f"{path}: key {key!r} must be one word without white space")
        if value != value.strip(" \t\r") or "\n" in value:
            raise ValueError(f"{path}: {key!r}: blanks at the ends or a line break in {value!r}")
    with atomic_write(path) as out:
        out.writelines(f"{key} {table[key]}".rstrip(" ") + "\n" for key in sorted(table))
