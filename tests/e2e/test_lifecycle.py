"""Start, stop, load, and clients that leave."""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest

from tests.e2e.server import DEADLINE_S, MODEL, Server, head_of, read_all

LONG_TEXT = "many words about rivers " * 50
BIG_BODY = {"model": MODEL, "input": [LONG_TEXT] * 256, "encoding_format": "base64"}


def test_client_that_leaves_frees_its_place(server: Server) -> None:
    left = 'embergate_requests_total{route="/embeddings",status="499"}'
    num_left = server.metric(left)
    body = json.dumps(BIG_BODY).encode()
    with server.connect() as connection:
        connection.sendall(head_of(len(body)) + body)
        server.wait_until_busy()
    with server.connect() as connection:  # this one leaves before its body is there
        connection.sendall(head_of(len(body)) + body[:10])
    # 50,000 tokens were asked for; with the client gone, they are not run.
    deadline = time.monotonic() + DEADLINE_S
    while server.metric("embergate_requests_in_flight") or server.metric("embergate_queued_tokens"):
        assert time.monotonic() < deadline
    while server.metric(left) < num_left + 2:
        assert time.monotonic() < deadline
    with server.client() as http:
        assert http.post("/v1/embeddings", json={"model": MODEL, "input": "x"}).status_code == 200
    assert not [line for line in server.lines if "request_failed" in line]


def test_client_that_closes_its_sending_side_has_left(server: Server) -> None:
    body = json.dumps({"model": MODEL, "input": "x"}).encode()
    with server.connect() as connection:
        connection.sendall(head_of(len(body)) + body)
        connection.shutdown(socket.SHUT_WR)
        assert read_all(connection) == b""


def test_everything_that_is_logged_is_json(server: Server) -> None:
    with server.connect() as connection:
        connection.sendall(b"not HTTP\r\n\r\n")
        read_all(connection)
    assert server.wait_for("(Invalid HTTP request)")
    logged = [line for line in server.lines if not line.startswith("Embergate listens on ")]
    for line in logged:
        assert {"event", "level", "timestamp"} <= set(json.loads(line))


def accepts(server: Server) -> bool:
    try:
        server.connect().close()
    except ConnectionError:
        return False
    return True


def test_sigterm_lets_requests_in_flight_finish_and_accepts_no_others(tmp_path: Path) -> None:
    with Server(tmp_path, self_check="false") as server, ThreadPoolExecutor(4) as pool:
        server.ready()

        def ask() -> httpx2.Response:
            with server.client() as http:
                return http.post("/v1/embeddings", json={**BIG_BODY, "input": [LONG_TEXT] * 6})

        answers = [pool.submit(ask) for _ in range(4)]
        server.wait_until_busy(4)
        server.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + DEADLINE_S
        while accepts(server):
            assert time.monotonic() < deadline
        for answer in answers:
            assert answer.result().status_code == 200
            assert len(answer.result().json()["data"]) == 6
        assert server.process.wait(DEADLINE_S) == 0


def test_request_that_outlives_the_grace_is_told_so(tmp_path: Path) -> None:
    with Server(tmp_path, self_check="false", shutdown_grace_s="0") as server, ThreadPoolExecutor(1) as pool:
        server.ready()

        def ask() -> httpx2.Response:
            with server.client() as http:
                return http.post("/v1/embeddings", json={**BIG_BODY, "input": [LONG_TEXT] * 1024})

        answer = pool.submit(ask)
        with server.connect() as slow:  # its body never comes
            slow.sendall(head_of(100))
            server.wait_until_busy()
            assert server.stop() == 0
            assert b"SHUTTING_DOWN" in read_all(slow)
        assert answer.result().status_code == 503
        assert answer.result().json()["error"]["code"] == "SHUTTING_DOWN"
    assert "Traceback" not in "\n".join(server.lines)


def test_sigint_ends_the_process(tmp_path: Path) -> None:
    with Server(tmp_path, self_check="false") as server:
        server.ready().process.send_signal(signal.SIGINT)
        assert server.process.wait(DEADLINE_S) == 0


def test_sigterm_while_loading_ends_the_process(tmp_path: Path) -> None:
    with Server(tmp_path) as server:
        assert server.stop() == 0


def test_generated_key_is_shown_once_and_works_after_a_restart(tmp_path: Path, tiny_model: str) -> None:
    with Server(tmp_path, key=None, self_check="false", models=tiny_model) as first:
        key = next(line.rsplit(" ", 1)[1] for line in first.lines if "API key" in line)
    assert key.startswith("eg_")
    stored = list(tmp_path.rglob("*"))
    assert {"embergate.db", "secret.key"} <= {path.name for path in stored}
    for path in stored:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)
        assert path.is_dir() or key.encode() not in path.read_bytes()
    with Server(tmp_path, key=None, self_check="false", models=tiny_model) as second:
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
    "a misspelt name": ({"EMBERGATE_PROT": "1"}, "did you mean EMBERGATE_PORT?"),
    "a port that is no number": ({"EMBERGATE_PORT": "abc"}, "EMBERGATE_PORT"),
    "a short key": ({"EMBERGATE_BOOTSTRAP_API_KEY": "short"}, "at least 16 characters"),
    "a file that is not there": ({"EMBERGATE_CONFIG": "/nowhere/embergate.toml"}, "/nowhere/embergate.toml"),
    "a host that is not ours": ({"EMBERGATE_HOST": "192.0.2.1"}, "EMBERGATE_HOST"),
    "a model that is none": ({"EMBERGATE_MODELS": "no-such-model"}, "neither a folder"),
    "a model that cannot be": ({"EMBERGATE_MODELS": "my org/my model"}, "neither a folder"),
    "a model that is not here": ({"EMBERGATE_MODELS": "BAAI/bge-m3"}, "models pull"),
    "a model given twice": ({"EMBERGATE_MODELS": f"{MODEL},fireworks/all-minilm-l6-v2"}, f"{MODEL!r} and 'fireworks"),
    "the home of a user who is not there": ({"EMBERGATE_MODELS": "~nobody-here/x"}, "'~nobody-here/x'"),
    "a data directory that is a file": ({"EMBERGATE_DATA_DIR": "/dev/null"}, "EMBERGATE_DATA_DIR"),
}


def start_in_vain(data_dir: Path, settings: dict[str, str]) -> str:
    """Start a server that cannot start; return the one line that says why."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("EMBERGATE_")}
    environment |= {"EMBERGATE_DATA_DIR": str(data_dir), "HF_HUB_OFFLINE": "1", **settings}
    arguments = [] if "EMBERGATE_PORT" in settings else ["--port", "0"]
    command = [sys.executable, "-m", "embergate.cli.main", "serve", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=DEADLINE_S)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    (said,) = [line for line in done.stderr.splitlines() if line.startswith("embergate: ")]
    assert done.stderr.endswith(f"{said}\n")
    return said


@pytest.fixture(scope="module")
def starts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[str]]]:
    """Start a server with each of the bad settings, two at a time: it takes seconds to find out what is wrong."""
    with ThreadPoolExecutor(2) as pool:
        yield {
            name: pool.submit(start_in_vain, tmp_path_factory.mktemp("data"), settings)
            for name, (settings, _) in BAD_SETTINGS.items()
        }


@pytest.mark.parametrize("name", BAD_SETTINGS)
def test_bad_setting_stops_the_start_with_one_line(starts: dict[str, Future[str]], name: str) -> None:
    assert BAD_SETTINGS[name][1] in starts[name].result()


def test_unknown_key_of_the_settings_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "embergate.toml"
    file.write_text("prot = 1\n")
    assert f"{file}: prot is not a setting" in start_in_vain(tmp_path, {"EMBERGATE_CONFIG": str(file)})


def test_damaged_secret_is_named_with_what_it_must_be(tmp_path: Path) -> None:
    (tmp_path / "secret.key").write_text("not a key")
    said = start_in_vain(tmp_path, {})
    assert str(tmp_path / "secret.key") in said
    assert "32 random bytes" in said


def test_another_secret_than_the_databases_stops_the_start(tmp_path: Path, tiny_model: str) -> None:
    with Server(tmp_path, self_check="false", models=tiny_model):
        pass
    (tmp_path / "secret.key").write_text(base64.b64encode(bytes(32)).decode())
    assert "made with another secret key" in start_in_vain(tmp_path, {})


def test_database_that_is_not_migrated_stops_the_start(tmp_path: Path) -> None:
    settings = {"EMBERGATE_DATABASE_URL": f"sqlite:///{tmp_path}/other.db"}
    assert "embergate migrate" in start_in_vain(tmp_path, settings)


def test_shared_database_wants_a_secret_that_every_server_is_given(tmp_path: Path) -> None:
    settings = {"EMBERGATE_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none"}
    assert "EMBERGATE_SECRET_KEYS" in start_in_vain(tmp_path, settings)


def test_database_that_cannot_be_reached_stops_the_start(tmp_path: Path) -> None:
    secret = base64.b64encode(bytes(32)).decode()
    url = "postgresql://somebody:a-password@127.0.0.1:1/none"
    said = start_in_vain(tmp_path, {"EMBERGATE_DATABASE_URL": url, "EMBERGATE_SECRET_KEYS": secret})
    assert "a-password" not in said


@pytest.mark.parametrize("key", ["é" * 20, "a-key-with-a\ttab-in-it"])
def test_key_that_no_header_can_carry_is_refused(tmp_path: Path, key: str) -> None:
    assert "EMBERGATE_BOOTSTRAP_API_KEY" in start_in_vain(tmp_path, {"EMBERGATE_BOOTSTRAP_API_KEY": key})


def test_taken_port_stops_the_start_and_makes_no_key(server: Server, tmp_path: Path) -> None:
    said = start_in_vain(tmp_path, {"EMBERGATE_PORT": server.base.rsplit(":", 1)[1]})
    assert "EMBERGATE_PORT" in said
    assert "Address already in use" in said
    assert not list(tmp_path.iterdir())


def test_requests_run_side_by_side(server: Server) -> None:
    """A short request that comes after a long one is answered first."""
    with ThreadPoolExecutor(1) as pool, server.client() as http, server.client() as other:
        long = pool.submit(http.post, "/v1/embeddings", json={**BIG_BODY, "input": [LONG_TEXT] * 128})
        server.wait_until_busy()
        assert other.post("/v1/embeddings", json={"model": MODEL, "input": "short"}).status_code == 200
        assert not long.done()
        assert len(long.result().json()["data"]) == 128
