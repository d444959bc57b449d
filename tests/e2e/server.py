"""A real server process on a free loopback port."""

from __future__ import annotations

import base64
import os
import queue
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import httpx2

KEY: Final = "eg_test-key-of-the-end-to-end-tests"
MODEL: Final = "sentence-transformers/all-MiniLM-L6-v2"
DEADLINE_S: Final = 60.0
SECRET_KEY: Final = base64.b64encode(bytes(range(32))).decode()


def on_database(url: str, **settings: str) -> dict[str, str]:
    """Return the settings of servers that share a database."""
    return {"database_url": url, "secret_keys": SECRET_KEY, "self_check": "false", **settings}


def head_of(num_bytes: int, *lines: str) -> bytes:
    """Return the head of an embeddings request as it goes over the wire."""
    announced = f"Content-Length: {num_bytes}"
    return "\r\n".join(
        ["POST /v1/embeddings HTTP/1.1", "Host: x", f"X-Api-Key: {KEY}", announced, *lines, "", ""]
    ).encode()


def read_all(connection: socket.socket) -> bytes:
    """Read until the server hangs up."""
    received = b""
    try:
        while chunk := connection.recv(1 << 16):
            received += chunk
    except ConnectionResetError:  # it hung up without reading everything we sent
        pass
    return received


class Server:
    """`embergate serve` with settings of our own; use as a context manager."""

    def __init__(self, data_dir: Path, *, key: str | None = KEY, within: Sequence[str] = (), **settings: str) -> None:
        """Start the process; `settings` are EMBERGATE_ variables in lower case, `within` a command that runs its arguments."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("EMBERGATE_")}
        environment |= {"EMBERGATE_DATA_DIR": str(data_dir), "HF_HUB_OFFLINE": "1"}
        environment |= {f"EMBERGATE_{name.upper()}": value for name, value in settings.items()}
        if key is not None:
            environment["EMBERGATE_BOOTSTRAP_API_KEY"] = key
        self.key = key or ""
        self.lines: list[str] = []
        self._arrived: queue.Queue[str | None] = queue.Queue()
        self.process = subprocess.Popen(
            [*within, sys.executable, "-m", "embergate.cli.main", "serve", "--port", settings.get("port", "0")],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as lines:
            for line in lines:
                self.lines.append(line.rstrip())
                self._arrived.put(line)
        self._arrived.put(None)

    def __enter__(self) -> Server:
        self.base = self.wait_for(r"listens on (http://\S+)")
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def wait_for(self, pattern: str) -> str:
        """Return the first group of the first log line that matches."""
        while (line := self._arrived.get(timeout=DEADLINE_S)) is not None:
            if match := re.search(pattern, line):
                return match.group(1)
        raise AssertionError(f"the server ended without {pattern!r}: {self.lines}")

    def ready(self) -> Server:
        """Wait until the models are loaded."""
        deadline = time.monotonic() + DEADLINE_S
        while httpx2.get(f"{self.base}/health/ready").status_code != 200:
            assert time.monotonic() < deadline, self.lines
            time.sleep(0.02)
        return self

    def model(self) -> str:
        """Return the name of the first model it serves."""
        with self.client() as client:
            name: str = client.get("/v1/models").json()["data"][0]["id"]
        return name

    def client(self, **headers: str) -> httpx2.Client:
        """Return a client with the key."""
        return httpx2.Client(
            base_url=self.base, headers={"authorization": f"Bearer {self.key}", **headers}, timeout=DEADLINE_S
        )

    def connect(self) -> socket.socket:
        """Open a bare connection."""
        host, port = self.base.removeprefix("http://").split(":")
        return socket.create_connection((host, int(port)), timeout=DEADLINE_S)

    def wait_until_busy(self, num_requests: int = 1) -> None:
        """Wait until so many requests are queued or running."""
        deadline = time.monotonic() + DEADLINE_S
        while self.metric("embergate_requests_in_flight") < num_requests:
            assert time.monotonic() < deadline, self.lines

    def stop(self) -> int:
        """Send SIGTERM and return the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(DEADLINE_S)
        self._reader.join(DEADLINE_S)
        return code

    def metric(self, name: str) -> float:
        """Return a metric, its labels written as the page writes them; 0 where it was never counted."""
        text = httpx2.get(f"{self.base}/metrics").text
        match = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
        return float(match.group(1)) if match else 0.0
