"""Archives of openslr.org: fetched with resumption, held against their published checksum, unpacked whole."""

import hashlib
import os
import shutil
import sys
import tarfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from imlspike.data.debian import DownloadError
from imlspike.data.progress import Progress

BASE_URL = "https://www.openslr.org/resources"


@dataclass(frozen=True)
class Archive:
    """One archive: its path below the server's `resources/`, its size in bytes and its MD5."""

    path: str
    size: int
    md5: str


def fetch(archive: Archive, target_dir: str | os.PathLike, base_url: str = BASE_URL) -> Path:
    """Fetch an archive into `target_dir`; what is there already isn't fetched again, not even a part of it.

    The download is lhotse's, which shows progress and goes on with a partial file.

    Returns: the archive's path, with the right size and checksum.

    Raises:
        ImportError: if lhotse isn't installed.
        DownloadError: if the server can't be reached, breaks off, or sends something else; says what to do.
    """
    path = Path(target_dir) / Path(archive.path).name
    path.parent.mkdir(parents=True, exist_ok=True)
    free, missing = shutil.disk_usage(path.parent).free, archive.size - _size(path)
    if free < missing:
        raise DownloadError(
            f"{path.parent}: {free / 1e9:.1f} GB free, {missing / 1e9:.1f} GB are to be fetched"
        )
    while (have := _size(path)) < archive.size:
        try:
            _resumable_download()(f"{base_url}/{archive.path}", path, completed_file_size=archive.size)
        except OSError as error:
            raise DownloadError(
                f"{base_url}/{archive.path} wasn't fetched ({error}); run again to go on where it stopped, "
                "try a mirror with --base-url, or get the corpus elsewhere and pass --corpus-dir"
            ) from None
        if _size(path) <= have:
            raise DownloadError(
                f"{path}: the server stops at {have} of {archive.size} bytes; run again later"
            )
    print(f"{path.name}: comparing the checksum", file=sys.stderr, flush=True)
    if (found := _md5(path)) != archive.md5:
        path.unlink()
        raise DownloadError(
            f"{path}: MD5 {found}, published is {archive.md5}; the file was removed, run again to fetch it"
        )
    return path


def unpack(
    archive: str | os.PathLike,
    target_dir: str | os.PathLike,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Path:
    """Unpack a tar.gz or tar.bz2 into `target_dir`, which is made afresh: after an error it isn't there.

    Args:
        progress: called with (done, total) megabytes.

    Raises:
        ValueError: naming the archive if it is damaged.
        OSError: if the folder can't be written.
    """
    archive, target_dir = Path(archive), Path(target_dir)
    shutil.rmtree(target_dir, ignore_errors=True)
    target_dir.mkdir(parents=True)
    total = archive.stat().st_size // 1_000_000
    try:
        with open(archive, "rb") as raw, tarfile.open(fileobj=raw, mode="r|*") as tar:
            for member in tar:
                tar.extract(member, target_dir, filter="data")
                progress(raw.tell() // 1_000_000, total)
    except BaseException as error:
        shutil.rmtree(target_dir, ignore_errors=True)
        if isinstance(error, (tarfile.TarError, EOFError, zlib.error)):
            raise ValueError(f"{archive}: damaged ({error}); copy or fetch it again") from None
        raise
    return target_dir


def fetch_and_unpack(archive: Archive, target_dir: Path, base_url: str = BASE_URL) -> Path:
    """Fetch an archive and unpack it into `target_dir/.<name>.partial`, whose path is returned.

    What is wanted of it is to be moved from there; then the folder and the archive can go.
    """
    path = fetch(archive, target_dir, base_url)
    return unpack(path, target_dir / f".{path.name}.partial", Progress(f"unpacking {path.name}, MB"))


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _md5(path: Path) -> str:
    with open(path, "rb") as file:
        digest = hashlib.md5(usedforsecurity=False)
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def _resumable_download() -> Callable[..., None]:
    """lhotse's function, imported when something is to be fetched."""
    try:
        from lhotse.utils import resumable_download
    except ImportError as error:
        raise ImportError(
            f"{error}: downloads go through lhotse. Install it with pip install 'imlspike[asr]', or get the "
            "corpus by other means and pass --corpus-dir"
        ) from None
    return resumable_download
