"""A real HTTP server on a loopback port that takes webhooks, or spans, or does not."""

from __future__ import annotations

import base64
import hmac
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()


class Listener:
    """Use as a context manager. `status` is what it answers; it says nothing at all for 0."""

    def __init__(self) -> None:
        self.status = 204
        self.seen: list[tuple[dict[str, str], bytes]] = []
        self.paths: list[str] = []
        listener = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                listener.paths.append(self.path)
                listener.seen.append(({name.lower(): value for name, value in self.headers.items()}, body))
                if not listener.status:
                    return
                self.send_response(listener.status)
                self.send_header("location", f"{listener.url}/elsewhere")
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> Listener:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def messages(self) -> list[dict[str, Any]]:
        """Return what came, each verified as a client verifies it."""
        return [verified(headers, body) for headers, body in self.seen]


def verified(headers: dict[str, str], body: bytes) -> dict[str, Any]:
    """Return a message whose signature is right, and new."""
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    key = base64.b64decode(SECRET.removeprefix("whsec_"))
    expected = "v1," + base64.b64encode(hmac.digest(key, signed, "sha256")).decode()
    assert hmac.compare_digest(expected, headers["webhook-signature"])
    assert headers["content-type"] == "application/json"
    message: dict[str, Any] = json.loads(body)
    assert message["id"] == headers["webhook-id"]
    assert abs(time.time() - int(headers["webhook-timestamp"])) < 60  # a message is verified some time after it came
    return message
