"""Downloads of both corpora from a local server in openslr.org's layout."""

import hashlib
import http.server
import sys
import tarfile
import threading
from functools import partial
from pathlib import Path

import pytest

pytest.importorskip("lhotse.utils", reason="lhotse isn't installed (extra: asr)")

from imlspike.bin.prepare import main  # noqa: E402
from imlspike.data import aishell, librispeech, openslr  # noqa: E402
from imlspike.data.debian import DownloadError  # noqa: E402
from imlspike.data.kaldi import read_data_dir  # noqa: E402
from imlspike.data.openslr import Archive, fetch, unpack  # noqa: E402
from tests.recipes.corpora import make_aishell, make_librispeech  # noqa: E402


class Server(http.server.SimpleHTTPRequestHandler):
    """Serves ranges of files as openslr.org does, and notes each request; breaks off after `limit` bytes."""

    requests: list[tuple[str, str]] = []
    limit = None

    def log_message(self, *_):
        pass

    def do_GET(self):
        path, wanted = Path(self.translate_path(self.path)), self.headers.get("Range", "bytes=0-")
        self.requests.append((path.name, wanted))
        if not path.is_file():
            self.send_error(404)
            return
        start = int(wanted.removeprefix("bytes=").partition("-")[0])
        content = path.read_bytes()
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        self.wfile.write(content[start:][: self.limit])


@pytest.fixture
def served(tmp_path, monkeypatch):
    """The folder that is served, and the address of its server."""
    folder = tmp_path / "served"
    folder.mkdir()
    monkeypatch.setattr(Server, "requests", [])
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Server, directory=folder))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield folder, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def pack(folder: Path, content: list[Path], archive: str) -> Archive:
    """Put files into an archive on the server."""
    path = folder / archive
    path.parent.mkdir(exist_ok=True)
    with tarfile.open(path, "w:gz") as tar:
        for item in content:
            tar.add(item, item.name if item.parent.name != "LibriSpeech" else f"LibriSpeech/{item.name}")
    return Archive(archive, path.stat().st_size, hashlib.md5(path.read_bytes()).hexdigest())


def test_aishell_is_fetched_checked_and_unpacked_once(served, tmp_path, monkeypatch):
    folder, url = served
    corpus = make_aishell(tmp_path / "corpus", {"train": 3, "dev": 1, "test": 1}, "all", 0)
    names = ("data_aishell", "resource_aishell")
    archives = [pack(folder, [corpus / name], f"33/{name}.tgz") for name in names]
    monkeypatch.setattr(aishell, "ARCHIVES", archives)
    target = tmp_path / "downloads"
    argv = [
        "aishell",
        "--download-dir",
        str(target),
        "--base-url",
        url,
        "--output-dir",
        str(tmp_path / "data"),
    ]
    assert main(argv) == 0
    assert len(read_data_dir(tmp_path / "data/train")) == 3
    assert sorted(path.name for path in target.iterdir()) == ["data_aishell", "resource_aishell"]
    asked = len(Server.requests)
    assert main(argv) == 0 and len(Server.requests) == asked == 2


def test_a_part_of_librispeech_is_fetched_and_the_others_are_left_alone(served, tmp_path, monkeypatch):
    folder, url = served
    top = make_librispeech(tmp_path / "corpus", {"dev-clean": 2, "test-clean": 2}) / "LibriSpeech"
    archive = pack(folder, [top / "SPEAKERS.TXT", top / "dev-clean"], "12/dev-clean.tar.gz")
    monkeypatch.setitem(librispeech.PARTS, "dev-clean", (archive.size, archive.md5, 2))
    target = tmp_path / "downloads"
    argv = ["librispeech", "--download-dir", str(target), "--base-url", url, "--parts", "dev-clean"]
    assert main([*argv, "--output-dir", str(tmp_path / "data")]) == 0
    assert len(read_data_dir(tmp_path / "data/dev_clean")) == 2
    assert sorted(path.name for path in target.rglob("*") if path.parent.name == "LibriSpeech") == [
        "SPEAKERS.TXT",
        "dev-clean",
    ]
    assert [name for name, _ in Server.requests] == ["dev-clean.tar.gz"]


def test_a_broken_connection_is_taken_up_where_it_stopped(served, tmp_path, monkeypatch):
    folder, url = served
    (folder / "a").write_bytes(bytes(range(256)) * 100)
    archive = Archive("a", 25600, hashlib.md5((folder / "a").read_bytes()).hexdigest())
    monkeypatch.setattr(Server, "limit", 10000)
    path = fetch(archive, tmp_path, url)
    assert path.read_bytes() == (folder / "a").read_bytes()
    assert Server.requests == [("a", f"bytes={start}-") for start in (0, 10000, 20000)]
    fetch(archive, tmp_path, url)
    assert len(Server.requests) == 3, "what is complete isn't asked for again"


def test_a_wrong_checksum_removes_the_file(served, tmp_path):
    folder, url = served
    (folder / "a").write_bytes(b"other")
    with pytest.raises(
        DownloadError, match=f"MD5 {hashlib.md5(b'other').hexdigest()}, published is 00; .* again"
    ):
        fetch(Archive("a", 5, "00"), tmp_path, url)
    assert not (tmp_path / "a").exists()


def test_no_server_no_file_no_space_and_no_lhotse_are_one_line(served, tmp_path, monkeypatch, capsys):
    _, url = served
    argv = ["librispeech", "--download-dir", str(tmp_path), "--parts", "dev-clean", "--base-url"]
    assert main([*argv, url]) == 1
    assert "dev-clean.tar.gz wasn't fetched (HTTP Error 404" in capsys.readouterr().err
    assert main([*argv, "http://127.0.0.1:9"]) == 1
    assert (
        "run again to go on where it stopped" in (error := capsys.readouterr().err)
        and "--corpus-dir" in error
    )
    monkeypatch.setitem(librispeech.PARTS, "dev-clean", (10**18, "", 1))
    assert main([*argv, url]) == 1
    assert "1000000000.0 GB are to be fetched" in capsys.readouterr().err
    monkeypatch.setitem(librispeech.PARTS, "dev-clean", (5, "", 1))
    monkeypatch.setitem(sys.modules, "lhotse.utils", None)
    assert main([*argv, url]) == 1
    assert "pip install 'imlspike[asr]'" in (error := capsys.readouterr().err) and "--corpus-dir" in error
    with pytest.raises(ImportError, match="lhotse"):
        openslr._resumable_download()


def test_a_member_outside_of_the_folder_is_refused(tmp_path):
    (tmp_path / "evil").write_text("x")
    with tarfile.open(tmp_path / "a.tgz", "w:gz") as tar:
        tar.add(tmp_path / "evil", "../../evil")
    with pytest.raises(ValueError, match="damaged"):
        unpack(tmp_path / "a.tgz", tmp_path / "unpacked")
    assert not (tmp_path / "unpacked").exists()
