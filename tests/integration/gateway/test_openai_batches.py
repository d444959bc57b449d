"""OpenAI's batches over HTTP, on both databases: batch jobs under another name, with OpenAI's rows in and out."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import update

from embergate.clock import now
from embergate.gateway.batch_jobs import rows as batch_rows
from embergate.storage.tables.jobs import JobRunRow
from embergate.web.caller import Role
from tests.integration.gateway.batches import (
    ACCOUNT,
    DEADLINE_S,
    JOBS,
    LIST_PRICE_NANOS,
    MODEL,
    create,
    give_credit,
    lines,
    serve,
    told,
    wait_for,
    worker,
)
from tests.integration.gateway.batches import rows_of as gateway_rows
from tests.integration.gateway.batches import upload as upload_dataset
from tests.integration.gateway.platform import Platform, on_sqlite_only
from tests.integration.gateway.test_openai_files import FILES, upload

BATCHES = "/v1/batches"
ENDED = {"completed", "failed", "expired", "cancelled"}
TOO_LONG = "fox " * 2000


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


def row(custom_id: str, **body: Any) -> dict[str, Any]:
    content = {"model": MODEL, "input": "the fox", **body}
    return {"custom_id": custom_id, "method": "POST", "url": "/v1/embeddings", "body": content}


def order(file_id: str, **more: Any) -> dict[str, Any]:
    return {"input_file_id": file_id, "endpoint": "/v1/embeddings", "completion_window": "24h", **more}


async def begin(platform: Platform, key: str, rows: list[Any], **more: Any) -> Any:
    """Make a batch of rows."""
    return await told(platform, key, "POST", BATCHES, json=order(await upload(platform, key, lines(rows)), **more))


async def until(platform: Platform, key: str, batch_id: str, holds: Callable[[Any], bool]) -> Any:
    """Return a batch once something holds of it."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            batch = await told(platform, key, "GET", f"{BATCHES}/{batch_id}")
            if holds(batch):
                return batch
            await asyncio.sleep(0.02)


async def ended(platform: Platform, key: str, batch_id: str) -> Any:
    """Return a batch once it has ended."""
    return await until(platform, key, batch_id, lambda batch: batch["status"] in ENDED)


async def rows_in(platform: Platform, key: str, file_id: str) -> list[Any]:
    """Return a file's rows, having checked what is said of it."""
    answer = await platform.call(key, "GET", f"{FILES}/{file_id}/content")
    assert answer.status_code == 200, answer.text
    file = await told(platform, key, "GET", f"{FILES}/{file_id}")
    assert (file["purpose"], file["status"]) == ("batch_output", "processed")
    if not file_id.endswith("_errors"):
        assert file["bytes"] == len(answer.content)
    return [json.loads(line) for line in answer.content.splitlines()]


async def test_rows_are_answered_as_requests_are(platform: Platform, key: str) -> None:
    rows = [
        row("a"),
        row("b", input=TOO_LONG),
        row("c", input=["the dog", "a fox"]),
        row("d", encoding_format="base64"),
    ]
    made = await begin(platform, key, rows, metadata={"team": "search", "key": "k"})
    assert made == {
        "id": made["id"],
        "object": "batch",
        "endpoint": "/v1/embeddings",
        "model": MODEL,
        "errors": None,
        "input_file_id": made["input_file_id"],
        "completion_window": "24h",
        "status": "validating",
        "output_file_id": None,
        "error_file_id": None,
        "created_at": made["created_at"],
        "expires_at": made["created_at"] + 24 * 3600,
        **{f"{name}_at": None for name in ("in_progress", "finalizing", "cancelling", *sorted(ENDED))},
        "request_counts": {"total": 0, "completed": 0, "failed": 0},
        "usage": made["usage"],
        "metadata": {"team": "search", "key": "k"},
    }
    async with worker(platform):
        batch = await ended(platform, key, made["id"])
    assert (batch["status"], batch["errors"], batch["metadata"]) == ("completed", None, made["metadata"])
    assert batch["request_counts"] == {"total": 4, "completed": 3, "failed": 1}
    times = [batch[f"{name}_at"] for name in ("created", "in_progress", "finalizing", "completed")]
    assert times == sorted(times)
    answers = await rows_in(platform, key, batch["output_file_id"])
    assert [answer["custom_id"] for answer in answers] == ["a", "c", "d"]
    num_tokens = 0
    for answer, asked in zip(answers, (rows[0], rows[2], rows[3]), strict=True):
        assert (answer["error"], answer["response"]["status_code"]) == (None, 200)
        assert answer["id"] == answer["response"]["request_id"]
        expected = await told(platform, key, "POST", "/v1/embeddings", json=asked["body"])
        got = answer["response"]["body"]
        for one, other in zip(got["data"], expected["data"], strict=True):
            if isinstance(other["embedding"], list):
                np.testing.assert_allclose(one.pop("embedding"), other.pop("embedding"), atol=1e-6)
        assert got == expected
        num_tokens += expected["usage"]["prompt_tokens"]
    usage = {"input_tokens": num_tokens, "output_tokens": 0, "total_tokens": num_tokens}
    details = {"input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0}}
    assert batch["usage"] == {**usage, **details}
    (refused,) = await rows_in(platform, key, batch["error_file_id"])
    said = (await platform.call(key, "POST", "/v1/embeddings", json=rows[1]["body"])).json()["error"]
    assert (refused["custom_id"], refused["response"]["body"]) == ("b", {"error": said})
    assert refused["error"] == {"code": said["code"], "message": said["message"]}


async def test_files_of_a_batch_are_listed_and_deleted_each_by_itself(platform: Platform, key: str) -> None:
    made = await begin(platform, key, [row("a"), row("b", input=TOO_LONG)])
    async with worker(platform):
        batch = await ended(platform, key, made["id"])
    whole = [batch["input_file_id"], batch["output_file_id"], batch["error_file_id"]]

    async def ids(**query: Any) -> list[str]:
        return [file["id"] for file in (await told(platform, key, "GET", FILES, params=query))["data"]]

    for is_descending, wanted in ((False, whole), (True, whole[::-1])):
        asked = {"order": "desc" if is_descending else "asc", "limit": 1}
        found = await ids(**asked)
        for _ in whole[1:]:
            found += await ids(**asked, after=found[-1])
        assert found == wanted
        assert await ids(**asked, after=found[-1]) == []
    assert await ids(purpose="batch_output", order="asc") == whole[1:]
    assert await ids(purpose="batch") == whole[:1]
    dataset = f"{ACCOUNT}/datasets/{batch['output_file_id']}"
    await told(platform, key, "DELETE", f"{FILES}/{batch['output_file_id']}")
    assert await ids(order="asc") == [whole[0], whole[2]]
    assert (await platform.call(key, "GET", f"{FILES}/{whole[1]}/content")).status_code == 404
    assert [one["custom_id"] for one in await rows_in(platform, key, whole[2])] == ["b"]
    assert (await platform.call(key, "GET", dataset)).status_code == 200
    await told(platform, key, "DELETE", f"{FILES}/{batch['error_file_id']}")
    assert await ids() == whole[:1]
    assert (await platform.call(key, "GET", dataset)).status_code == 404


async def test_file_that_no_row_needs_is_none(platform: Platform, key: str) -> None:
    good, bad = await begin(platform, key, [row("a")]), await begin(platform, key, [row("a", input=TOO_LONG)])
    async with worker(platform):
        good, bad = [await ended(platform, key, one["id"]) for one in (good, bad)]
    assert (good["status"], good["error_file_id"], bad["status"], bad["output_file_id"]) == (
        *("completed", None),
        *("completed", None),
    )
    assert (await platform.call(key, "GET", f"{FILES}/{good['output_file_id']}_errors")).status_code == 404
    await told(platform, key, "DELETE", f"{FILES}/{good['output_file_id']}")
    await told(platform, key, "DELETE", f"{FILES}/{bad['error_file_id']}")
    datasets = await told(platform, key, "GET", f"{ACCOUNT}/datasets")
    assert datasets["totalSize"] == 2  # the inputs


async def test_bad_rows_fail_the_batch_and_are_named_by_line(platform: Platform, key: str) -> None:
    rows = [
        row("a"),
        row("a"),
        {**row("b"), "custom_id": None},
        {**row("c"), "method": "GET"},
        {**row("d"), "url": "/v1/chat/completions"},
        row("e", model="another"),
        {**row("f"), "body": {"input": "x"}},
        row("g", dimensions=-1),
        {**row("h"), "nope": 1},
        {name: value for name, value in row("i").items() if name != "url"},
    ]
    made = await begin(platform, key, rows)
    async with worker(platform):
        batch = await ended(platform, key, made["id"])
    assert (batch["status"], batch["output_file_id"], batch["error_file_id"]) == ("failed", None, None)
    assert batch["failed_at"] >= batch["created_at"]
    assert batch["request_counts"] == {"total": 0, "completed": 0, "failed": 0}
    assert batch["errors"]["object"] == "list"
    problems = [(one["line"], one["code"], one["param"]) for one in batch["errors"]["data"]]
    assert problems == [
        (2, "duplicate_custom_id", "custom_id"),
        (3, "invalid_custom_id", "custom_id"),
        (4, "invalid_method", "method"),
        (5, "invalid_url", "url"),
        (6, "mismatched_model", "body.model"),
        (7, "missing_required_parameter", "body.model"),
        (8, "invalid_request", "body.dimensions"),
        (9, "unknown_parameter", "nope"),
        (10, "invalid_url", "url"),
    ]
    assert batch["errors"]["data"][3]["message"] == 'rows.jsonl line 5 url must be "/v1/embeddings"'


async def test_of_very_many_bad_rows_the_first_are_named_and_all_counted(platform: Platform, key: str) -> None:
    made = await begin(platform, key, [row("a")] * 152)
    async with worker(platform):
        problems = (await ended(platform, key, made["id"]))["errors"]["data"]
    assert [one["line"] for one in problems] == [*range(2, 102), None]
    assert problems[-1]["message"] == "151 problems in all; only the first 100 are named"


WRONG: list[tuple[str, dict[str, Any], int, str, str]] = [
    ("other endpoint", {"endpoint": "/v1/chat/completions"}, 400, "endpoint", "'/v1/embeddings'"),
    ("other window", {"completion_window": "1h"}, 400, "completion_window", "'24h'"),
    ("null file", {"input_file_id": None}, 400, "input_file_id", "valid string"),
    ("no file", {"input_file_id": "file-none"}, 404, "input_file_id", "there is no such file"),
    ("output expires", {"output_expires_after": {"seconds": 1}}, 400, "output_expires_after", "not supported"),
    ("unknown field", {"nope": 1}, 400, "nope", 'unknown field "nope"'),
    ("17 pairs", {"metadata": {str(n): "" for n in range(17)}}, 400, "metadata", "at most 16"),
    ("long key", {"metadata": {"k" * 65: "v"}}, 400, f"metadata.{'k' * 65}", "at most 64"),
    ("long value", {"metadata": {"k": "v" * 513}}, 400, "metadata.k", "at most 512"),
    ("no text", {"metadata": {"k": 1}}, 400, "metadata.k", "valid string"),
]


@on_sqlite_only
@pytest.mark.parametrize(
    ("more", "status", "param", "message"), [case[1:] for case in WRONG], ids=[case[0] for case in WRONG]
)
async def test_batch_that_cannot_be_is_refused(
    platform: Platform, key: str, more: dict[str, Any], status: int, param: str, message: str
) -> None:
    body = order(await upload(platform, key, lines([row("a")])), **more)
    answer = await platform.call(key, "POST", BATCHES, json=body)
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert (error["param"], message in error["message"]) == (param, True), error
    assert (await told(platform, key, "GET", BATCHES))["data"] == []


FIRST_ROWS: list[tuple[str, Any, int, str]] = [
    ("no model", {"custom_id": "a", "body": {"input": "x"}}, 400, "the first row names no model"),
    ("no body", {"custom_id": "a"}, 400, "the first row names no model"),
    ("model is a number", row("a", model=5), 400, "the first row names no model"),
    ("no such model", row("a", model="fireworks/none"), 404, "no model 'fireworks/none' is served"),
]


@on_sqlite_only
@pytest.mark.parametrize(
    ("first", "status", "message"), [case[1:] for case in FIRST_ROWS], ids=[case[0] for case in FIRST_ROWS]
)
async def test_first_row_must_name_a_model_that_is_served(
    platform: Platform, key: str, first: Any, status: int, message: str
) -> None:
    file_id = await upload(platform, key, b"\n \n" + lines([first, row("b")]))
    answer = await platform.call(key, "POST", BATCHES, json=order(file_id))
    assert (answer.status_code, message in answer.json()["error"]["message"]) == (status, True), answer.text


async def test_file_that_was_not_uploaded_must_wait_and_errors_are_no_input(platform: Platform, key: str) -> None:
    body = {"datasetId": "empty", "dataset": {"userUploaded": {}, "exampleCount": "1"}}
    await told(platform, key, "POST", f"{ACCOUNT}/datasets", json=body)
    answer = await platform.call(key, "POST", BATCHES, json=order("empty"))
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "FAILED_PRECONDITION")
    answer = await platform.call(key, "POST", BATCHES, json=order("empty_errors"))
    assert answer.status_code == 404


@pytest.mark.usefixtures("small_chunks")
async def test_cancelled_batch_keeps_what_is_done(platform: Platform, key: str) -> None:
    operator = await platform.add_user("acme", "operator", Role.ADMIN, is_operator=True)
    path = f"{ACCOUNT}/quotas/batch-inference-jobs"
    await told(platform, operator, "PATCH", path, json={"value": "1", "maxValue": "1"})
    tokens = (await told(platform, key, "POST", "/v1/embeddings", json=row("a")["body"]))["usage"]["prompt_tokens"]
    await give_credit(platform, 2 * tokens * LIST_PRICE_NANOS)  # half of it is for the batch: two rows, and one too few
    made = await begin(platform, key, [row(str(number)) for number in range(7)])
    async with worker(platform, num_slots=1):
        is_paused = lambda batch: "FAILED_PRECONDITION" in str(batch["errors"])  # noqa: E731
        paused = await until(platform, key, made["id"], is_paused)
        assert paused["status"] == "in_progress"  # and what it waits for is told
        assert "CREDIT_DEPLETED" in paused["errors"]["data"][0]["message"]
        cancelling = await told(platform, key, "POST", f"{BATCHES}/{made['id']}/cancel")
        assert cancelling["status"] in {"cancelling", "cancelled"}
        batch = await ended(platform, key, made["id"])
    assert (batch["status"], batch["errors"]) == ("cancelled", None)
    assert batch["cancelled_at"] >= batch["cancelling_at"] == cancelling["cancelling_at"]
    num_done = batch["request_counts"]["completed"]
    assert 0 < num_done < 7
    answers = await rows_in(platform, key, batch["output_file_id"])
    assert [answer["custom_id"] for answer in answers] == [str(number) for number in range(num_done)]
    again = await platform.call(key, "POST", f"{BATCHES}/{made['id']}/cancel")
    assert (again.status_code, again.json()["error"]["code"]) == (400, "FAILED_PRECONDITION")
    assert (await told(platform, key, "GET", path))["usage"] == 0
    job = await told(platform, key, "GET", f"{JOBS}/{made['id']}")
    assert (job["state"], job["status"]["code"]) == ("JOB_STATE_CANCELLED", "OK")


async def test_batch_is_cancelled_before_it_was_begun(platform: Platform, key: str) -> None:
    made = await begin(platform, key, [row("a")])
    first = await told(platform, key, "POST", f"{BATCHES}/{made['id']}/cancel")
    second = await told(platform, key, "POST", f"{BATCHES}/{made['id']}/cancel")
    assert (first["status"], first) == ("cancelling", second)
    async with worker(platform):
        batch = await ended(platform, key, made["id"])
    assert (batch["status"], batch["output_file_id"], batch["error_file_id"]) == ("cancelled", None, None)
    assert batch["request_counts"] == {"total": 0, "completed": 0, "failed": 0}


async def test_expired_batch_says_so(platform: Platform, key: str) -> None:
    made = await begin(platform, key, [row("a")])
    async with platform.database.writing() as db:
        await db.execute(update(JobRunRow).values(expire_time=now() - timedelta(seconds=1)))
    async with worker(platform):
        batch = await ended(platform, key, made["id"])
    assert (batch["status"], batch["expired_at"] is not None) == ("expired", True)
    assert batch["errors"]["data"][0]["code"] == "DEADLINE_EXCEEDED"


async def test_batches_are_listed_newest_first_page_by_page(platform: Platform, key: str) -> None:
    made = [(await begin(platform, key, [row("a")]))["id"] for _ in range(5)][::-1]

    async def page(**query: Any) -> tuple[list[str], bool]:
        listed = await told(platform, key, "GET", BATCHES, params=query)
        ids = [batch["id"] for batch in listed["data"]]
        assert (listed["object"], listed["first_id"], listed["last_id"]) == ("list", ids[0], ids[-1])
        return ids, listed["has_more"]

    assert await page() == (made, False)
    assert await page(limit=2) == (made[:2], True)
    assert await page(limit=2, after=made[1]) == (made[2:4], True)
    assert await page(limit=2, after=made[3]) == (made[4:], False)
    for query, param in (({"after": "none"}, "after"), ({"limit": 101}, "limit")):
        answer = await platform.call(key, "GET", BATCHES, params=query)
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


async def test_job_of_the_gateway_is_a_batch_too(platform: Platform, key: str) -> None:
    await upload_dataset(platform, key, lines(gateway_rows([{"input": "the fox"}])))
    await create(platform, key, outputDatasetId="out")
    async with worker(platform):
        await wait_for(platform, key, {"JOB_STATE_COMPLETED"})
    batch = await told(platform, key, "GET", f"{BATCHES}/job")
    assert (batch["status"], batch["input_file_id"], batch["output_file_id"]) == ("completed", "rows", "out")
    assert batch["metadata"] is None
    (answer,) = await rows_in(platform, key, "out")
    assert (answer["custom_id"], answer["response"]["status_code"]) == ("row-0", 200)


async def test_job_that_writes_vectors_has_no_files_here(platform: Platform, key: str) -> None:
    await upload_dataset(platform, key, lines(gateway_rows([{"input": "the fox"}])))
    await create(platform, key, outputFormat="NPY")
    async with worker(platform):
        batch = await until(platform, key, "job", lambda batch: batch["status"] in ENDED)
    assert (batch["status"], batch["output_file_id"], batch["error_file_id"]) == ("completed", None, None)
    for limit in (1, 20):
        listed = await told(platform, key, "GET", FILES, params={"limit": limit})
        assert ([file["id"] for file in listed["data"]], listed["has_more"]) == (["rows"], False)
