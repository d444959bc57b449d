"""The whole life of batch jobs, on both databases: what comes out, what it costs, and how they end otherwise."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
from sqlalchemy import func, select, update

from embergate.clock import now
from embergate.errors import OverloadedError, UnavailableError
from embergate.gateway.accounts.schemas import SuspendState
from embergate.gateway.batch_jobs import rows as batch_rows
from embergate.gateway.batch_jobs.pausing import resume_paid
from embergate.gateway.files.doomed import delete_doomed
from embergate.gateway.upkeep import count_open_jobs
from embergate.gateway.usage.tables import DIMENSIONS, DIMENSIONS_OF_RECORD, RECORDS
from embergate.jobs.rules import WorkerRules
from embergate.storage.objects.local import LocalObjects
from embergate.storage.tables.accounts import AccountRow
from embergate.storage.tables.jobs import JobChunkRow, JobRunRow
from tests.integration.gateway.batches import (
    ACCOUNT,
    ENDED,
    JOBS,
    LIST_PRICE_NANOS,
    MODEL,
    create,
    files_of,
    give_credit,
    lines,
    output_of,
    rows_of,
    serve,
    told,
    until,
    upload,
    wait_for,
    worker,
)
from tests.integration.gateway.platform import Platform

BODIES: list[dict[str, Any]] = [
    {"input": "the fox"},
    {"input": ["the dog", "the quick brown fox jumps"]},
    {"input": "the fox", "encoding_format": "base64"},
    {"input": [5, 6, 7], "normalize": True},
    {"input": "the fox", "model": MODEL, "user": "somebody"},
]
COMPLETED, PAUSED = {"JOB_STATE_COMPLETED"}, {"JOB_STATE_PAUSED"}


@pytest.fixture
async def key(platform: Platform) -> str:
    return await platform.add_account("acme")


@pytest.fixture(autouse=True)
def served(platform: Platform, tmp_path: Path) -> Iterator[None]:
    serve(platform, tmp_path / "tiny")
    yield
    platform.deps.registry.close()


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_rows, "CHUNK_ROWS", 2)


async def charged(platform: Platform) -> list[tuple[int, int, bool, int]]:
    """Return what was charged: tokens and cost of each record, whether it is a batch's, and its price."""
    columns = (RECORDS.c.prompt_tokens, RECORDS.c.cost_nanos, DIMENSIONS.c.is_batch, DIMENSIONS.c.price_nanos)
    async with platform.database.reading() as db:
        found = await db.execute(select(*columns).join_from(RECORDS, DIMENSIONS, DIMENSIONS_OF_RECORD))
        return [tuple(row) for row in found]


async def embed(platform: Platform, key: str, body: dict[str, Any]) -> Any:
    return await told(platform, key, "POST", "/v1/embeddings", json={"model": MODEL, **body})


@pytest.mark.usefixtures("small_chunks")
async def test_rows_are_answered_as_requests_are_and_charged_half(platform: Platform, key: str) -> None:
    await upload(platform, key, lines(rows_of(BODIES)))
    made = await create(platform, key)
    assert (made["state"], made["jobProgress"]) == ("JOB_STATE_VALIDATING", None)
    assert made["inferenceParameters"] == {"extraBody": "{}"}
    async with worker(platform):
        job = await wait_for(platform, key, ENDED)
    assert (job["state"], job["status"]) == ("JOB_STATE_COMPLETED", {"code": "OK", "message": ""})
    answers, errors = await output_of(platform, key, job)
    assert (len(answers), errors) == (len(BODIES), {})
    batch = await charged(platform)
    num_tokens = 0
    for index, body in enumerate(BODIES):
        answer, expected = answers[f"row-{index}"], await embed(platform, key, body)
        for got, wanted in zip(answer["data"], expected["data"], strict=True):
            if isinstance(wanted["embedding"], list):
                np.testing.assert_allclose(got.pop("embedding"), wanted.pop("embedding"), atol=1e-6)
        assert answer == expected
        num_tokens += expected["usage"]["prompt_tokens"]
    assert sum(tokens for tokens, *_ in batch) == num_tokens
    assert sum(cost for _, cost, *_ in batch) == num_tokens * LIST_PRICE_NANOS // 2
    assert {row[2:] for row in batch} == {(True, LIST_PRICE_NANOS // 2)}
    assert len(batch) == 3
    progress = job["jobProgress"]
    assert (progress["percent"], progress["inputTokens"]) == (100, num_tokens)
    names = ("totalInputRequests", "totalProcessedRequests", "successfullyProcessedRequests", "outputRows")
    assert [progress[name] for name in names] == [len(BODIES)] * 4
    output = await told(platform, key, "GET", f"/v1/{job['outputDatasetId']}")
    assert (output["state"], output["exampleCount"]) == ("READY", str(len(BODIES)))
    assert output["sourceJobName"] == job["name"]


async def test_parts_are_deleted_once_they_are_put_together(platform: Platform, key: str, store: LocalObjects) -> None:
    await upload(platform, key, lines(rows_of(BODIES)))
    await create(platform, key)
    async with worker(platform):
        await wait_for(platform, key, COMPLETED)
    await delete_doomed(platform.database, store)
    assert [one.key async for one in store.list("batch-parts")] == []


async def test_rows_that_cannot_be_answered_fail_alone_and_cost_nothing(platform: Platform, key: str) -> None:
    bodies: list[dict[str, Any]] = [
        {"input": "the fox"},
        {"input": "fox " * 2000},
        {"input": "the dog", "dimensions": 3},
        {"input": [10**9]},
    ]
    await upload(platform, key, lines(rows_of(bodies)))
    await create(platform, key)
    async with worker(platform):
        job = await wait_for(platform, key, ENDED)
    answers, errors = await output_of(platform, key, job)
    assert (job["state"], list(answers)) == ("JOB_STATE_COMPLETED", ["row-0"])
    for name, body in zip(("row-1", "row-2", "row-3"), bodies[1:], strict=True):
        said = await platform.call(key, "POST", "/v1/embeddings", json={"model": MODEL, **body})
        assert said.status_code == 400
        assert errors[name] == said.json()["error"]
    (record,) = await charged(platform)
    assert record[0] == answers["row-0"]["usage"]["prompt_tokens"]
    assert (job["jobProgress"]["failedRequests"], job["jobProgress"]["percent"]) == (3, 100)


async def test_input_with_bad_rows_fails_before_anything_is_done_and_names_them(platform: Platform, key: str) -> None:
    rows: list[Any] = [
        {"custom_id": "a", "body": {"input": "the fox"}},
        {"custom_id": "a", "body": {"input": "the fox"}},
        {"body": {"input": "the fox"}},
        {"custom_id": "b", "body": {"input": 3}},
        {"custom_id": "c", "body": {"input": "the fox", "model": "another"}},
        {"custom_id": "d", "body": {"input": "x", "no\0pe": 1}},
        {"custom_id": "e", "body": {"input": "x"}, "method": "POST", "url": "/v1/embeddings"},
    ]
    await upload(platform, key, lines(rows))
    await create(platform, key, outputDatasetId="out")
    async with worker(platform):
        job = await wait_for(platform, key, ENDED)
    assert (job["state"], job["status"]["code"]) == ("JOB_STATE_FAILED", "INVALID_ARGUMENT")
    said = job["status"]["message"]
    assert said.startswith("Dataset has a syntax error: 5 problems: rows.jsonl line 2 custom_id 'a' was there before; ")
    for part in (
        "line 3 custom_id must be",
        "line 4 input is an integer",
        "line 5 model: the job's is",
        "line 6 unknown",
    ):
        assert part in said
    assert (await platform.call(key, "GET", f"{ACCOUNT}/datasets/out")).status_code == 404
    assert job["jobProgress"] is None
    assert await charged(platform) == []


async def test_of_many_problems_the_first_hundred_are_named(platform: Platform, key: str) -> None:
    await upload(platform, key, lines([{"custom_id": "", "body": {}}] * 250))
    await create(platform, key)
    async with worker(platform):
        job = await wait_for(platform, key, ENDED)
    assert "250 problems (the first 100): " in job["status"]["message"]
    assert job["status"]["message"].count("rows.jsonl line") == 100


async def test_what_all_bodies_are_given_counts_where_they_say_nothing(platform: Platform, key: str) -> None:
    await upload(platform, key, lines(rows_of([{"input": "a fox"}, {"input": "a fox", "encoding_format": "float"}])))
    await create(platform, key, inferenceParameters={"extraBody": '{"encoding_format": "base64"}', "maxTokens": 5})
    async with worker(platform):
        job = await wait_for(platform, key, COMPLETED)
    answers, _ = await output_of(platform, key, job)
    kinds = [type(answers[name]["data"][0]["embedding"]) for name in ("row-0", "row-1")]
    assert kinds == [str, list]
    assert job["inferenceParameters"] == {"extraBody": '{"encoding_format": "base64"}', "maxTokens": 5}


@pytest.mark.usefixtures("small_chunks")
async def test_job_whose_account_cannot_pay_is_paused_and_goes_on_when_it_can(
    platform: Platform, key: str, store: LocalObjects
) -> None:
    await upload(platform, key, lines(rows_of([{"input": "the fox"}] * 6)))
    num_tokens = (await embed(platform, key, {"input": "the fox"}))["usage"]["prompt_tokens"]
    chunk_nanos = 2 * num_tokens * LIST_PRICE_NANOS // 2
    await give_credit(platform, chunk_nanos * 3 // 2)
    await create(platform, key)
    async with worker(platform, num_slots=1):
        job = await wait_for(platform, key, PAUSED)
        assert job["status"]["code"] == "FAILED_PRECONDITION"
        assert "CREDIT_DEPLETED" in job["status"]["message"]
        assert job["jobProgress"]["successfullyProcessedRequests"] == 2
        assert await resume_paid(platform.database, store) == 0
        await give_credit(platform, chunk_nanos * 2)
        assert await resume_paid(platform.database, store) == 1
        job = await wait_for(platform, key, ENDED)
    answers, _ = await output_of(platform, key, job)
    assert (job["state"], job["status"]["code"], len(answers)) == ("JOB_STATE_COMPLETED", "OK", 6)
    batch = [row for row in await charged(platform) if row[2]]
    assert [row[1] for row in batch] == [chunk_nanos] * 3


async def test_job_of_an_account_that_is_blocked_waits_until_it_is_not(
    platform: Platform, key: str, store: LocalObjects
) -> None:
    await upload(platform, key, lines(rows_of(BODIES)))
    await create(platform, key)

    async def suspend(state: SuspendState) -> None:
        async with platform.database.writing() as db:
            await db.execute(update(AccountRow).values(suspend_state=state.value))

    await suspend(SuspendState.BLOCKED_BY_ABUSE_RULE)
    async with worker(platform):
        job = await wait_for(platform, key, PAUSED)
        assert "BLOCKED_BY_ABUSE_RULE" in job["status"]["message"]
        assert await resume_paid(platform.database, store) == 0
        await suspend(SuspendState.UNSUSPENDED)
        assert await resume_paid(platform.database, store) == 1
        assert (await wait_for(platform, key, ENDED))["state"] == "JOB_STATE_COMPLETED"


@pytest.mark.usefixtures("small_chunks")
async def test_expired_job_keeps_what_is_done_and_another_goes_on_from_it(platform: Platform, key: str) -> None:
    await upload(platform, key, lines(rows_of([{"input": "the fox"}] * 6)))
    num_tokens = (await embed(platform, key, {"input": "the fox"}))["usage"]["prompt_tokens"]
    await give_credit(platform, num_tokens * LIST_PRICE_NANOS * 2)
    await create(platform, key)
    async with worker(platform, num_slots=1):
        await wait_for(platform, key, PAUSED)
        async with platform.database.writing() as db:
            await db.execute(update(JobRunRow).values(expire_time=now() - timedelta(seconds=1)))
        first = await wait_for(platform, key, ENDED)
        assert (first["state"], first["status"]["code"]) == ("JOB_STATE_EXPIRED", "DEADLINE_EXCEEDED")
        done, _ = await output_of(platform, key, first)
        assert 0 < len(done) < 6
        await give_credit(platform, 10**9)
        body = {"continuedFromJobName": first["name"]}
        made = await told(platform, key, "POST", JOBS, params={"batchInferenceJobId": "rest"}, json=body)
        assert (made["model"], made["inputDatasetId"]) == (MODEL, first["inputDatasetId"])
        second = await wait_for(platform, key, ENDED, "rest")
    rest, _ = await output_of(platform, key, second)
    assert second["state"] == "JOB_STATE_COMPLETED"
    assert second["jobProgress"]["totalInputRequests"] == len(rest) == 6 - len(done)
    assert done.keys() | rest.keys() == {f"row-{index}" for index in range(6)}
    output_id = second["outputDatasetId"].rpartition("/")[2]
    assert len(await files_of(platform, key, output_id)) == 2
    assert len(await files_of(platform, key, output_id, downloadLineage="true")) == 4


async def test_deleted_job_is_cancelled_and_leaves_nothing(platform: Platform, key: str, store: LocalObjects) -> None:
    await upload(platform, key, lines(rows_of(BODIES)))
    await give_credit(platform, 1)
    await create(platform, key, outputDatasetId="out")
    async with worker(platform):
        await wait_for(platform, key, PAUSED)
        assert await told(platform, key, "DELETE", f"{JOBS}/job") == {}
        assert (await platform.call(key, "GET", f"{JOBS}/job")).status_code == 404
        statement = select(func.count()).select_from(JobRunRow).where(JobRunRow.step != "END")
        for _ in range(500):
            async with platform.database.reading() as db:
                if await db.scalar(statement) == 0:
                    break
    async with platform.database.reading() as db:
        assert await db.scalar(statement) == 0
    assert (await platform.call(key, "GET", f"{ACCOUNT}/datasets/out")).status_code == 404
    assert [one.key async for one in store.list("batch-parts")] == []
    assert await charged(platform) == []


async def test_output_of_a_job_that_has_ended_outlives_it(platform: Platform, key: str) -> None:
    await upload(platform, key, lines(rows_of(BODIES)))
    await create(platform, key, outputDatasetId="accounts/acme/datasets/out")
    async with worker(platform):
        await wait_for(platform, key, COMPLETED)
    assert await told(platform, key, "DELETE", f"{JOBS}/job") == {}
    assert len(await files_of(platform, key, "out")) == 2


async def test_job_waits_for_a_model_that_is_not_served(platform: Platform, key: str, tmp_path: Path) -> None:
    await upload(platform, key, lines(rows_of(BODIES)))
    await create(platform, key)
    platform.deps.registry.close()
    statement = select(JobChunkRow.error).where(JobChunkRow.step == "PREPARE")
    async with worker(platform):
        for _ in range(500):
            async with platform.database.reading() as db:
                if error := await db.scalar(statement):
                    break
    assert error == f"the model {MODEL} is not served now"
    job = await told(platform, key, "GET", f"{JOBS}/job")
    assert (job["state"], job["status"]) == (
        "JOB_STATE_VALIDATING",
        {"code": "UNAVAILABLE", "message": f"waiting: the model {MODEL} is not served now"},
    )


async def test_job_tells_what_it_waits_for_until_it_goes_on(
    platform: Platform, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> NoReturn:
        raise UnavailableError("The disk of the object store is full.")

    await upload(platform, key, lines(rows_of(BODIES)))
    await create(platform, key)
    with monkeypatch.context() as patch:
        patch.setattr(platform.gateway.objects, "write", full)
        async with worker(platform):
            job = await until(platform, key, lambda job: job["status"]["code"] == "UNAVAILABLE")
    assert (job["state"], job["status"]["message"]) == (
        "JOB_STATE_RUNNING",
        "waiting: The disk of the object store is full.",
    )
    async with worker(platform):
        job = await wait_for(platform, key, ENDED)
    assert (job["state"], job["status"]) == ("JOB_STATE_COMPLETED", {"code": "OK", "message": ""})


async def test_worker_of_the_process_that_took_the_job_begins_at_once(platform: Platform, key: str) -> None:
    await upload(platform, key, lines(rows_of(BODIES)))
    async with worker(platform, rules=WorkerRules(poll_s=3600)):
        await create(platform, key)
        job = await wait_for(platform, key, ENDED)
    assert job["state"] == "JOB_STATE_COMPLETED"


async def test_metrics_tell_how_many_jobs_are_open_and_what_became_of_chunks(platform: Platform, key: str) -> None:
    registry = platform.gateway.metrics.registry
    await upload(platform, key, lines(rows_of(BODIES)))
    await create(platform, key)
    await count_open_jobs(platform.gateway)
    waiting = {"kind": "batch_inference", "state": "QUEUED"}
    assert registry.get_sample_value("embergate_open_jobs", waiting) == 1
    async with worker(platform):
        await wait_for(platform, key, ENDED)
    await count_open_jobs(platform.gateway)
    assert registry.get_sample_value("embergate_open_jobs", waiting) is None
    done = {"kind": "batch_inference", "outcome": "done"}
    assert registry.get_sample_value("embergate_job_chunks_total", done) == 3  # checked, answered, put together
    completed = {"kind": "batch_inference", "state": "COMPLETED"}
    assert registry.get_sample_value("embergate_job_changes_total", completed) == 1


@pytest.mark.usefixtures("small_chunks")
async def test_failed_job_keeps_what_was_charged_and_another_does_the_rest(platform: Platform, key: str) -> None:
    await upload(platform, key, lines(rows_of([{"input": "the fox"}] * 6)))
    num_tokens = (await embed(platform, key, {"input": "the fox"}))["usage"]["prompt_tokens"]
    await give_credit(platform, num_tokens * LIST_PRICE_NANOS * 2)
    await create(platform, key)
    async with worker(platform, num_slots=1):
        await wait_for(platform, key, PAUSED)
        await told(platform, key, "PATCH", f"{ACCOUNT}/policySettings", json={"rules": []})
        await give_credit(platform, 10**9)
        await resume_paid(platform.database, platform.gateway.objects)
        first = await wait_for(platform, key, ENDED)
        assert (first["state"], first["status"]["code"]) == ("JOB_STATE_FAILED", "PERMISSION_DENIED")
        done, _ = await output_of(platform, key, first)
        assert 0 < len(done) < 6
        rules = [{"model": MODEL, "allowServerless": True}]
        await told(platform, key, "PATCH", f"{ACCOUNT}/policySettings", json={"rules": rules})
        body = {"continuedFromJobName": first["name"]}
        await told(platform, key, "POST", JOBS, params={"batchInferenceJobId": "rest"}, json=body)
        second = await wait_for(platform, key, ENDED, "rest")
    rest, _ = await output_of(platform, key, second)
    assert sorted([*done, *rest]) == [f"row-{index}" for index in range(6)]


async def test_rows_that_failed_are_done_again_by_the_job_that_goes_on(platform: Platform, key: str) -> None:
    await upload(platform, key, lines(rows_of([{"input": "the fox"}, {"input": "fox " * 1000}])))
    await create(platform, key)
    async with worker(platform):
        first = await wait_for(platform, key, ENDED)
        body = {"continuedFromJobName": first["name"]}
        await told(platform, key, "POST", JOBS, params={"batchInferenceJobId": "rest"}, json=body)
        second = await wait_for(platform, key, ENDED, "rest")
    assert [set(found) for found in await output_of(platform, key, first)] == [{"row-0"}, {"row-1"}]
    assert [set(found) for found in await output_of(platform, key, second)] == [set(), {"row-1"}]


async def test_job_that_is_deleted_while_its_rows_are_checked_harms_nobody(platform: Platform, key: str) -> None:
    row = json.dumps({"custom_id": "row-%d", "body": {"input": "the fox"}})
    await upload(platform, key, b"".join((row % number).encode() + b"\n" for number in range(40_000)))
    being_checked = select(JobChunkRow.job_id).where(JobChunkRow.step == "PREPARE", JobChunkRow.state == "RUNNING")
    async with worker(platform, num_slots=4):
        for number in range(4):
            await create(platform, key, f"job-{number}")
            async with asyncio.timeout(30), platform.database.reading() as db:
                while await db.scalar(being_checked) is None:
                    await asyncio.sleep(0.01)
                    await db.rollback()
            await told(platform, key, "DELETE", f"{JOBS}/job-{number}")
        await upload(platform, key, lines(rows_of(BODIES)), "few")
        await create(platform, key, "last", inputDatasetId="few")
        assert (await wait_for(platform, key, ENDED, "last"))["state"] == "JOB_STATE_COMPLETED"


async def test_full_queue_puts_a_chunk_back(platform: Platform, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def full(*_: Any) -> NoReturn:
        raise OverloadedError("the queue is full", retry_after_s=0.01)

    await upload(platform, key, lines(rows_of(BODIES)))
    await create(platform, key)
    with monkeypatch.context() as patch:
        patch.setattr(platform.deps.engine, "run", full)
        async with worker(platform):
            await until(platform, key, lambda job: job["status"]["message"] == "waiting: the queue is full")
    async with worker(platform):
        job = await wait_for(platform, key, ENDED)
    assert job["state"] == "JOB_STATE_COMPLETED"
    async with platform.database.reading() as db:
        assert set(await db.scalars(select(JobChunkRow.attempt))) == {1}
