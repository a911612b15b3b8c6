"""Tones for speech, and a server for downloads."""

import http.server
import threading
from functools import partial
from pathlib import Path

import numpy as np
import pytest


def tone(seconds: float, rate: int = 16000, pitch: float = 220.0) -> np.ndarray:
    """A sine of amplitude 0.3."""
    return (0.3 * np.sin(2 * np.pi * pitch * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


class Server(http.server.SimpleHTTPRequestHandler):
    """Serves ranges of files as mirrors do, and notes each request; breaks off after `limit` bytes."""

    requests: list[tuple[str, str]] = []
    limit: int | None = None

    def log_message(self, *_):
        pass

    def do_GET(self):
        path, wanted = Path(self.translate_path(self.path)), self.headers.get("Range")
        self.requests.append((path.name, wanted))
        if not path.is_file():
            self.send_error(404)
            return
        size, modified = path.stat().st_size, self.date_time_string(int(path.stat().st_mtime))
        if wanted and self.headers.get("If-Range", modified) != modified:
            wanted = None
        start = int(wanted.removeprefix("bytes=").partition("-")[0]) if wanted else 0
        self.send_response(416 if start >= size else 206 if wanted else 200)
        if wanted:
            self.send_header(
                "Content-Range", f"bytes */{size}" if start >= size else f"bytes {start}-{size - 1}/{size}"
            )
        self.send_header("Content-Length", str(max(0, size - start)))
        self.send_header("Last-Modified", modified)
        self.send_header("Accept-Ranges", "bytes")
        self.end_headers()
        self.wfile.write(path.read_bytes()[start:][: self.limit])


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
