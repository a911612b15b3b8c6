"""The download, against a package repository of one package that a local server offers."""

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from imlspike.bin.prepare import main
from imlspike.data.download import DownloadError, download_package
from tests.data.conftest import Server

needs_apt = pytest.mark.skipif(
    not all(map(shutil.which, ("apt-get", "dpkg-deb"))), reason="no apt on this machine"
)


@pytest.fixture
def repository(served, tmp_path, monkeypatch):
    """A package `tiny-voice` with one file of noise, served on this machine; apt is pointed at it alone."""
    (root, url), tree = served, tmp_path / "tree"
    (tree / "DEBIAN").mkdir(parents=True)
    control = (
        "Package: tiny-voice\nVersion: 1.0\nArchitecture: all\nMaintainer: a <a@b.c>\nDescription: test\n"
    )
    (tree / "DEBIAN" / "control").write_text(control)
    (tree / "usr" / "share").mkdir(parents=True)
    (tree / "usr" / "share" / "voice.bin").write_bytes(os.urandom(300_000))
    deb = root / "tiny-voice_1.0_all.deb"
    subprocess.run(["dpkg-deb", "-b", tree, deb], check=True, capture_output=True)
    digest = hashlib.sha256(deb.read_bytes()).hexdigest()
    (root / "Packages").write_text(
        f"{control}Filename: ./{deb.name}\nSize: {deb.stat().st_size}\nSHA256: {digest}\n"
    )
    (tmp_path / "sources.list").write_text(f"deb [trusted=yes] {url} ./\n")
    (tmp_path / "apt.conf").write_text(
        f'Dir::Etc::sourcelist "{tmp_path}/sources.list";\nDir::Etc::sourceparts "/dev/null";\n'
        f'Dir::Etc::parts "/dev/null";\nAcquire::http::Proxy "DIRECT";\n'
    )
    monkeypatch.setenv("APT_CONFIG", str(tmp_path / "apt.conf"))
    return tmp_path / "tree" / "usr", Server.requests, deb


def listing(*folders):
    return {path: path.stat().st_mtime_ns for folder in folders for path in Path(folder).rglob("*")}


@needs_apt
def test_a_package_is_fetched_unpacked_and_not_fetched_again(repository, tmp_path, capsys):
    tree, requests, _ = repository
    system = listing("/var/lib/apt", "/var/cache/apt")
    root = download_package("tiny-voice", tmp_path / "downloads", megabytes=1)
    assert root == tmp_path / "downloads" / "tiny-voice"
    assert (root / "usr/share/voice.bin").read_bytes() == (tree / "share/voice.bin").read_bytes()
    assert [path.name for path in (tmp_path / "downloads").iterdir()] == ["tiny-voice"], (
        "nothing else is kept"
    )
    assert listing("/var/lib/apt", "/var/cache/apt") == system, "the system's lists and cache stay untouched"
    assert "unpacking" in capsys.readouterr().err
    count = len(requests)
    assert download_package("tiny-voice", tmp_path / "downloads", megabytes=1) == root
    assert len(requests) == count


@needs_apt
def test_an_interrupted_download_goes_on_where_it_stopped(repository, tmp_path):
    tree, requests, deb = repository
    part = tmp_path / "downloads" / "apt" / deb.name
    part.parent.mkdir(parents=True)
    part.write_bytes(deb.read_bytes()[:100_000])
    os.utime(part, (int(deb.stat().st_mtime),) * 2)  # as apt leaves an interrupted file
    root = download_package("tiny-voice", tmp_path / "downloads", megabytes=1)
    assert (root / "usr/share/voice.bin").read_bytes() == (tree / "share/voice.bin").read_bytes()
    assert (deb.name, "bytes=100000-") in requests


@needs_apt
def test_a_damaged_download_is_refused_and_the_next_run_fetches_it_anew(repository, tmp_path):
    tree, _, deb = repository
    part = tmp_path / "downloads" / "apt" / deb.name
    part.parent.mkdir(parents=True)
    part.write_bytes(b"x" * 100_000)
    os.utime(part, (int(deb.stat().st_mtime),) * 2)
    with pytest.raises(DownloadError, match="Hash Sum mismatch.*run again"):
        download_package("tiny-voice", tmp_path / "downloads", megabytes=1)
    root = download_package("tiny-voice", tmp_path / "downloads", megabytes=1)
    assert (root / "usr/share/voice.bin").read_bytes() == (tree / "share/voice.bin").read_bytes()


@needs_apt
def test_no_network_and_unknown_package_are_one_line(repository, tmp_path):
    _, _, deb = repository
    with pytest.raises(DownloadError, match=r"apt can't find no-such-voice .*--corpus-dir"):
        download_package("no-such-voice", tmp_path / "downloads", megabytes=1)
    deb.unlink()
    with pytest.raises(DownloadError, match=r"tiny-voice_1.0_all.deb wasn't fetched .*--corpus-dir") as error:
        download_package("tiny-voice", tmp_path / "downloads", megabytes=1)
    assert "\n" not in str(error.value)
    (tmp_path / "sources.list").write_text("deb [trusted=yes] http://127.0.0.1:1 ./\n")
    with pytest.raises(DownloadError, match=r"is there a network\?") as error:
        download_package("tiny-voice", tmp_path / "elsewhere", megabytes=1)
    assert "\n" not in str(error.value)


def test_no_apt_says_what_to_do(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    argv = ["msu_ru_nsh", "--download-dir", str(tmp_path / "d"), "--output-dir", str(tmp_path / "data")]
    assert main(argv) == 1
    error = capsys.readouterr().err
    assert "no apt-get here" in error and "--corpus-dir" in error and error.count("\n") == 1


def test_a_full_disk_says_so_before_the_download(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda tool: tool)
    with pytest.raises(DownloadError, match=r"of 1000000000000 MB free; choose another --download-dir"):
        download_package("tiny-voice", tmp_path, megabytes=10**12)
