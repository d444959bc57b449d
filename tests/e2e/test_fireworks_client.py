"""The fireworks-ai 0.x client, unmodified, in its own environment."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.e2e.server import MODEL, Server

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".clients" / "bin" / "python"


@pytest.fixture(scope="module")
def heard(server: Server) -> dict[str, Any]:
    """What the client makes of our answers."""
    assert PYTHON.exists(), "run `make clients` first"
    environment = {**os.environ, "FIREWORKS_API_BASE": f"{server.base}/inference/v1", "FIREWORKS_API_KEY": server.key}
    command = [str(PYTHON), str(ROOT / "tests" / "e2e" / "fireworks_script.py"), MODEL, server.key]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_vectors_are_the_servers(heard: dict[str, Any], http: httpx2.Client) -> None:
    answer = http.post("/v1/embeddings", json={"model": MODEL, "input": ["hello world", "goodbye"]}).json()
    for vector, item in zip(heard["vectors"], answer["data"], strict=True):
        assert vector == pytest.approx(item["embedding"], abs=1e-5)
    assert heard["usage"] == [answer["usage"]["prompt_tokens"]] * 2


def test_async_client_gets_the_same_vector(heard: dict[str, Any]) -> None:
    assert heard["async"] == pytest.approx(heard["vectors"][0], abs=1e-5)


def test_errors_map_to_the_clients_classes(heard: dict[str, Any]) -> None:
    assert heard["wrong key"].startswith("AuthenticationError")
    assert "limit is 256" in heard["too long"]
