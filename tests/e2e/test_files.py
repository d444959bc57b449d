"""Files of hundreds of megabytes through a real server process: its memory, its death, and clients that stop."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import socket
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest

from embergate.app.gateway import open_keyring
from embergate.gateway.files.urls import FileUrls, PlaneUrlSigner
from embergate.settings import Settings
from tests.e2e.server import DEADLINE_S, Server, read_all

HOUR = timedelta(hours=1)
MB = 1 << 20
LARGE = 300 * MB
MAX_GROWTH = 50 * MB
BLOCK = os.urandom(MB)


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


def start(data_dir: Path, model: str) -> Server:
    return Server(data_dir, models=model, self_check="false")


def urls_of(server: Server, data_dir: Path) -> FileUrls:
    """Return URLs as the server's own rooms make them."""
    return PlaneUrlSigner(open_keyring(Settings(data_dir=data_dir))).at(server.base)


def upload_url(server: Server, data_dir: Path, size: int, **options: str) -> str:
    return asyncio.run(urls_of(server, data_dir).upload_url("a/large.bin", size=size, expires_in=HOUR, **options))


def download_url(server: Server, data_dir: Path) -> str:
    return asyncio.run(urls_of(server, data_dir).download_url("a/large.bin", filename="large.bin", expires_in=HOUR))


class Watched:
    """How much more memory a process has at its peak than when this was made."""

    def __init__(self, process_id: int) -> None:
        self._folder = Path(f"/proc/{process_id}")
        (self._folder / "clear_refs").write_text("5")  # the peak begins again
        self._before = self._peak()

    def _peak(self) -> int:
        found = re.search(r"^VmHWM:\s+(\d+) kB$", (self._folder / "status").read_text(), re.MULTILINE)
        assert found is not None
        return int(found.group(1)) * 1024

    @property
    def growth(self) -> int:
        return self._peak() - self._before


def files_of(server: Server) -> list[str]:
    """Return the names of the objects that a server has open."""
    handles = Path(f"/proc/{server.process.pid}/fd").iterdir()
    return [path.name for path in map(Path.resolve, handles) if path.name == "large.bin"]


def blocks(num: int) -> Iterator[bytes]:
    return iter([BLOCK] * num)


def test_large_file_goes_up_and_down_in_bounded_memory(data_dir: Path, tiny_model: str) -> None:
    digest = hashlib.sha256(b"".join(blocks(LARGE // MB))).hexdigest()
    with start(data_dir, tiny_model) as server, httpx2.Client(timeout=DEADLINE_S) as client:
        server.ready()
        memory = Watched(server.process.pid)
        url = upload_url(server, data_dir, LARGE, sha256=digest)
        answer = client.put(url, content=blocks(LARGE // MB), headers={"content-length": str(LARGE)})
        assert answer.status_code == 200, answer.text
        assert memory.growth < MAX_GROWTH
        assert (data_dir / "objects/a/large.bin").stat().st_size == LARGE
        got = hashlib.sha256()
        with client.stream("GET", download_url(server, data_dir)) as streamed:
            assert streamed.headers["content-length"] == str(LARGE)
            for chunk in streamed.iter_bytes():
                got.update(chunk)
        assert got.hexdigest() == digest
        assert memory.growth < MAX_GROWTH
        head = client.head(download_url(server, data_dir))
        assert (head.status_code, head.headers["content-length"], head.content) == (200, str(LARGE), b"")
        part = client.get(download_url(server, data_dir), headers={"range": f"bytes={MB - 1}-{MB}"})
        assert (part.status_code, part.content) == (206, BLOCK[-1:] + BLOCK[:1])


def test_client_that_stops_reading_costs_no_memory(data_dir: Path, tiny_model: str) -> None:
    with start(data_dir, tiny_model) as server:
        server.ready()
        (data_dir / "objects/a").mkdir()
        (data_dir / "objects/a/large.bin").write_bytes(BLOCK * 100)
        memory = Watched(server.process.pid)
        url = urlsplit(download_url(server, data_dir))
        with server.connect() as connection:
            connection.sendall(f"GET {url.path}?{url.query} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            assert connection.recv(12) == b"HTTP/1.1 200"
            time.sleep(1)
            assert memory.growth < 20 * MB
            assert files_of(server) == ["large.bin"]
        deadline = time.monotonic() + DEADLINE_S
        while files_of(server):
            assert time.monotonic() < deadline, "the file is still open though the client is gone"
            time.sleep(0.05)


def test_upload_survives_the_servers_death(data_dir: Path, tiny_model: str) -> None:
    data = BLOCK * 8 + b"end"
    digest = hashlib.sha256(data).hexdigest()
    with start(data_dir, tiny_model) as server:
        url = urlsplit(upload_url(server, data_dir, len(data), sha256=digest))
        head = f"PUT {url.path}?{url.query} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(data)}\r\n"
        with server.connect() as connection:
            connection.sendall(f"{head}Content-Range: bytes 0-{len(data) - 1}/{len(data)}\r\n\r\n".encode())
            connection.sendall(data[: 5 * MB])
            (held,) = _wait_for(data_dir, 4 * MB)
            server.process.kill()
            server.process.wait(DEADLINE_S)
    assert not (data_dir / "objects/a/large.bin").exists()
    with start(data_dir, tiny_model) as server, httpx2.Client(base_url=server.base, timeout=DEADLINE_S) as client:
        target = f"{url.path}?{url.query}"
        status = client.put(target, headers={"content-range": f"bytes */{len(data)}"})
        assert status.status_code == 308
        at = int(status.headers["range"].removeprefix("bytes=0-")) + 1
        assert 4 * MB <= at <= 5 * MB
        rest = {"content-range": f"bytes {at}-{len(data) - 1}/{len(data)}"}
        assert client.put(target, content=data[at:], headers=rest).status_code == 200
    assert (data_dir / "objects/a/large.bin").read_bytes() == data
    assert not held.exists()


def _wait_for(data_dir: Path, num_bytes: int) -> list[Path]:
    deadline = time.monotonic() + DEADLINE_S
    while True:
        found = list((data_dir / "objects/.work").glob("upload-*"))
        if found and found[0].stat().st_size >= num_bytes:
            return found
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_bodies_that_lie_get_an_answer(data_dir: Path, tiny_model: str) -> None:
    with start(data_dir, tiny_model) as server:
        url = urlsplit(upload_url(server, data_dir, 10))
        target = f"PUT {url.path}?{url.query} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"

        def ask(head: str, body: bytes, *, ends: bool = True) -> bytes:
            with server.connect() as connection:
                connection.sendall(f"{head}\r\n\r\n".encode() + body)
                if not ends:
                    connection.shutdown(socket.SHUT_WR)
                return read_all(connection)

        chunked = f"{target}Transfer-Encoding: chunked"
        assert ask(f"{target}Content-Length: 11", b"0123456789x").startswith(b"HTTP/1.1 413")
        assert ask(f"{target}Content-Length: 9", b"012345678").startswith(b"HTTP/1.1 400")
        assert ask(chunked, b"b\r\n0123456789x\r\n0\r\n\r\n").startswith(b"HTTP/1.1 413")
        assert ask(chunked, b"9\r\n012345678\r\n0\r\n\r\n").startswith(b"HTTP/1.1 400")
        assert b"HTTP/1.1 200" not in ask(f"{target}Content-Length: 10", b"01234", ends=False)  # the client is gone
        assert not (data_dir / "objects/a").exists()
        assert list((data_dir / "objects/.work").iterdir()) == []
        waits = f"{target}Expect: 100-continue\r\nContent-Length: 10"
        assert ask(waits, b"0123456789").startswith(b"HTTP/1.1 100")
        assert (data_dir / "objects/a/large.bin").read_bytes() == b"0123456789"
        forged = waits.replace("signature=", "signature=A")
        assert ask(forged, b"").startswith(b"HTTP/1.1 403")  # without the body
