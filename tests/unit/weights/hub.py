"""A small Hugging Face hub on the loopback interface, with faults on request."""

from __future__ import annotations

import hashlib
import http.server
import threading
import time
from collections import Counter
from typing import Any

REPO = "tester/tiny"
CONFIG: dict[str, Any] = {  # of the tiny model, as open_clip has it
    "embed_dim": 16,
    "vision_cfg": {"image_size": 16, "layers": 2, "width": 16, "patch_size": 8, "head_width": 8},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}
COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub:
    """Serves ``files`` ("owner/name/file" to bytes) by the resolve routes that huggingface_hub asks for.

    ``gets`` counts the GET requests of a file. ``cuts`` transfers break off after half of what they should send,
    ``sha256`` replaces the true checksum, ``status`` answers every request, ``ranges`` off ignores Range headers.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.gets: Counter[str] = Counter()
        self.requests = 0
        self.cuts = 0
        self.sha256: str | None = None
        self.status: int | None = None
        self.ranges = True
        self.with_size = True
        self.delay = 0.0  # s, before the first byte of a file
        hub = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None:
                """Keep the test output clean."""

            def do_HEAD(self) -> None:
                hub.answer(self, body=False)

            def do_GET(self) -> None:
                hub.answer(self, body=True)

        class Server(http.server.ThreadingHTTPServer):
            def handle_error(self, *_: Any) -> None:
                """A client that goes away is what some tests are about."""

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        """Stop serving; the port is closed afterwards."""
        self.server.shutdown()
        self.server.server_close()

    def answer(self, request: http.server.BaseHTTPRequestHandler, body: bool) -> None:
        """Answer /owner/name/resolve/<revision>/<file>."""
        self.requests += 1
        owner, name, _, _, file = (request.path.strip("/").split("/", 4) + [""] * 5)[:5]
        key = f"{owner}/{name}/{file}"
        data = self.files.get(key)
        if self.status is not None or data is None:
            self._head(request, self.status or 404, {"X-Error-Code": "EntryNotFound"} if not self.status else {}, 0)
            return
        headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{self.sha256 or hashlib.sha256(data).hexdigest()}"'}
        if not body:
            self._head(request, 200, headers, len(data) if self.with_size else None)
            return
        self.gets[key] += 1
        time.sleep(self.delay)
        start = 0
        if self.ranges and (asked := request.headers.get("Range")):
            start = int(asked.removeprefix("bytes=").split("-")[0])
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        rest = data[start:]
        self._head(request, 206 if start else 200, headers, len(rest))
        if self.cuts:
            self.cuts -= 1
            request.wfile.write(rest[: len(rest) // 2])
            request.wfile.flush()
            request.close_connection = True
        else:
            request.wfile.write(rest)

    @staticmethod
    def _head(
        request: http.server.BaseHTTPRequestHandler, status: int, headers: dict[str, str], length: int | None
    ) -> None:
        request.send_response(status)
        for key, value in headers.items():
            request.send_header(key, value)
        if length is not None:
            request.send_header("Content-Length", str(length))
        request.end_headers()
