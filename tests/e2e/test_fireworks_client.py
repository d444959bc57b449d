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


@pytest.fixture(scope="module", params=["0", "1"], ids=["lenient", "strict"])
def heard(server: Server, request: pytest.FixtureRequest) -> dict[str, Any]:
    """What the client makes of our answers; in its strict mode it refuses keys that it does not know."""
    assert PYTHON.exists(), "run `make clients` first"
    settings = {
        "FIREWORKS_API_BASE": f"{server.base}/inference/v1",
        "FIREWORKS_API_KEY": server.key,
        "FIREWORKS_API_STRICT": request.param,
    }
    command = [str(PYTHON), str(ROOT / "tests" / "e2e" / "fireworks_script.py"), MODEL, server.key]
    done = subprocess.run(command, env={**os.environ, **settings}, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_vectors_are_the_servers(heard: dict[str, Any], http: httpx2.Client) -> None:
    answer = http.post("/v1/embeddings", json={"model": MODEL, "input": ["hello world", "goodbye"]}).json()
    for vector, item in zip(heard["vectors"], answer["data"], strict=True):
        assert vector == pytest.approx(item["embedding"], abs=1e-5)
    assert heard["usage"] == [answer["usage"]["prompt_tokens"]] * 2


def test_async_client_and_token_ids_get_the_same_vector(heard: dict[str, Any]) -> None:
    assert heard["async"] == pytest.approx(heard["vectors"][0], abs=1e-5)
    assert heard["token ids"] == pytest.approx(heard["vectors"][0], abs=1e-5)


def test_models_are_listed(heard: dict[str, Any]) -> None:
    assert heard["models"] in (None, ["accounts/fireworks/models/all-minilm-l6-v2"])


def test_errors_map_to_the_clients_classes(heard: dict[str, Any]) -> None:
    assert heard["wrong key"].startswith("AuthenticationError")
    assert heard["unknown model"].startswith("InvalidRequestError")
    assert "Model not found, inaccessible, and/or not deployed" in heard["unknown model"]
    assert "limit is 256" in heard["too long"]
