"""The calls of batch jobs over HTTP, on both databases: what may be made, and how jobs are listed. Nothing is done here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from embergate.web.caller import Role
from tests.integration.gateway.batches import ACCOUNT, JOBS, MODEL, create, lines, rows_of, serve, told, upload
from tests.integration.gateway.platform import Platform

FOX = lines(rows_of([{"input": "the fox"}]))


@pytest.fixture
async def key(platform: Platform) -> str:
    key = await platform.add_account("acme")
    await upload(platform, key, FOX)
    return key


@pytest.fixture(autouse=True)
def served(platform: Platform, tmp_path: Path) -> Iterator[None]:
    serve(platform, tmp_path / "tiny")
    yield
    platform.deps.registry.close()


async def test_new_job_is_shown_with_every_field(platform: Platform, key: str) -> None:
    made = await create(platform, key, displayName="Foxes")
    output = made["outputDatasetId"]
    assert output.startswith("accounts/acme/datasets/bij-")
    assert len(output.rpartition("/")[2]) == len("bij-") + 8
    assert made == {
        "name": "accounts/acme/batchInferenceJobs/job",
        "displayName": "Foxes",
        "createTime": made["createTime"],
        "createdBy": "admin@acme.example",
        "state": "JOB_STATE_VALIDATING",
        "status": {"code": "OK", "message": ""},
        "model": MODEL,
        "inputDatasetId": "accounts/acme/datasets/rows",
        "outputDatasetId": output,
        "inferenceParameters": {"extraBody": "{}"},
        "updateTime": made["createTime"],
        "precision": "PRECISION_UNSPECIFIED",
        "jobProgress": None,
        "continuedFromJobName": "",
        "outputFormat": "JSONL",
    }
    assert await told(platform, key, "GET", f"{JOBS}/job") == made
    assert await told(platform, key, "GET", f"{JOBS}/job", params={"readMask": "model"}) == {"model": MODEL}


async def test_id_is_made_up_if_none_is_chosen(platform: Platform, key: str) -> None:
    made = await told(platform, key, "POST", JOBS, json={"model": MODEL, "input_dataset_id": "rows"})
    assert made["name"].startswith("accounts/acme/batchInferenceJobs/bij-")


WRONG: list[tuple[str, dict[str, Any], int, str]] = [
    ("no model", {"model": ""}, 400, "model is required"),
    ("no input", {"inputDatasetId": ""}, 400, "inputDatasetId is required"),
    ("unknown input", {"inputDatasetId": "accounts/acme/datasets/none"}, 404, "there is no dataset 'none'"),
    ("foreign input", {"inputDatasetId": "accounts/beta/datasets/rows"}, 403, "must be in the account acme"),
    ("no name", {"inputDatasetId": "accounts/acme/models/rows"}, 400, "is not of the form"),
    ("unknown model", {"model": "fireworks/none"}, 404, "no model 'fireworks/none' is served"),
    ("output is there", {"outputDatasetId": "accounts/acme/datasets/rows"}, 409, "there is a dataset 'rows' already"),
    ("bad output", {"outputDatasetId": "Rows"}, 400, "outputDatasetId"),
    ("extraBody no JSON", {"inferenceParameters": {"extraBody": "{"}}, 400, "extraBody is not valid JSON"),
    ("extraBody no object", {"inferenceParameters": {"extraBody": "[]"}}, 400, "extraBody must be a JSON object"),
    ("no format", {"outputFormat": "CSV"}, 400, "outputFormat"),
    ("no number", {"inferenceParameters": {"temperature": "NaN"}}, 400, "temperature"),
    ("unknown field", {"nope": 1}, 400, 'unknown field "nope"'),
    ("unknown job", {"continuedFromJobName": "accounts/acme/batchInferenceJobs/none"}, 404, "resource not found"),
]


@pytest.mark.parametrize(("job", "status", "message"), [case[1:] for case in WRONG], ids=[case[0] for case in WRONG])
async def test_job_that_cannot_be_is_refused(
    platform: Platform, key: str, job: dict[str, Any], status: int, message: str
) -> None:
    body = {"model": MODEL, "inputDatasetId": "rows", **job}
    answer = await platform.call(key, "POST", JOBS, json=body)
    assert answer.status_code == status, answer.text
    assert message in answer.json()["message"]
    assert (await told(platform, key, "GET", JOBS))["totalSize"] == 0


async def test_ids_and_outputs_of_other_jobs_are_taken(platform: Platform, key: str) -> None:
    await create(platform, key, outputDatasetId="out")
    body = {"model": MODEL, "inputDatasetId": "rows"}
    for job_id, more in (("job", {}), ("other", {"outputDatasetId": "out"})):
        answer = await platform.call(key, "POST", JOBS, params={"batchInferenceJobId": job_id}, json=body | more)
        assert (answer.status_code, answer.json()["code"]) == (409, 6)
    answer = await platform.call(key, "POST", JOBS, params={"batchInferenceJobId": "Job"}, json=body)
    assert (answer.status_code, answer.json()["code"]) == (400, 3)


async def test_dataset_that_is_not_ready_and_job_that_has_not_ended_must_wait(platform: Platform, key: str) -> None:
    body = {"datasetId": "empty", "dataset": {"userUploaded": {}, "exampleCount": "1"}}
    await told(platform, key, "POST", f"{ACCOUNT}/datasets", json=body)
    made = await create(platform, key)
    for job in ({"model": MODEL, "inputDatasetId": "empty"}, {"continuedFromJobName": made["name"]}):
        answer = await platform.call(key, "POST", JOBS, json=job)
        assert (answer.status_code, answer.json()["code"]) == (400, 9), answer.text


async def test_quota_bounds_the_jobs_that_have_not_ended(platform: Platform, key: str) -> None:
    operator = await platform.add_user("acme", "operator", Role.ADMIN, is_operator=True)
    path = f"{ACCOUNT}/quotas/batch-inference-jobs"
    await told(platform, operator, "PATCH", path, json={"value": "1", "maxValue": "1"})
    await create(platform, key)
    answer = await platform.call(key, "POST", JOBS, json={"model": MODEL, "inputDatasetId": "rows"})
    assert (answer.status_code, answer.json()["code"]) == (429, 8)
    assert (await told(platform, key, "GET", path))["usage"] == 1
    await told(platform, key, "DELETE", f"{JOBS}/job")
    await create(platform, key, "another")


async def test_policy_bounds_the_models(platform: Platform, key: str) -> None:
    rules = {"rules": [{"model": "fireworks/other", "allowServerless": True}]}
    await told(platform, key, "PATCH", f"{ACCOUNT}/policySettings", json=rules)
    answer = await platform.call(key, "POST", JOBS, json={"model": MODEL, "inputDatasetId": "rows"})
    assert (answer.status_code, answer.json()["code"]) == (403, 7)


async def test_jobs_are_listed_filtered_and_ordered(platform: Platform, key: str) -> None:
    for name in ("b", "a", "c"):
        await create(platform, key, name, displayName=f"job {name}")

    async def ids(**query: str) -> list[str]:
        found = await told(platform, key, "GET", JOBS, params=query)
        return [job["name"].rpartition("/")[2] for job in found["batchInferenceJobs"]]

    assert await ids() == ["b", "a", "c"]
    assert await ids(orderBy="created_time desc") == await ids(orderBy="create_time desc") == ["c", "a", "b"]
    assert await ids(orderBy="name") == ["a", "b", "c"]
    assert await ids(filter='state=JOB_STATE_VALIDATING AND displayName:"job a"') == ["a"]
    assert await ids(filter="state=COMPLETED") == []
    first = await told(platform, key, "GET", JOBS, params={"pageSize": "2"})
    assert (len(first["batchInferenceJobs"]), first["totalSize"]) == (2, 3)
    assert await ids(pageSize="2", pageToken=first["nextPageToken"]) == ["c"]
