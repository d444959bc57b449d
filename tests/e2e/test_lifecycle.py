"""Start, stop, load, and clients that leave."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest

from tests.e2e.server import DEADLINE_S, KEY, MODEL, Server

LONG_TEXT = "many words about rivers " * 50
BIG_BODY = {"model": MODEL, "input": [LONG_TEXT] * 256, "encoding_format": "base64"}


def test_client_that_leaves_frees_its_place(server: Server) -> None:
    host, port = server.base.removeprefix("http://").split(":")
    body = json.dumps(BIG_BODY).encode()
    head = (
        f"POST /v1/embeddings HTTP/1.1\r\nHost: x\r\nX-Api-Key: {KEY}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    )
    with socket.create_connection((host, int(port))) as raw:
        raw.sendall(head + body)
        deadline = time.monotonic() + DEADLINE_S
        while server.metric("embergate_requests_in_flight") == 0:
            assert time.monotonic() < deadline
    # 50,000 tokens were asked for; with the client gone, they are not run.
    while server.metric("embergate_requests_in_flight") or server.metric("embergate_queued_tokens"):
        assert time.monotonic() < deadline
    with server.client() as http:
        assert http.post("/v1/embeddings", json={"model": MODEL, "input": "x"}).status_code == 200


def test_sigterm_lets_requests_in_flight_finish(tmp_path: Path) -> None:
    with Server(tmp_path, self_check="false") as server, ThreadPoolExecutor(4) as pool:
        server.ready()
        body = {**BIG_BODY, "input": [LONG_TEXT] * 16}

        def ask() -> httpx2.Response:
            with server.client() as http:
                return http.post("/v1/embeddings", json=body)

        answers = [pool.submit(ask) for _ in range(4)]
        deadline = time.monotonic() + DEADLINE_S
        while server.metric("embergate_requests_in_flight") < 4:
            assert time.monotonic() < deadline
        assert server.stop() == 0
        for answer in answers:
            assert answer.result().status_code == 200
            assert len(answer.result().json()["data"]) == 16


def test_sigterm_while_loading_ends_the_process(tmp_path: Path) -> None:
    with Server(tmp_path) as server:
        assert server.stop() == 0


def test_generated_key_is_shown_once_and_works_after_a_restart(tmp_path: Path) -> None:
    with Server(tmp_path, key=None, self_check="false") as first:
        key = next(line.rsplit(" ", 1)[1] for line in first.lines if "API key" in line)
    assert key.startswith("eg_")
    (stored,) = tmp_path.iterdir()
    assert stat.S_IMODE(stored.stat().st_mode) == 0o600
    assert key not in stored.read_text()
    with Server(tmp_path, key=None, self_check="false") as second:
        assert not [line for line in second.lines if "API key" in line]
        assert httpx2.get(f"{second.base}/v1/models", headers={"x-api-key": key}).status_code == 200
        assert httpx2.get(f"{second.base}/v1/models", headers={"x-api-key": "eg_other"}).status_code == 401


def test_full_queue_says_when_to_come_back(tmp_path: Path) -> None:
    with Server(tmp_path, self_check="false", max_queued_tokens="2000") as server, ThreadPoolExecutor(8) as pool:
        server.ready()

        def ask(_: int) -> httpx2.Response:
            with server.client() as http:
                return http.post("/v1/embeddings", json={**BIG_BODY, "input": [LONG_TEXT] * 32})

        answers = list(pool.map(ask, range(8)))
        refused = [answer for answer in answers if answer.status_code == 503]
        assert [answer for answer in answers if answer.status_code == 200]
        assert refused
        for answer in refused:
            assert answer.json()["error"]["code"] == "OVERLOADED"
            assert 1 <= int(answer.headers["retry-after"]) <= 60


BAD_SETTINGS = {
    "a port that is no number": ({"EMBERGATE_PORT": "abc"}, "EMBERGATE_PORT"),
    "a misspelt name": ({"EMBERGATE_PROT": "1"}, "did you mean EMBERGATE_PORT?"),
    "a short key": ({"EMBERGATE_BOOTSTRAP_API_KEY": "short"}, "at least 16 characters"),
    "a precision that is none": ({"EMBERGATE_PRECISION": "f16"}, "EMBERGATE_PRECISION"),
    "a file that is not there": ({"EMBERGATE_CONFIG": "/nowhere/embergate.toml"}, "/nowhere/embergate.toml"),
    "a model that is none": ({"EMBERGATE_MODELS": "no-such-model"}, "neither a folder"),
    "a model that is not here": ({"EMBERGATE_MODELS": "BAAI/bge-m3"}, "models pull"),
    "a data directory that is a file": ({"EMBERGATE_DATA_DIR": "/dev/null"}, "EMBERGATE_DATA_DIR"),
}


@pytest.mark.parametrize(("settings", "said"), BAD_SETTINGS.values(), ids=BAD_SETTINGS.keys())
def test_bad_setting_stops_the_start_with_one_line(tmp_path: Path, settings: dict[str, str], said: str) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("EMBERGATE_")}
    environment |= {"EMBERGATE_DATA_DIR": str(tmp_path), "HF_HUB_OFFLINE": "1", **settings}
    arguments = [] if "EMBERGATE_PORT" in settings else ["--port", "0"]
    command = [sys.executable, "-m", "embergate.cli.main", "serve", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=DEADLINE_S)
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_unknown_key_of_the_settings_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "embergate.toml"
    file.write_text("prot = 1\n")
    environment = {**os.environ, "EMBERGATE_CONFIG": str(file)}
    command = [sys.executable, "-m", "embergate.cli.main", "serve"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=DEADLINE_S)
    assert done.returncode == 1
    assert "EMBERGATE_PROT" in done.stderr


def test_taken_port_ends_the_start(server: Server, tmp_path: Path) -> None:
    taken = server.base.rsplit(":", 1)[1]
    other = Server(tmp_path, port=taken)
    assert other.process.wait(DEADLINE_S) != 0
    other.stop()
    assert "address already in use" in "\n".join(other.lines)


def test_requests_run_side_by_side(server: Server) -> None:
    """A short request that comes after a long one is answered first."""
    with ThreadPoolExecutor(1) as pool, server.client() as http, server.client() as other:
        long = pool.submit(http.post, "/v1/embeddings", json=BIG_BODY)
        deadline = time.monotonic() + DEADLINE_S
        while server.metric("embergate_requests_in_flight") == 0:
            assert time.monotonic() < deadline
        assert other.post("/v1/embeddings", json={"model": MODEL, "input": "short"}).status_code == 200
        assert not long.done()
        assert len(long.result().json()["data"]) == 256
