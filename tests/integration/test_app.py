"""The app in process: what it answers while loading, when it is too slow, and when a handler breaks."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx2
import pytest
from fastapi import FastAPI

from embergate.app import create_app
from embergate.clock import now
from embergate.engine.engine import Engine
from embergate.engine.loaded_model import LoadedModel
from embergate.engine.loading.spec import Precision
from embergate.engine.registry import Registry, ServedModel
from embergate.inference.deps import Deps, InferenceLimits
from embergate.web.caller import SingleKeyAuthenticator, digest_of

KEY = "eg_key-of-the-integration-tests"
MODEL = "sentence-transformers/all-MiniLM-L6-v2"
BODY = {"model": MODEL, "input": "hello"}


@pytest.fixture
async def deps() -> AsyncIterator[Deps]:
    engine = Engine()
    yield Deps(
        engine, Registry(), SingleKeyAuthenticator(digest_of(KEY), account="default"), InferenceLimits(timeout_s=30)
    )
    engine.close()


def client_of(app: FastAPI) -> httpx2.AsyncClient:
    transport = httpx2.ASGITransport(app=app)
    return httpx2.AsyncClient(transport=transport, base_url="http://test", headers={"authorization": f"Bearer {KEY}"})


async def test_while_models_load_the_answer_is_to_come_back(deps: Deps) -> None:
    async with client_of(create_app(deps)) as client:
        answer = await client.post("/v1/embeddings", json=BODY)
        assert answer.status_code == 503
        assert answer.json()["error"]["code"] == "DEPLOYMENT_SCALING_UP"
        assert answer.headers["retry-after"] == "1"
        assert (await client.get("/health/ready")).status_code == 503
        deps.is_ready = True
        assert (await client.post("/v1/embeddings", json=BODY)).status_code == 404
        assert (await client.get("/health/ready")).status_code == 200


async def test_unforeseen_error_is_a_500_that_tells_nothing(deps: Deps) -> None:
    app = create_app(deps)

    @app.get("/broken")
    async def broken() -> None:
        raise RuntimeError("a secret of the inside")

    async with client_of(app) as client:
        answer = await client.get("/broken")
    assert answer.status_code == 500
    assert answer.json()["request_id"] == answer.headers["x-request-id"]
    assert "secret" not in answer.text


async def test_request_that_takes_too_long_is_a_408_and_leaves_the_queue(deps: Deps) -> None:
    model = LoadedModel.open(MODEL, precision=Precision.F32)
    deps.registry.add(ServedModel("fireworks", "all-minilm-l6-v2", model, now()))
    deps.is_ready = True
    deps.limits = InferenceLimits(timeout_s=0.001)
    async with client_of(create_app(deps)) as client:
        answer = await client.post("/v1/embeddings", json={"model": MODEL, "input": ["many words " * 100] * 64})
        assert answer.status_code == 408
        assert answer.json()["error"]["code"] == "TIMEOUT"
        deps.limits = InferenceLimits(timeout_s=30)
        assert (await client.post("/v1/embeddings", json=BODY)).status_code == 200
    assert deps.engine.runner.stats.in_flight_tickets == 0
    model.close()
