"""lhotse's downloads from a local server: taken up where they stopped, held against the checksum."""

import hashlib
import sys
import tarfile
from pathlib import Path

import pytest

pytest.importorskip("lhotse.utils", reason="lhotse isn't installed (extra: asr)")

from imlspike.bin.prepare import main  # noqa: E402
from imlspike.data.corpora import CORPORA  # noqa: E402
from imlspike.data.corpus import download  # noqa: E402
from imlspike.data.download import DownloadError  # noqa: E402
from imlspike.data.kaldi import read_data_dir  # noqa: E402
from tests.data.conftest import Server  # noqa: E402
from tests.recipes.corpora import make_aishell, make_librispeech, make_speechocean762  # noqa: E402


def pack(folder: Path, content: Path, name: str, archive: str, monkeypatch, corpus: str) -> None:
    """Put an archive on the server, and its checksum where ours are."""
    path = folder / archive
    path.parent.mkdir(exist_ok=True)
    with tarfile.open(path, "w:gz") as tar:
        tar.add(content, name)
    unpacks_to = CORPORA[corpus].archives[path.name][1]
    md5 = hashlib.md5(path.read_bytes()).hexdigest()
    monkeypatch.setitem(CORPORA[corpus].archives, path.name, (md5, unpacks_to))


@pytest.fixture
def librispeech(served, tmp_path, monkeypatch):
    folder, url = served
    part = make_librispeech(tmp_path / "corpus", {"dev-clean": 2}) / "LibriSpeech/dev-clean"
    pack(folder, part, "LibriSpeech/dev-clean", "12/dev-clean.tar.gz", monkeypatch, "librispeech")
    return url


def test_aishell_is_fetched_checked_unpacked_and_prepared_once(served, tmp_path, monkeypatch):
    folder, url = served
    corpus = make_aishell(tmp_path / "corpus", {"train": 3, "dev": 1, "test": 1}, "all", 0)
    for name in ("data_aishell", "resource_aishell"):
        pack(folder, corpus / name, name, f"33/{name}.tgz", monkeypatch, "aishell")
    argv = ["aishell", "--download-dir", str(tmp_path / "downloads"), "--base-url", url]
    for _ in range(2):
        assert main([*argv, "--output-dir", str(tmp_path / "data")]) == 0
    assert len(read_data_dir(tmp_path / "data/train")) == 3
    assert [path.name for path in (tmp_path / "downloads").iterdir()] == ["aishell"]
    assert len(Server.requests) == 2


def test_what_lhotse_does_not_know_is_fetched_in_the_same_way(served, tmp_path, monkeypatch):
    folder, url = served
    made, name = make_speechocean762(tmp_path / "made", seconds=0.02), "speechocean762"
    pack(folder, made / name, name, f"101/{name}.tar.gz", monkeypatch, name)
    for _ in range(2):
        top = download(name, CORPORA[name], tmp_path / "downloads", base_url=url)
    assert len(list(top.glob("WAVE/*/*.WAV"))) == 20 and len(Server.requests) == 1
    assert [path.name for path in (tmp_path / "downloads").iterdir()] == [name]


def test_a_broken_connection_is_taken_up_where_it_stopped(librispeech, tmp_path, monkeypatch):
    monkeypatch.setattr(Server, "limit", 10000)
    with pytest.raises(DownloadError, match=r"dev-clean\.tar\.gz"):
        download("librispeech", CORPORA["librispeech"], tmp_path / "downloads", ["dev-clean"], librispeech)
    monkeypatch.setattr(Server, "limit", None)
    top = download("librispeech", CORPORA["librispeech"], tmp_path / "downloads", ["dev-clean"], librispeech)
    assert len(list(top.rglob("*.flac"))) == 2
    assert [start for _, start in Server.requests] == ["bytes=0-", "bytes=10000-"]


def test_a_wrong_checksum_removes_archive_and_folder(librispeech, tmp_path, monkeypatch):
    monkeypatch.setitem(CORPORA["librispeech"].archives, "dev-clean.tar.gz", ("00", "LibriSpeech/dev-clean"))
    with pytest.raises(DownloadError, match="MD5"):
        download("librispeech", CORPORA["librispeech"], tmp_path / "downloads", ["dev-clean"], librispeech)
    assert not [path for path in (tmp_path / "downloads").rglob("*") if "dev-clean" in path.name]


def test_a_folder_that_no_download_made_is_not_replaced(librispeech, tmp_path):
    own = tmp_path / "downloads/LibriSpeech/dev-clean/own.flac"
    own.parent.mkdir(parents=True)
    own.write_text("x")
    with pytest.raises(DownloadError, match="--corpus-dir"):
        download("librispeech", CORPORA["librispeech"], tmp_path / "downloads", ["dev-clean"], librispeech)
    assert own.exists() and not Server.requests


def test_no_server_and_no_lhotse_are_one_line(tmp_path, monkeypatch, capsys):
    argv = ["librispeech", "--download-dir", str(tmp_path), "--parts", "dev-clean"]
    assert main([*argv, "--base-url", "http://127.0.0.1:9"]) == 1
    told = capsys.readouterr().err.splitlines()[-1]
    assert "--corpus-dir" in told and told.startswith("prepare: error: dev-clean") and "more with" not in told
    monkeypatch.setitem(sys.modules, "lhotse.recipes.librispeech", None)
    assert main(argv) == 1
    assert "imlspike[asr]" in capsys.readouterr().err
