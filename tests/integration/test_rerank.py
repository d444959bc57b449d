"""`POST /rerank` in process, over real networks of random weights: answers, errors, and who answers what."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest

from embergate.app.asgi import openapi_document
from embergate.clock import now
from embergate.engine.loaded_model import LoadedModel
from embergate.engine.loading.loader import SourceOptions
from embergate.engine.loading.spec import Precision
from embergate.engine.pair_tokenization import DEFAULT_TASK
from embergate.engine.registry import Registry, ServedModel
from embergate.inference.deps import InferenceLimits
from tests.loaded import fake_model
from tests.parts import Parts, app_of, parts_over
from tests.random_models import JUDGES, RERANKERS, TEXTS, Case, write_model
from tests.reranking import QUERY

KEY = "eg_key-of-the-rerank-tests"
DOCUMENTS = list(TEXTS[1:9])
PATHS = ["/v1/rerank", "/inference/v1/rerank"]


def load(folder: Path, case: Case) -> LoadedModel:
    write_model(case, folder, 0)
    return LoadedModel.open(folder, precision=Precision.F32, source=SourceOptions(offline=True))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, LoadedModel]:
    folder = tmp_path_factory.mktemp("models")
    return {
        "embedder": fake_model(folder / "embedder"),
        "cross": load(folder / "cross", RERANKERS[0]),
        "judge": load(folder / "judge", JUDGES[0]),
    }


@pytest.fixture
async def deps(models: dict[str, LoadedModel], sqlite_url: str) -> AsyncIterator[Parts]:
    async with parts_over(sqlite_url, KEY, InferenceLimits(max_inputs=20)) as parts:
        for name, model in models.items():
            parts.registry.add(ServedModel("default", name, model, now()))
        parts.is_ready = True
        yield parts


@pytest.fixture
async def client(deps: Parts) -> AsyncIterator[httpx2.AsyncClient]:
    transport = httpx2.ASGITransport(app=app_of(deps))
    async with httpx2.AsyncClient(transport=transport, base_url="http://test", headers={"x-api-key": KEY}) as client:
        yield client


async def post(client: httpx2.AsyncClient, path: str = PATHS[0], **body: Any) -> httpx2.Response:
    headers = body.pop("headers", None)
    values = {"model": "cross", "query": QUERY, "documents": DOCUMENTS, **body}
    return await client.post(path, json=values, headers=headers)


async def rerank(client: httpx2.AsyncClient, path: str = PATHS[0], **body: Any) -> dict[str, Any]:
    answer = await post(client, path, **body)
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", ["cross", "judge"])
async def test_documents_come_with_the_models_scores_the_best_first(
    client: httpx2.AsyncClient, models: dict[str, LoadedModel], path: str, name: str
) -> None:
    told = await rerank(client, path, model=name)
    scores = models[name].score(QUERY, DOCUMENTS)
    order = np.argsort(-scores).tolist()
    assert [item["index"] for item in told["data"]] == order
    np.testing.assert_allclose([item["relevance_score"] for item in told["data"]], scores[order], rtol=1e-4)
    assert [item["document"] for item in told["data"]] == [DOCUMENTS[index] for index in order]
    assert (told["object"], told["model"]) == ("list", name)


async def test_both_arrays_say_the_same_in_the_words_of_their_clients(client: httpx2.AsyncClient) -> None:
    told = await rerank(client)
    assert set(told) == {"object", "model", "data", "results", "usage"}
    assert all(set(item) == {"index", "relevance_score", "document"} for item in told["data"])
    assert told["results"] == [{**item, "text": item["document"]} for item in told["data"]]


async def test_usage_counts_every_pair_as_it_was_run(
    client: httpx2.AsyncClient, models: dict[str, LoadedModel]
) -> None:
    answer = await post(client)
    pairs = models["cross"].pairs
    num_tokens = sum(len(row.input_ids) for row in pairs.encode(pairs.begin(QUERY), DOCUMENTS))
    usage = {"prompt_tokens": num_tokens, "total_tokens": num_tokens, "completion_tokens": 0}
    assert answer.json()["usage"] == usage
    assert answer.headers["fireworks-prompt-tokens"] == str(num_tokens)
    assert answer.headers["x-embergate-fingerprint"] == models["cross"].fingerprint


async def test_best_few_without_their_texts(client: httpx2.AsyncClient) -> None:
    every = (await rerank(client))["data"]
    few = await rerank(client, top_n=3, return_documents=False)
    assert [item["index"] for item in few["data"]] == [item["index"] for item in every[:3]]
    assert {item["document"] for item in few["data"]} == {None}
    assert {item["text"] for item in few["results"]} == {None}
    assert len((await rerank(client, top_n=100))["data"]) == len(DOCUMENTS)


async def test_equals_stay_in_the_order_of_the_request(client: httpx2.AsyncClient) -> None:
    told = await rerank(client, documents=["the fox"] * 5)
    assert [item["index"] for item in told["data"]] == [0, 1, 2, 3, 4]


async def test_documents_may_be_objects_with_a_text(client: httpx2.AsyncClient) -> None:
    plain = await rerank(client)
    assert await rerank(client, documents=[{"text": text} for text in DOCUMENTS]) == plain


async def test_task_is_told_to_judges_alone(client: httpx2.AsyncClient) -> None:
    usual = await post(client, model="judge")
    named = await post(client, model="judge", task=DEFAULT_TASK)
    other = await post(client, model="judge", task="Find the text that is longest")
    assert named.json() == usual.json()
    assert named.headers["x-embergate-fingerprint"] == usual.headers["x-embergate-fingerprint"]
    assert other.json()["data"] != usual.json()["data"]
    assert other.headers["x-embergate-fingerprint"] != usual.headers["x-embergate-fingerprint"]
    assert (await rerank(client, task="Find the longest")) == await rerank(client)


@pytest.mark.parametrize("model", [{}, {"model": None}], ids=["absent", "null"])
async def test_model_left_out_is_the_servers_first_reranker(client: httpx2.AsyncClient, model: dict[str, None]) -> None:
    told = (await client.post(PATHS[0], json={"query": QUERY, "documents": DOCUMENTS, **model})).json()
    assert told["model"] == "accounts/default/models/cross"
    assert told["data"] == (await rerank(client))["data"]


async def test_litellms_form_of_a_models_name_is_found(client: httpx2.AsyncClient) -> None:
    name = "fireworks/accounts/default/models/cross"
    assert (await rerank(client, model=name))["model"] == name


async def test_server_without_a_reranker_says_so(
    client: httpx2.AsyncClient, deps: Parts, models: dict[str, LoadedModel]
) -> None:
    deps.registry = Registry()
    deps.registry.add(ServedModel("default", "embedder", models["embedder"], now()))
    answer = await post(client, model=None)
    assert answer.status_code == 404
    assert answer.json()["error"]["message"].startswith("this server was started with no reranker")
    deps.is_ready = False
    answer = await post(client, model=None)
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "DEPLOYMENT_SCALING_UP")


async def test_models_of_each_kind_refuse_what_the_other_is_for(client: httpx2.AsyncClient) -> None:
    answer = await post(client, model="embedder")
    assert answer.status_code == 400
    assert "reranking is not supported for embedder: it is an embedding model" in answer.json()["error"]["message"]
    for path in ("/v1/embeddings", "/inference/v1/embeddings"):
        answer = await client.post(path, json={"model": "cross", "input": "a"})
        assert answer.status_code == 400
        assert "embedding is not supported for cross: it is a reranker" in answer.json()["error"]["message"]
        assert answer.json()["error"]["param"] == "model"


@pytest.mark.parametrize(
    ("body", "param", "said"),
    [
        ({"query": ""}, "query", "query"),
        ({"documents": []}, "documents", "must not be an empty list"),
        ({"documents": ["a"] * 21}, "documents", "documents has 21 items; at most 20"),
        ({"documents": ["a", TEXTS[11]]}, "documents[1]", "tokens long with the query, special tokens included"),
        ({"query": TEXTS[11]}, "query", "Nothing is cut silently"),
        ({"colour": "red"}, "colour", 'unknown field "colour"'),
        ({"model": "nobody"}, "model", "Model not found, inaccessible, and/or not deployed"),
    ],
)
async def test_refusal_names_the_field(client: httpx2.AsyncClient, body: dict[str, Any], param: str, said: str) -> None:
    answer = await post(client, **body)
    assert answer.status_code == (404 if "nobody" in body.values() else 400)
    error = answer.json()["error"]
    assert error["param"] == param
    assert said in error["message"]


async def test_what_is_cut_is_marked_and_counted_as_it_was_run(
    client: httpx2.AsyncClient, models: dict[str, LoadedModel]
) -> None:
    told = await rerank(client, documents=["the fox", TEXTS[11]], truncate=True)
    marks = {item["index"]: item.get("truncated") for item in told["data"]}
    assert marks == {0: None, 1: True}
    assert told["usage"]["prompt_tokens"] < 2 * models["cross"].spec.max_tokens


async def test_dry_run_counts_each_document_with_the_query(client: httpx2.AsyncClient) -> None:
    dry = {"x-embergate-dry-run": "true"}
    told = await rerank(client, headers=dry)
    assert (told["object"], told["refusal"]) == ("rerank.dry_run", None)
    assert told["prompt_tokens"] == (await rerank(client))["usage"]["prompt_tokens"]
    long = await rerank(client, documents=["a", TEXTS[11]], headers=dry)
    assert [one["is_too_long"] for one in long["inputs"]] == [False, True]
    assert "documents[1] is longer than this model's limit of 90" in long["refusal"]["message"]
    cut: dict[str, Any] = {"documents": ["a", TEXTS[11]], "truncate": True}
    told = await rerank(client, headers=dry, **cut)
    assert (told["refusal"], told["prompt_tokens"]) == (None, (await rerank(client, **cut))["usage"]["prompt_tokens"])


async def test_fingerprint_that_is_not_expected_is_a_conflict(client: httpx2.AsyncClient) -> None:
    answer = await post(client, headers={"x-embergate-expect-fingerprint": "0" * 16})
    assert answer.status_code == 409


async def test_timings_go_into_the_body_where_they_are_asked_for(client: httpx2.AsyncClient) -> None:
    told = await rerank(client, perf_metrics_in_response=True)
    assert int(told["perf_metrics"]["prompt-tokens"]) == told["usage"]["prompt_tokens"]


async def test_models_say_which_they_are(client: httpx2.AsyncClient) -> None:
    kinds = {model["hub_id"]: model["kind"] for model in (await client.get("/v1/models")).json()["data"]}
    assert kinds == {"embedder": "EMBEDDING_MODEL", "cross": "RERANKER", "judge": "RERANKER"}


async def test_document_has_the_body_of_requests_and_answers(client: httpx2.AsyncClient, deps: Parts) -> None:
    document = openapi_document(app_of(deps))
    schemas = document["components"]["schemas"]
    assert set(schemas["RerankRequest"]["required"]) == {"query", "documents"}
    operation = document["paths"]["/inference/v1/rerank"]["post"]
    assert operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].endswith("/RerankRequest")
    assert {"RerankDocument", "RerankList"} <= set(schemas)
    assert operation["security"] == [{"bearer": []}, {"apiKey": []}]
    assert (await client.post(PATHS[0], json={}, headers={"x-api-key": "none"})).status_code == 401
