"""Rerankers through a real server process, and through the client that reads scores as Fireworks' older ones do."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest

from embergate.engine.loaded_model import LoadedModel
from embergate.engine.loading.loader import SourceOptions
from embergate.engine.loading.spec import Precision
from tests.e2e.server import Server
from tests.e2e.test_fireworks_client import PYTHON, ROOT
from tests.random_models import JUDGES, RERANKERS, Case, write_model

QUERY = "the quick brown fox"
DOCUMENTS = ["a lazy dog", "the fox jumps over the dog", "winter and summer", "a river"]
MODELS = {"cross": RERANKERS[0], "judge": JUDGES[0]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rerankers")
    for name, case in MODELS.items():
        write_model(case, folder / name, 0)
    return folder


@pytest.fixture(scope="module")
def server(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    models = ",".join(f"{folder / name}:f32" for name in MODELS)
    with Server(tmp_path_factory.mktemp("data"), models=models) as started:
        yield started.ready()


@pytest.fixture
def http(server: Server) -> Iterator[httpx2.Client]:
    with server.client() as client:
        yield client


@pytest.mark.parametrize(("name", "case"), MODELS.items(), ids=MODELS)
def test_scores_are_the_models(http: httpx2.Client, folder: Path, name: str, case: Case) -> None:
    model = LoadedModel.open(folder / name, precision=Precision.F32, source=SourceOptions(offline=True))
    scores = model.score(QUERY, DOCUMENTS)
    model.close()
    answer = http.post("/v1/rerank", json={"model": name, "query": QUERY, "documents": DOCUMENTS, "top_n": 3})
    assert answer.status_code == 200, answer.text
    best = np.argsort(-scores)[:3]
    assert [one["index"] for one in answer.json()["data"]] == best.tolist()
    np.testing.assert_allclose([one["relevance_score"] for one in answer.json()["data"]], scores[best], rtol=1e-3)
    assert answer.json()["usage"]["prompt_tokens"] == int(answer.headers["fireworks-prompt-tokens"])
    assert http.get(f"/v1/models/{name}").json()["kind"] == "RERANKER", case.name


def test_first_reranker_is_the_default_and_embeds_nothing(http: httpx2.Client) -> None:
    told = http.post("/inference/v1/rerank", json={"query": QUERY, "documents": DOCUMENTS}).json()
    assert told["model"] == "accounts/default/models/cross"
    refusal = http.post("/v1/embeddings", json={"model": "cross", "input": "a"})
    assert (refusal.status_code, refusal.json()["error"]["param"]) == (400, "model")


def test_tokens_are_counted(server: Server, http: httpx2.Client) -> None:
    name = 'embergate_tokens_total{model="cross"}'
    before = server.metric(name)
    told = http.post("/v1/rerank", json={"model": "cross", "query": QUERY, "documents": DOCUMENTS}).json()
    assert server.metric(name) - before == told["usage"]["total_tokens"]


def test_fireworks_client_reads_the_results(server: Server, http: httpx2.Client) -> None:
    assert PYTHON.exists(), "run `make clients` first"
    settings = {"FIREWORKS_API_BASE": f"{server.base}/inference/v1", "FIREWORKS_API_KEY": server.key}
    script = str(ROOT / "tests" / "e2e" / "fireworks_rerank_script.py")
    command = [str(PYTHON), script, "cross", server.key, QUERY, *DOCUMENTS]
    done = subprocess.run(command, env={**os.environ, **settings}, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = http.post(
        "/v1/rerank", json={"model": "cross", "query": QUERY, "documents": DOCUMENTS}
    ).json()
    for heard in json.loads(done.stdout.splitlines()[-1]):
        assert [(index, text) for index, _, text in heard] == [(one["index"], one["text"]) for one in told["results"]]
        scores = [one["relevance_score"] for one in told["results"]]
        assert [score for _, score, _ in heard] == pytest.approx(scores, rel=1e-3)
