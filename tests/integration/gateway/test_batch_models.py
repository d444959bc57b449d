"""Batch jobs on models that accounts have uploaded, on both databases."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import select

from embergate.app.objects import FileOptions
from embergate.app.uploaded_models import PoolOptions
from embergate.storage.objects.local import LocalObjects
from embergate.storage.tables.usage import UsageDimensionsRow
from tests.integration.gateway import batches, uploading
from tests.integration.gateway.batches import ACCOUNT, JOBS, output_of, rows_of, told, wait_for, worker
from tests.integration.gateway.platform import Platform
from tests.integration.gateway.uploading import MODELS, model_folder

NAME = "accounts/acme/models/mine"
TEXTS = ["a quick brown fox", "a lazy dog", "the fox and the dog"]


@pytest.fixture
async def key(platform: Platform, tmp_path: Path) -> str:
    """The key of an account that has a model and a dataset."""
    made = await platform.add_account("acme")
    await uploading.upload(platform, made, model_folder(tmp_path / "published"))
    await batches.upload(platform, made, batches.lines(rows_of([{"input": text} for text in TEXTS])))
    return made


async def ask(platform: Platform, key: str, **job: Any) -> tuple[int, str]:
    """Ask for a batch job; return the status and what is said."""
    body = {"model": NAME, "inputDatasetId": "rows", **job}
    answer = await platform.call(key, "POST", JOBS, params={"batchInferenceJobId": "job"}, json=body)
    return answer.status_code, answer.json().get("message", "")


@pytest.mark.parametrize("name", [NAME, f"fireworks/{NAME}", f"{NAME}#mine"])
async def test_job_loads_the_model_and_gives_the_vectors_of_requests(platform: Platform, key: str, name: str) -> None:
    expected = (await uploading.embed(platform, key, TEXTS)).json()["data"]
    await platform.gateway.models.pool.close()  # nobody has loaded it when the job comes
    await batches.create(platform, key, model=name)
    async with worker(platform):
        job = await wait_for(platform, key, batches.ENDED)
    answers, errors = await output_of(platform, key, job)
    assert not errors
    got = [answers[f"row-{index}"]["data"][0]["embedding"] for index in range(len(TEXTS))]
    np.testing.assert_allclose(got, [one["embedding"] for one in expected], atol=1e-6)
    async with platform.database.reading() as db:
        rows = (await db.scalars(select(UsageDimensionsRow).where(UsageDimensionsRow.is_batch))).all()
    assert [(row.model, row.price_nanos) for row in rows] == [(NAME, 4)]


async def test_rows_may_name_the_model_in_any_form_and_no_other(platform: Platform, key: str) -> None:
    bodies = [{"input": "fox", "model": model} for model in (NAME, f"fireworks/{NAME}", "accounts/acme/models/other")]
    await batches.upload(platform, key, batches.lines(rows_of(bodies)), "mixed")
    await batches.create(platform, key, model=NAME, inputDatasetId="mixed")
    async with worker(platform):
        job = await wait_for(platform, key, batches.ENDED)
    assert job["state"] == "JOB_STATE_FAILED"
    assert f"rows.jsonl line 3 model: the job's is {NAME}" in job["status"]["message"]


async def test_model_of_others_that_is_not_public_or_not_ready_is_refused_at_once(platform: Platform, key: str) -> None:
    stranger = await platform.add_account("globex")
    body = {"datasetId": "theirs", "dataset": {"userUploaded": {}, "exampleCount": "1"}}
    await told(platform, stranger, "POST", "/v1/accounts/globex/datasets", json=body)
    files = {"file": ("rows.jsonl", b'{"custom_id":"a","body":{"input":"fox"}}\n', "application/jsonl")}
    await told(platform, stranger, "POST", "/v1/accounts/globex/datasets/theirs:upload", files=files)
    asked = {"model": NAME, "inputDatasetId": "theirs"}
    path = "/v1/accounts/globex/batchInferenceJobs"
    assert (await platform.call(stranger, "POST", path, json=asked)).status_code == 403
    await told(platform, key, "PATCH", f"{MODELS}/mine", json={"public": True})
    assert (await platform.call(stranger, "POST", path, json=asked)).status_code == 200
    await uploading.create(platform, key, "empty")
    status, message = await ask(platform, key, model="accounts/acme/models/empty")
    assert (status, "UPLOADING" in message) == (400, True)
    assert (await ask(platform, key, model="accounts/acme/models/none"))[0] == 404


async def test_policy_that_ends_ends_the_job_with_the_reason(platform: Platform, key: str) -> None:
    await batches.create(platform, key, model=NAME)
    await told(platform, key, "PATCH", f"{ACCOUNT}/policySettings", json={"rules": []})
    async with worker(platform):
        job = await wait_for(platform, key, batches.ENDED)
    assert (job["state"], job["status"]["code"]) == ("JOB_STATE_FAILED", "PERMISSION_DENIED")
    assert f"policy does not allow {NAME}" in job["status"]["message"]


async def test_model_that_never_fits_fails_its_job_and_says_why(
    platform: Platform, key: str, store: LocalObjects, tmp_path: Path
) -> None:
    await batches.create(platform, key, model=NAME)
    files = FileOptions(store, models_folder=tmp_path / "elsewhere")
    small = Platform(platform.database, files=files, pool=PoolOptions(max_bytes=10))
    async with worker(small):
        job = await wait_for(platform, key, batches.ENDED)
    await small.close()
    assert (job["state"], job["status"]["code"]) == ("JOB_STATE_FAILED", "FAILED_PRECONDITION")
    assert "EMBERGATE_MODEL_MEMORY_MB" in job["status"]["message"]
