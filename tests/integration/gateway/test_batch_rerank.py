"""Batch jobs whose model is a reranker: their rows are requests for scores, answered and charged as such."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import select

from embergate.clock import now
from embergate.engine.loaded_model import LoadedModel
from embergate.engine.loading.loader import SourceOptions
from embergate.engine.registry import ServedModel
from embergate.engine.scheduler import SchedulerLimits
from embergate.inference import bulk
from embergate.storage.tables.usage import UsageDimensionsRow
from tests.integration.gateway import batches, uploading
from tests.integration.gateway.batches import ACCOUNT, output_of, rows_of, wait_for, worker
from tests.integration.gateway.platform import Platform, on_sqlite_only
from tests.integration.gateway.test_metering import charged
from tests.random_models import RERANKERS, TEXTS

MODEL = "accounts/fireworks/models/ranker"
PRICE_NANOS = 20
BODIES: list[dict[str, Any]] = [
    {"query": "the fox", "documents": ["a quick brown fox", "a lazy dog", "the fox and the dog"]},
    {"query": "a dog", "documents": [{"text": "a lazy dog"}, "winter"], "top_n": 1, "return_documents": False},
    {"query": "a dog", "documents": ["a", TEXTS[11]], "truncate": True},
]


@pytest.fixture
async def key(platform: Platform) -> str:
    return await platform.add_account("acme")


@pytest.fixture(autouse=True)
def served(platform: Platform, tmp_path: Path) -> Iterator[None]:
    folder = uploading.model_folder(tmp_path / "ranker", case=RERANKERS[0])
    model = LoadedModel.open(folder, source=SourceOptions(offline=True))
    platform.deps.registry.add(ServedModel("fireworks", "ranker", model, now(), list_price_nanos=PRICE_NANOS))
    yield
    platform.deps.registry.close()


async def run(platform: Platform, key: str, rows: list[dict[str, Any]], model: str = MODEL) -> Any:
    """Have a job done over these rows; return it."""
    await batches.upload(platform, key, batches.lines(rows))
    await batches.create(platform, key, model=model)
    async with worker(platform):
        return await wait_for(platform, key, batches.ENDED)


def rounded(answer: dict[str, Any]) -> dict[str, Any]:
    """Return an answer, its scores to some digits: they depend a little on what else is in a batch."""
    scores = [item.pop("relevance_score") for kind in ("data", "results") for item in answer[kind]]
    return {**answer, "scores": np.round(scores, 4).tolist()}


async def test_rows_are_answered_as_requests_are_at_half_price(platform: Platform, key: str) -> None:
    requests = [{"model": MODEL, **body} for body in BODIES]
    expected = [await batches.told(platform, key, "POST", "/v1/rerank", json=request) for request in requests]
    num_tokens = sum(answer["usage"]["prompt_tokens"] for answer in expected)
    assert await charged(platform) == (3, PRICE_NANOS * num_tokens)
    job = await run(platform, key, rows_of(BODIES))
    assert job["state"] == "JOB_STATE_COMPLETED", job
    answers, errors = await output_of(platform, key, job)
    assert not errors
    assert [rounded(answers[f"row-{index}"]) for index in range(3)] == [rounded(answer) for answer in expected]
    assert await charged(platform) == (4, PRICE_NANOS * num_tokens + PRICE_NANOS // 2 * num_tokens)
    async with platform.database.reading() as db:
        rows = (await db.scalars(select(UsageDimensionsRow).where(UsageDimensionsRow.is_batch))).all()
    assert [(row.model, row.usage_type, row.price_nanos) for row in rows] == [
        (MODEL, "RERANK_INFERENCE_USAGE", PRICE_NANOS // 2)
    ]


@on_sqlite_only
async def test_row_that_cannot_be_answered_has_its_own_error(platform: Platform, key: str) -> None:
    bodies = [{"query": "a dog", "documents": ["a", TEXTS[11]]}, BODIES[0], {"query": TEXTS[11], "documents": ["a"]}]
    answers, errors = await output_of(platform, key, await run(platform, key, rows_of(bodies)))
    assert set(answers) == {"row-1"}
    assert {name: error["param"] for name, error in errors.items()} == {"row-0": "documents[1]", "row-2": "query"}


@on_sqlite_only
async def test_rows_of_the_other_kind_are_wrong_before_any_is_done(platform: Platform, key: str) -> None:
    rows = rows_of([BODIES[0], {"input": "the fox"}, {**BODIES[1], "model": "fireworks/other"}])
    job = await run(platform, key, rows)
    assert job["state"] == "JOB_STATE_FAILED"
    assert '2 problems: rows.jsonl line 2 unknown field "input"' in job["status"]["message"]
    assert f"line 3 model: the job's is {MODEL}, and no row has another" in job["status"]["message"]


async def test_uploaded_reranker_does_batch_jobs(platform: Platform, key: str, tmp_path: Path) -> None:
    folder = uploading.model_folder(tmp_path / "own", seed=1, case=RERANKERS[0])
    await uploading.upload(platform, key, folder, kind="HF_BASE_MODEL")
    await platform.gateway.models.pool.close()  # nobody has loaded it when the job comes
    job = await run(platform, key, rows_of(BODIES[:1]), "accounts/acme/models/mine")
    answers, errors = await output_of(platform, key, job)
    assert (set(answers), errors) == ({"row-0"}, {})
    assert (await platform.call(key, "GET", f"{ACCOUNT}/batchInferenceJobs/job")).status_code == 200


@on_sqlite_only
async def test_rows_that_do_not_fit_the_queue_together_are_answered_one_after_the_other(
    platform: Platform, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "PACK_TOKENS", 60)
    scheduler = platform.deps.engine.runner._scheduler
    scheduler.limits = SchedulerLimits(max_queued_tokens=100)
    documents = ["a lazy dog and the quick brown fox"] * 3
    job = await run(platform, key, rows_of([{"query": "a dog", "documents": documents}] * 20))
    answers, errors = await output_of(platform, key, job)
    assert (job["state"], len(answers), errors) == ("JOB_STATE_COMPLETED", 20, {})


@on_sqlite_only
async def test_openais_batches_are_not_for_rerankers(platform: Platform, key: str) -> None:
    row = {"custom_id": "a", "method": "POST", "url": "/v1/embeddings", "body": {"model": MODEL, "input": "fox"}}
    files = {"file": ("rows.jsonl", batches.lines([row])), "purpose": (None, "batch")}
    made = await platform.call(key, "POST", "/v1/files", files=files)
    asked = {"input_file_id": made.json()["id"], "endpoint": "/v1/embeddings", "completion_window": "24h"}
    answer = await platform.call(key, "POST", "/v1/batches", json=asked)
    assert answer.status_code == 400, answer.text
    assert "is a reranker, and the endpoint is /v1/embeddings" in answer.json()["error"]["message"]


@on_sqlite_only
async def test_scores_are_no_vectors_to_write(platform: Platform, key: str) -> None:
    await batches.upload(platform, key, batches.lines(rows_of(BODIES)))
    asked = {"model": MODEL, "inputDatasetId": "rows", "outputFormat": "PARQUET"}
    answer = await platform.call(key, "POST", batches.JOBS, json=asked)
    assert (answer.status_code, answer.json()["code"]) == (400, 3)
    assert answer.json()["message"] == f"outputFormat: PARQUET holds vectors, and {MODEL} gives scores; leave it out"
