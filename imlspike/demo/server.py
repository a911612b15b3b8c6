"""A small server of the page's folder, which also spells texts for the voice."""

import json
import threading
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from imlspike.inference import Text2Speech

TEXT_URL, MOST_BYTES = "symbols", 4000
HEADERS = {
    # Both let the page compute in several threads.
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    # The browser itself refuses what would leave this server.
    "Content-Security-Policy": "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; "
    "img-src 'self' data:; worker-src 'self' blob:; connect-src 'self' blob:; media-src blob:",
    "Cache-Control": "no-cache",
    "X-Content-Type-Options": "nosniff",
}
TYPES = {
    ".mjs": "text/javascript",
    ".js": "text/javascript",
    ".wasm": "application/wasm",
    ".json": "application/json",
}


class Server(ThreadingHTTPServer):
    """Serves `folder` at `host` and `port` (0: a free one), a thread for each connection.

    Args:
        speech: spells the texts that are posted to `TEXT_URL`, at most `MOST_BYTES` of UTF-8 each: the answer
            is JSON, a list of symbols for each sentence, or status 400 and what is wrong with the text.
    """

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, folder: Path, host: str, port: int, speech: Text2Speech | None = None):
        try:
            super().__init__((host, port), partial(Handler, directory=str(folder)))
        except OSError as error:
            told = f"--host {host} --port {port}: {error.strerror}; name another host or port"
            raise OSError(f"{told}, 0 takes a free one") from None
        self.speech, self.one_at_a_time = speech, threading.Lock()  # espeak-ng has one state

    @property
    def address(self) -> str:
        """The URL of the page."""
        host, port = self.server_address[:2]
        return f"http://{'localhost' if host == '0.0.0.0' else host}:{port}/"


class Handler(SimpleHTTPRequestHandler):
    """One request to a `Server`."""

    protocol_version = "HTTP/1.1"
    extensions_map = SimpleHTTPRequestHandler.extensions_map | TYPES
    timeout = 60  # seconds for a client that says nothing

    def end_headers(self) -> None:
        for name, value in HEADERS.items():
            self.send_header(name, value)
        super().end_headers()

    def list_directory(self, path):
        self.send_error(HTTPStatus.NOT_FOUND)

    def log_message(self, *args) -> None:
        pass

    def do_POST(self) -> None:
        """Spell a text."""
        length = self.headers.get("Content-Length", "")
        if self.path != f"/{TEXT_URL}" or not self.server.speech:
            return self.refuse(HTTPStatus.NOT_FOUND, "nothing is posted here")
        if not length.isdecimal():
            return self.refuse(HTTPStatus.LENGTH_REQUIRED, "A text comes with its Content-Length.")
        if int(length) > MOST_BYTES:
            told = f"The text has more than {MOST_BYTES} bytes. Write a shorter one."
            return self.refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, told)
        try:
            text = self.rfile.read(int(length)).decode()
            with self.server.one_at_a_time:
                sentences, _ = self.server.speech.spell(text)
        except (ValueError, ImportError) as error:
            return self.refuse(HTTPStatus.BAD_REQUEST, str(error))
        symbols = [symbols for _, symbols, _ in sentences]
        self.reply(HTTPStatus.OK, json.dumps(symbols, ensure_ascii=False), "application/json")

    def refuse(self, status: HTTPStatus, told: str) -> None:
        """Answer with one line of text, and close: what was sent may not have been read."""
        self.close_connection = True
        self.reply(status, told, "text/plain")

    def reply(self, status: HTTPStatus, text: str, kind: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
