"""The server of `liqe app`: Python's own, one process. Uploads stay in memory and go when they are answered."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import webbrowser
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from liqe_jax.app.document import about, document
from liqe_jax.app.photograph import map_upload, score_upload, warm_up
from liqe_jax.errors import LiqeError, UsageError
from liqe_jax.images.decode import CUT_ADVICE
from liqe_jax.images.preprocess import PRESETS, Preset
from liqe_jax.markup import fill_page
from liqe_jax.scoring.model import Model

FIRST_PORT, PORTS = 7860, 100  # where Hugging Face Spaces expect a page, and how many ports are tried from there

# Photographs that are uploaded, wait or are scored at the same time: so many times --max-megabytes are in memory.
MOST_REQUESTS = 32

# Open connections, each of which has a thread; a browser opens up to six. More are closed at once.
MOST_CONNECTIONS = 256

# Seconds that a connection may be silent, so that idle ones end.
PATIENCE = 60.0

LONGEST_NAME = 200  # characters of a file's name that are shown


def serve(
    model: Model,
    *,
    preprocess: str,
    host: str,
    port: int | None,
    max_megabytes: float,
    open_browser: bool,
    started: Callable[[str], None],
) -> None:
    """Serves the page until the process is interrupted; arguments as of `liqe app`.

    A megabyte has 1,048,576 bytes. `started` is called with the address of the page when it is ready. Raises UsageError
    if the server cannot listen on the address.
    """
    preset, host = PRESETS[preprocess], host.strip("[]")
    with _listen(host, port) as server:
        server.prepare(model, preset, max_megabytes)
        warm_up(model, preset)
        name = f"[{host}]" if ":" in host else host
        url = f"http://{name}:{server.server_address[1]}/"
        threading.Timer(0, started, (url,)).start()
        if open_browser:
            threading.Timer(0, webbrowser.open, (url,)).start()
        server.serve_forever(poll_interval=0.2)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def prepare(self, model: Model, preset: Preset, max_megabytes: float) -> None:
        self.model, self.preset = model, preset
        self.most_bytes = int(max_megabytes * 2**20)
        self.slots, self.scoring = threading.BoundedSemaphore(MOST_REQUESTS), threading.Lock()
        self.connections = threading.BoundedSemaphore(MOST_CONNECTIONS)
        body = fill_page("page/app.html", about=about(model, preset.name), megabytes=f"{max_megabytes:g}")
        page, self.policy = document("LIQE", body, ("photographs.js", "app.js"), {"megabytes": max_megabytes})
        self.page = page.encode()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Starts a thread for a connection, or closes it where there are too many."""
        if self.connections.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answers on a connection and gives its place back."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.connections.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignores a visitor who left; the handler answers all other errors."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = PATIENCE
    server_version, sys_version = "liqe", ""

    def do_GET(self) -> None:
        if urlsplit(self.path).path == "/":
            self._begin(200, "text/html; charset=utf-8")
            self.wfile.write(self.server.page)
        else:
            self.send_error(404)

    def do_POST(self) -> None:
        parts = urlsplit(self.path)
        if parts.path not in ("/score", "/map"):
            self.send_error(404)
        elif self.headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none"):
            self._refuse(403, "This page answers its own visitors only.")
        elif not self.server.slots.acquire(blocking=False):
            self._refuse(503, "Too many photographs are waiting. Try again in a minute.")
        else:
            try:
                self._answer(parts.path, parse_qs(parts.query).get("name", ["photograph"])[0][:LONGEST_NAME])
            finally:
                self.server.slots.release()

    def _answer(self, path: str, name: str) -> None:
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit() and len(length) < 20):
            self._refuse(411, "The request does not state its number of bytes.")
            return
        most = self.server.most_bytes
        if int(length) > most:
            self._refuse(413, f"The file has {int(length) / 2**20:.1f} MB; at most {most / 2**20:g} MB are taken.")
            return
        encoded = self.rfile.read(int(length))
        if len(encoded) < int(length):
            return  # the visitor left
        self._begin(200, "application/x-ndjson")
        if not self.server.scoring.acquire(blocking=False):
            self._line({"waiting": True})
            self.server.scoring.acquire()
        try:
            model, preset = self.server.model, self.server.preset
            answer = (
                score_upload(name, encoded, model, preset) if path == "/score" else map_upload(encoded, model, preset)
            )
        except LiqeError as error:
            # The advice about options does not apply to the page.
            answer = {"error": str(error).replace(CUT_ADVICE, "Drop the whole file.")}
        finally:
            self.server.scoring.release()
        self._line(answer)

    def _begin(self, status: int, kind: str) -> None:
        """Sends the head of an answer; it ends where the connection does."""
        self.send_response(status)
        for key, value in {
            "Content-Type": kind,
            "Content-Security-Policy": self.server.policy,
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cache-Control": "no-store",
        }.items():
            self.send_header(key, value)
        self.end_headers()

    def _line(self, answer: dict[str, Any]) -> None:
        self.wfile.write(json.dumps(answer).encode() + b"\n")
        self.wfile.flush()

    def _refuse(self, status: int, reason: str) -> None:
        self._begin(status, "application/x-ndjson")
        self._line({"error": reason})
        # A browser reads no answer before it has sent everything.
        length = self.headers.get("Content-Length", "")
        left = min(int(length), 10 * self.server.most_bytes) if length.isascii() and length.isdigit() else 0
        with contextlib.suppress(OSError):
            while left > 0 and (piece := self.rfile.read(min(left, 1 << 16))):
                left -= len(piece)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing about visitors is logged."""


def _listen(host: str, port: int | None) -> _Server:
    candidates = range(FIRST_PORT, FIRST_PORT + PORTS) if port is None else (port,)
    for candidate in candidates:
        try:
            family = socket.getaddrinfo(host, candidate, type=socket.SOCK_STREAM)[0][0]
            return type("_Server", (_Server,), {"address_family": family})((host, candidate), _Handler)
        except (OSError, UnicodeError) as error:  # UnicodeError: an invalid host name
            reason = getattr(error, "strerror", None) or str(error)
    named = f"port {port}" if port is not None else f"any port from {candidates[0]} to {candidates[-1]}"
    raise UsageError(
        f"Cannot listen on {host}, {named}: {reason}. Choose another --host or --port (0 takes any free port)."
    )
