"""The routes in process: shapes of answers and errors, whatever network stands behind them."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest

from embergate.app.asgi import openapi_document
from embergate.clock import now
from embergate.engine.loading.catalog import ModelKind
from embergate.engine.registry import ServedModel
from embergate.engine.self_check import SelfCheck
from embergate.inference.deps import InferenceLimits
from embergate.inference.embeddings import MAX_INLINE_NUMBERS
from tests.loaded import fake_model
from tests.parts import Parts, app_of, parts_over

KEY = "eg_key-of-the-route-tests"
ID = "accounts/default/models/tiny"
LIMIT = 16_384


@pytest.fixture
async def deps(tmp_path: Path, sqlite_url: str) -> AsyncIterator[Parts]:
    model = fake_model(tmp_path / "tiny", resizable=True, prompts={"query": "query: "})
    async with parts_over(sqlite_url, KEY, InferenceLimits(max_request_bytes=LIMIT)) as parts:
        parts.registry.add(ServedModel("default", "tiny", model, now(), SelfCheck(0.5, 0.75, 123.45)))
        parts.is_ready = True
        yield parts


@pytest.fixture
async def client(deps: Parts) -> AsyncIterator[httpx2.AsyncClient]:
    transport = httpx2.ASGITransport(app=app_of(deps))
    async with httpx2.AsyncClient(transport=transport, base_url="http://test", headers={"x-api-key": KEY}) as client:
        yield client


async def embed(client: httpx2.AsyncClient, *, headers: dict[str, str] | None = None, **body: Any) -> httpx2.Response:
    return await client.post("/v1/embeddings", json={"model": "tiny", "input": "the fox", **body}, headers=headers)


async def test_base64_is_the_floats_in_little_endian(client: httpx2.AsyncClient) -> None:
    floats = (await embed(client)).json()["data"][0]["embedding"]
    encoded = (await embed(client, encoding_format="base64")).json()["data"][0]["embedding"]
    np.testing.assert_allclose(np.frombuffer(base64.b64decode(encoded), "<f4"), floats, rtol=1e-6)


async def test_answer_too_long_for_the_event_loop_is_in_order_too(client: httpx2.AsyncClient) -> None:
    data = (await embed(client, input=[[7]] * (MAX_INLINE_NUMBERS // 48 + 1))).json()["data"]
    assert [item["index"] for item in data] == list(range(MAX_INLINE_NUMBERS // 48 + 1))
    assert all(item["embedding"] == data[0]["embedding"] for item in data)


async def test_prompt_of_the_input_type_is_put_before_the_text(client: httpx2.AsyncClient) -> None:
    typed = await embed(client, input_type="query")
    written = await embed(client, input="query: the fox")
    assert typed.json()["data"] == written.json()["data"]
    assert typed.json()["usage"] == written.json()["usage"]
    plain = await embed(client, input_type="document")  # which this model has no prompt for
    assert plain.json()["data"] == (await embed(client)).json()["data"]


@pytest.mark.parametrize("name", ["document", "passage", "corpus"])
async def test_prompt_of_documents_has_one_of_three_names(
    client: httpx2.AsyncClient, deps: Parts, tmp_path: Path, name: str
) -> None:
    model = fake_model(tmp_path / "other", prompts={"query": "query: ", name: "passage: "})
    deps.registry.add(ServedModel("default", "other", model, now()))
    typed = await embed(client, model="other", input_type="document")
    written = await embed(client, model="other", input="passage: the fox")
    assert typed.json()["data"] == written.json()["data"]
    assert typed.json()["data"] != (await embed(client, model="other")).json()["data"]


async def test_reranker_is_listed_as_one(client: httpx2.AsyncClient, deps: Parts, tmp_path: Path) -> None:
    assert (await client.get(f"/v1/models/{ID}")).json()["kind"] == "EMBEDDING_MODEL"
    model = fake_model(tmp_path / "other", kind=ModelKind.RERANKER)
    deps.registry.add(ServedModel("default", "other", model, now()))
    assert (await client.get("/v1/models/other")).json()["kind"] == "RERANKER"


async def test_cut_vectors_can_be_normalised(client: httpx2.AsyncClient) -> None:
    vector = (await embed(client, dimensions=4, normalize=True)).json()["data"][0]["embedding"]
    assert len(vector) == 4
    assert np.linalg.norm(vector) == pytest.approx(1.0, abs=1e-6)


async def test_timings_go_into_the_body_where_they_are_asked_for(client: httpx2.AsyncClient) -> None:
    answer = await embed(client, perf_metrics_in_response=True)
    assert answer.json()["perf_metrics"]["prompt-tokens"] == answer.headers["fireworks-prompt-tokens"]
    assert "perf_metrics" not in (await embed(client)).json()


async def test_fingerprint_that_is_not_expected_is_a_conflict(client: httpx2.AsyncClient) -> None:
    fingerprint = (await embed(client)).headers["x-embergate-fingerprint"]
    expecting = {"x-embergate-expect-fingerprint": fingerprint}
    assert (await embed(client, headers=expecting)).status_code == 200
    other = await embed(client, headers=expecting, dimensions=4)
    assert other.status_code == 409
    assert other.json()["error"]["code"] == "FINGERPRINT_MISMATCH"


async def test_models_are_described_with_what_their_load_measured(client: httpx2.AsyncClient) -> None:
    listed = (await client.get("/v1/models")).json()
    assert listed["object"] == "list"
    (model,) = listed["data"]
    assert (model["id"], model["owned_by"], model["dimensions"], model["resizable"]) == (ID, "default", 48, True)
    assert model["self_check"] == {
        "min_cosine": 0.5,
        "mean_cosine": 0.75,
        "max_score_difference": None,
        "tokens_per_s": 123.5,
    }
    assert (await client.get(f"/v1/models/{ID}")).json() == model


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/inference/nowhere", 404, "NOT_FOUND"),
        ("PUT", "/v1/embeddings", 405, "METHOD_NOT_ALLOWED"),
        ("GET", "/v1/models/other", 404, "NOT_FOUND"),
        ("POST", "/v1/embeddings/", 404, "NOT_FOUND"),
    ],
)
async def test_error_has_our_body_and_the_requests_id(
    client: httpx2.AsyncClient, method: str, path: str, status: int, code: str
) -> None:
    answer = await client.request(method, path)
    assert answer.status_code == status
    body = answer.json()
    assert body["error"]["code"] == code
    assert body["request_id"] == answer.headers["x-request-id"]


async def test_text_in_an_error_is_cut(client: httpx2.AsyncClient) -> None:
    unknown: dict[str, Any] = {"y" * 3000: 1}
    answer = await embed(client, **unknown)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["message"] == f'unknown field "{"y" * 200}"'
    assert error["param"] == "y" * 200


async def test_announced_body_above_the_limit_is_refused(client: httpx2.AsyncClient) -> None:
    answer = await client.post("/v1/embeddings", content=b" " * (LIMIT + 1))
    assert answer.status_code == 413
    assert answer.headers["connection"] == "close"


async def test_body_that_grows_above_the_limit_is_refused(client: httpx2.AsyncClient) -> None:
    async def drip() -> AsyncIterator[bytes]:
        for _ in range(LIMIT // 1024 + 1):
            yield b" " * 1024

    answer = await client.post("/v1/embeddings", content=drip())
    assert answer.status_code == 413
    assert answer.json()["error"]["code"] == "PAYLOAD_TOO_LARGE"


def test_openapi_document_names_the_body_and_the_keys(deps: Parts) -> None:
    document: dict[str, Any] = openapi_document(app_of(deps))
    assert "EmbeddingRequest" in document["components"]["schemas"]
    assert document["paths"]["/v1/embeddings"]["post"]["security"] == [{"bearer": []}, {"apiKey": []}]
