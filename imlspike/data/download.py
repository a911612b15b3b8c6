"""Downloads: corpora by lhotse, held against their published checksums, and packages from a Debian mirror."""

import functools
import hashlib
import importlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import time
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from imlspike.data.files import make_folder
from imlspike.data.progress import Progress

OPENSLR = "https://www.openslr.org/resources"
_HELPER = "/usr/lib/apt/apt-helper"  # part of apt; unlike `apt-get download` it resumes a partial file


class DownloadError(OSError):
    """A corpus or package that couldn't be fetched; one line that says why and what to do."""


def fetch(
    recipe: str, target_dir: str | os.PathLike, archives: Mapping[str, tuple[str | None, str]], **options
) -> Path:
    """Fetch a corpus by lhotse's `download_<recipe>` into `target_dir` and unpack it there.

    One that lhotse doesn't know comes from openslr.org in the same way, by its `number` among the options.

    lhotse goes on with a partial file and marks a folder as `.completed`. An archive with another checksum
    than published is removed with what came out of it; one that is right is removed too, for its space.

    Args:
        archives: archive -> (MD5, or None where none is published, the folder that it unpacks to).
        options: of lhotse's function, as base_url.

    Raises:
        ImportError, DownloadError: without lhotse (extra asr); the server breaks off or sends something else;
            a folder is there already that no download has finished, which lhotse would remove.
    """
    try:
        if "number" in options:
            download = functools.partial(_download_openslr, importlib.import_module("lhotse.utils"), archives)
        else:
            download = getattr(importlib.import_module(f"lhotse.recipes.{recipe}"), f"download_{recipe}")
    except ImportError as error:
        hint = "pip install 'imlspike[asr]', or --corpus-dir"
        raise ImportError(f"{error}: downloads are lhotse's; {hint}") from None
    target_dir = Path(target_dir).resolve()
    for archive, (_, name) in archives.items():
        folder = target_dir / name
        done = (folder / ".completed").exists() or (target_dir / ".completed").exists()
        if folder.exists() and not done and not (target_dir / archive).exists():
            hint = "name it with --corpus-dir, or remove it to fetch anew"
            raise DownloadError(f"{folder} is there already; {hint}")
    try:
        corpus = download(target_dir, **options)
    except (OSError, tarfile.TarError, EOFError, zlib.error) as error:
        raise DownloadError(
            f"{', '.join(archives)}: not fetched ({error}); run again to go on where it stopped, try a "
            "mirror with --base-url, or get the corpus elsewhere and pass --corpus-dir"
        ) from None
    for archive, (md5, folder) in archives.items():
        if (path := target_dir / archive).exists():
            found = _md5(path) if md5 else None
            path.unlink()
            if found != md5:
                shutil.rmtree(target_dir / folder, ignore_errors=True)
                raise DownloadError(f"{path}: MD5 {found}, published is {md5}; it was removed, run again")
    return Path(corpus)


def _download_openslr(
    lhotse, archives: Mapping[str, tuple], target_dir: Path, number: int, base_url: str = OPENSLR
) -> Path:
    make_folder(target_dir)
    for archive, (_, folder) in archives.items():
        if not (done := target_dir / folder / ".completed").exists():
            lhotse.resumable_download(f"{base_url}/{number}/{archive}", target_dir / archive)
            with tarfile.open(target_dir / archive) as tar:
                lhotse.safe_extract(tar, path=target_dir)
            done.touch()
    return target_dir / folder


def _md5(path: Path) -> str:
    print(f"{path.name}: comparing the checksum", file=sys.stderr, flush=True)
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def unpack_speakers(wav_dir: Path, target: Path, sets: Sequence[str]) -> set[Path]:
    """Unpack AISHELL's `wav_dir/S0002.tar.gz`, each whole or not at all, for speakers without a folder yet.

    Returns: the files `target/<set>/<speaker>/*.wav`; ValueError for an archive that can't be unpacked.
    """
    there = {folder.name for top in (wav_dir, target) for name in sets for folder in (top / name).glob("*/")}
    for archive in sorted(wav_dir.glob("*.tar.gz")):
        if archive.name.removesuffix(".tar.gz") in there:
            continue
        print(f"unpacking {archive.name}", file=sys.stderr, flush=True)
        unfinished = target / f".{archive.name}.partial"
        shutil.rmtree(unfinished, ignore_errors=True)
        try:
            unfinished.mkdir(parents=True)
            with tarfile.open(archive) as tar:
                if hasattr(tarfile, "data_filter"):
                    tar.extractall(unfinished, filter="data")
                else:  # Python before 3.11.4: plain files that stay within the folder
                    inside = [one for one in tar if one.isreg() and ".." not in Path(one.name).parts]
                    tar.extractall(unfinished, [one for one in inside if not one.name.startswith("/")])
            folders = [folder for name in sets for folder in (unfinished / name).glob("*/")]
            if not folders:
                raise ValueError(f"{archive}: expected {'/, '.join(sets)}/ in it; fetch it again")
            for folder in folders:
                place = target / folder.relative_to(unfinished)
                place.parent.mkdir(exist_ok=True)
                folder.rename(place)
        except (tarfile.TarError, EOFError, zlib.error) as error:
            raise ValueError(f"{archive}: damaged ({error}); copy or fetch it again") from None
        except OSError as error:
            why = f"({error.strerror or error}); name a folder that can be written, with --unpack-dir"
            raise ValueError(f"{archive} can't be unpacked to {target} {why}") from None
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    return {file for name in sets for file in (target / name).glob("*/[!.]*.wav")}


def download_package(package: str, target_dir: str | os.PathLike, megabytes: int) -> Path:
    """Fetch a Debian package with the system's apt sources and unpack it below `target_dir`, without root.

    apt's lists, cache and state live in `target_dir/apt` until the files are unpacked. What is there already
    isn't fetched again; an interrupted download goes on where it stopped.

    Returns: `target_dir/<package>`, the root of the unpacked tree. DownloadError if apt or dpkg-deb is
    absent, the package can't be had, or `megabytes` for lists, package and unpacked files aren't free.
    """
    target_dir = Path(target_dir).resolve()
    unpacked, unfinished = target_dir / package, target_dir / f".{package}.partial"
    if unpacked.is_dir():
        return unpacked
    for tool in ("apt-get", "dpkg-deb", _HELPER):
        if not shutil.which(tool):
            raise DownloadError(f"no {tool} here; unpack Debian's {package} elsewhere and pass --corpus-dir")
    make_folder(target_dir)
    free = shutil.disk_usage(target_dir).free // 1_000_000
    if free < megabytes:
        raise DownloadError(f"{target_dir}: {free} of {megabytes} MB free; choose another --download-dir")
    archive = _fetch_package(package, target_dir / "apt")
    print(f"unpacking {archive.name}", file=sys.stderr, flush=True)
    shutil.rmtree(unfinished, ignore_errors=True)
    done = _run(["dpkg-deb", "-x", archive, unfinished])
    if done.returncode:
        archive.unlink()
        why = f"({_reason(done.stderr)}); run again to fetch it anew"
        raise DownloadError(f"{archive.name} can't be unpacked {why}")
    unfinished.rename(unpacked)
    shutil.rmtree(target_dir / "apt")
    return unpacked


def _fetch_package(package: str, apt_dir: Path) -> Path:
    """The package's archive in `apt_dir`, with the checksum that apt's signed lists promise."""
    state, cache = apt_dir / "state", apt_dir / "cache"
    (state / "lists/partial").mkdir(parents=True, exist_ok=True)
    (cache / "archives/partial").mkdir(parents=True, exist_ok=True)
    own = (f"Dir::State={state}", f"Dir::State::lists={state}/lists", f"Dir::Cache={cache}")
    settings = (*own, "APT::Sandbox::User=", "Acquire::Languages=none", "Acquire::Retries=1")
    options = [f"-o{setting}" for setting in settings]
    print("reading package lists (apt-get update, private)", file=sys.stderr, flush=True)
    update = _run(["apt-get", *options, "update"])
    found = _run(["apt-get", *options, "download", "--print-uris", package])
    match = re.search(r"^'(\S+)' (\S+) (\d+) (\S+:\S+)$", found.stdout, re.MULTILINE)
    if found.returncode or not match:
        why = _reason(update.stderr or found.stderr)
        raise DownloadError(f"apt can't find {package} ({why}); is there a network? Else pass --corpus-dir")
    uri, name, size, checksum = match.groups()
    archive, told = apt_dir / name, Progress(f"{name}, MB")
    with open(apt_dir / "download.log", "w+", encoding="utf-8") as log:
        command = [_HELPER, *options, "download-file", uri, archive, checksum]
        process = subprocess.Popen(command, stdout=log, stderr=log)
        while process.poll() is None:
            time.sleep(0.2)
            have = archive.stat().st_size if archive.is_file() else 0  # apt writes under the final name
            told(min(have, int(size) - 1) // 1_000_000, int(size) // 1_000_000 + 1)
        log.seek(0)
        why = _reason(log.read())
    if process.returncode:
        raise DownloadError(f"{name} wasn't fetched ({why}); run again to go on, or use --corpus-dir")
    return archive


def _run(command: Sequence[str | Path]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True)


def _reason(text: str) -> str:
    """The line of a tool's output that says why it failed: the first on a failed fetch, else the last."""
    lines = [line.strip() for line in text.splitlines() if line.strip()] or ["no reason given"]
    return next((line for line in lines if "Failed to fetch" in line), lines[-1])
