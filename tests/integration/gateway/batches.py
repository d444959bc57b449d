"""An account that has datasets and batch jobs done, over HTTP, by workers in this process."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from embergate.app.batches import batch_worker, working
from embergate.clock import now
from embergate.engine.registry import ServedModel
from embergate.gateway.accounts import store as accounts
from embergate.gateway.credits.ledger import GRANTED_CREDIT, credit_of, post
from embergate.gateway.usage.standing import CURRENCY, Billing
from embergate.jobs.rules import WorkerRules
from tests.integration.gateway.platform import Platform
from tests.loaded import fake_model

ACCOUNT: Final = "/v1/accounts/acme"
JOBS: Final = f"{ACCOUNT}/batchInferenceJobs"
MODEL: Final = "fireworks/tiny"
LIST_PRICE_NANOS: Final = 8
ENDED: Final = {f"JOB_STATE_{name}" for name in ("COMPLETED", "FAILED", "EXPIRED")}
QUICK: Final = WorkerRules(poll_s=0.02, heartbeat_s=0.05, first_pause_s=0.02, grace_s=2)
DEADLINE_S: Final = 30.0


def serve(platform: Platform, folder: Path) -> None:
    """Serve the tiny model."""
    model = fake_model(folder)
    platform.deps.registry.add(ServedModel("fireworks", "tiny", model, now(), list_price_nanos=LIST_PRICE_NANOS))


@asynccontextmanager
async def worker(platform: Platform, num_slots: int = 2, rules: WorkerRules = QUICK) -> AsyncIterator[None]:
    """Do batch jobs meanwhile."""
    async with working(batch_worker(platform.deps, platform.gateway, num_slots=num_slots, rules=rules)):
        yield


def lines(rows: Sequence[Any]) -> bytes:
    """Return rows as a file."""
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def rows_of(bodies: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a row for each body."""
    return [{"custom_id": f"row-{index}", "body": body} for index, body in enumerate(bodies)]


async def told(platform: Platform, key: str, method: str, path: str, **options: Any) -> Any:
    """Return what a call answers."""
    answer = await platform.call(key, method, path, **options)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def upload(platform: Platform, key: str, content: bytes, dataset_id: str = "rows") -> None:
    """Make a dataset of one file."""
    body = {"datasetId": dataset_id, "dataset": {"userUploaded": {}, "exampleCount": "1"}}
    await told(platform, key, "POST", f"{ACCOUNT}/datasets", json=body)
    files = {"file": ("rows.jsonl", content, "application/jsonl")}
    await told(platform, key, "POST", f"{ACCOUNT}/datasets/{dataset_id}:upload", files=files)


async def create(platform: Platform, key: str, job_id: str = "job", **job: Any) -> Any:
    """Make a batch job over the dataset `rows`, if nothing else is said."""
    body = {"model": MODEL, "inputDatasetId": "rows", **job}
    return await told(platform, key, "POST", JOBS, params={"batchInferenceJobId": job_id}, json=body)


async def wait_for(platform: Platform, key: str, states: set[str], job_id: str = "job") -> Any:
    """Return a job once it is in one of these states."""
    return await until(platform, key, lambda job: job["state"] in states, job_id)


async def until(platform: Platform, key: str, is_so: Callable[[Any], bool], job_id: str = "job") -> Any:
    """Return a job once it is so."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            job = await told(platform, key, "GET", f"{JOBS}/{job_id}")
            if is_so(job):
                return job
            await asyncio.sleep(0.02)


async def files_of(platform: Platform, key: str, dataset_id: str, **query: str) -> dict[str, bytes]:
    """Return a dataset's files by the names that they are told by."""
    path = f"{ACCOUNT}/datasets/{dataset_id}:getDownloadEndpoint"
    found = await told(platform, key, "GET", path, params=query)
    contents = {}
    async with platform.client() as client:
        for name, url in found["filenameToSignedUrls"].items():
            contents[name] = (await client.get(url)).content
    return contents


async def output_of(platform: Platform, key: str, job: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a job's answers and errors by their rows' ids, none of which may be there twice."""
    dataset_id = job["outputDatasetId"].rpartition("/")[2]
    files = await files_of(platform, key, dataset_id)
    assert set(files) == {f"dataset/{dataset_id}/BIJOutputSet.jsonl", f"dataset/{dataset_id}/error-data"}
    found = []
    for name, what in (("BIJOutputSet.jsonl", "response"), ("error-data", "error")):
        rows = [json.loads(line) for line in files[f"dataset/{dataset_id}/{name}"].splitlines()]
        by_id = {row["custom_id"]: row[what] for row in rows}
        assert len(by_id) == len(rows)
        found.append(by_id)
    answers, errors = found
    assert not answers.keys() & errors.keys()
    return answers, errors


async def give_credit(platform: Platform, credit_nanos: int) -> None:
    """Have the account pay out of so much credit more."""
    async with platform.database.writing() as db:
        account = await accounts.get(db, "acme", for_update=True)
        account.billing = Billing.PREPAID.value
        if credit_nanos:
            await post(db, "test", CURRENCY, {credit_of("acme"): credit_nanos, GRANTED_CREDIT: -credit_nanos})
