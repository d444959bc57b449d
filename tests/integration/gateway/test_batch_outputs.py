"""Batch jobs whose answers are written as Parquet and npy, on both databases."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from arro3.io import read_parquet
from numpy.typing import NDArray

from embergate.gateway.batch_jobs import rows as batch_rows
from tests.integration.gateway.batches import (
    ACCOUNT,
    ENDED,
    JOBS,
    MODEL,
    create,
    files_of,
    lines,
    rows_of,
    serve,
    told,
    upload,
    wait_for,
    worker,
)
from tests.integration.gateway.platform import Platform, on_sqlite_only

BODIES: list[dict[str, Any]] = [
    {"input": "the fox"},
    {"input": ["the dog", "the quick brown fox jumps"]},
    {"input": "fox " * 2000},
    {"input": "the fox", "encoding_format": "base64"},
    {"input": [5, 6, 7], "normalize": True},
]
# The third cannot be answered; of the second there are two.
NAMED = [("row-0", 0), ("row-1", 0), ("row-1", 1), ("row-3", 0), ("row-4", 0)]


@pytest.fixture
async def key(platform: Platform) -> str:
    return await platform.add_account("acme")


@pytest.fixture(autouse=True)
def served(platform: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(batch_rows, "CHUNK_ROWS", 2)
    serve(platform, tmp_path / "tiny")
    yield
    platform.deps.registry.close()


async def vectors_of(platform: Platform, key: str) -> NDArray[np.float32]:
    """Return what the same requests are answered one by one."""
    found = []
    for body in BODIES:
        answer = await platform.call(
            key, "POST", "/v1/embeddings", json={"model": MODEL, **body, "encoding_format": "float"}
        )
        found += [one["embedding"] for one in answer.json().get("data", [])]
    return np.array(found, np.float32)


async def output_of(platform: Platform, key: str, job: Any) -> dict[str, bytes]:
    """Return the files of a job's output by their names."""
    dataset_id = job["outputDatasetId"].rpartition("/")[2]
    found = await files_of(platform, key, dataset_id)
    return {name.removeprefix(f"dataset/{dataset_id}/"): content for name, content in found.items()}


def table_of(content: bytes) -> tuple[list[tuple[str, int]], NDArray[np.float32]]:
    """Return what a Parquet file holds."""
    table = read_parquet(io.BytesIO(content)).read_all()
    assert table.column_names == ["custom_id", "index", "vector"]
    assert "FixedSizeList" in str(table.schema.field("vector").type)
    named = list(zip(table["custom_id"].to_pylist(), table["index"].to_pylist(), strict=True))
    return named, np.array(table["vector"].to_pylist(), np.float32)


def matrix_of(files: dict[str, bytes]) -> tuple[list[tuple[str, int]], NDArray[np.float32]]:
    """Return what a npy file and the one beside it hold."""
    ids = [json.loads(line) for line in files["BIJOutputSet.ids.jsonl"].splitlines()]
    matrix = np.load(io.BytesIO(files["BIJOutputSet.npy"]))
    assert matrix.dtype == np.float32
    return [(one["custom_id"], one["index"]) for one in ids], matrix


async def done(platform: Platform, key: str, **job: Any) -> Any:
    """Return a job of the rows that has ended."""
    await create(platform, key, **job)
    async with worker(platform):
        return await wait_for(platform, key, ENDED)


@pytest.mark.parametrize("output_format", ["PARQUET", "NPY"])
async def test_vectors_are_those_of_single_requests_in_the_order_of_the_rows(
    platform: Platform, key: str, output_format: str
) -> None:
    await upload(platform, key, lines(rows_of(BODIES)))
    job = await done(platform, key, outputFormat=output_format)
    assert (job["state"], job["outputFormat"]) == ("JOB_STATE_COMPLETED", output_format)
    files = await output_of(platform, key, job)
    assert [json.loads(line)["custom_id"] for line in files.pop("error-data").splitlines()] == ["row-2"]
    if output_format == "PARQUET":
        assert list(files) == ["BIJOutputSet.parquet"]
        named, vectors = table_of(files["BIJOutputSet.parquet"])
    else:
        assert list(files) == ["BIJOutputSet.ids.jsonl", "BIJOutputSet.npy"]
        named, vectors = matrix_of(files)
    assert named == NAMED
    np.testing.assert_allclose(vectors, await vectors_of(platform, key), atol=1e-6)
    output = await told(platform, key, "GET", f"/v1/{job['outputDatasetId']}")
    assert (output["exampleCount"], output["estimatedTokenCount"]) == (str(len(NAMED)), "0")


@on_sqlite_only
@pytest.mark.parametrize("output_format", ["PARQUET", "NPY"])
async def test_output_without_any_vector_is_an_empty_file(platform: Platform, key: str, output_format: str) -> None:
    await upload(platform, key, lines(rows_of(BODIES[2:3])))
    job = await done(platform, key, outputFormat=output_format)
    files = await output_of(platform, key, job)
    assert len(files["error-data"].splitlines()) == 1
    if output_format == "PARQUET":
        assert read_parquet(io.BytesIO(files["BIJOutputSet.parquet"])).read_all().num_rows == 0
    else:
        assert matrix_of(files)[1].shape == (0, 0)


@on_sqlite_only
@pytest.mark.parametrize("output_format", ["PARQUET", "NPY"])
async def test_rows_of_several_dimensions_are_refused_before_any_is_done(
    platform: Platform, key: str, output_format: str
) -> None:
    await upload(platform, key, lines(rows_of([{"input": "the fox"}, {"input": "the dog", "dimensions": 4}])))
    job = await done(platform, key, outputFormat=output_format)
    assert (job["state"], job["status"]["code"]) == ("JOB_STATE_FAILED", "INVALID_ARGUMENT")
    assert "rows.jsonl line 2 dimensions: 4, and rows before have the model's own" in job["status"]["message"]
    assert "inferenceParameters.extraBody" in job["status"]["message"]


@pytest.mark.parametrize("output_format", ["PARQUET", "NPY"])
async def test_job_that_goes_on_writes_the_same_format_and_knows_what_is_done(
    platform: Platform, key: str, output_format: str
) -> None:
    await upload(platform, key, lines(rows_of(BODIES)))
    await create(platform, key, outputFormat=output_format)
    async with worker(platform, num_slots=1):
        await wait_for(platform, key, ENDED)
        again = {"continuedFromJobName": "job", "outputFormat": "JSONL"}
        refused = await platform.call(key, "POST", JOBS, json=again)
        assert (refused.status_code, refused.json()["code"]) == (400, 3), refused.text
        assert f"outputFormat: the continued job's is {output_format}" in refused.json()["message"]
        made = await create(platform, key, "second", model="", inputDatasetId="", continuedFromJobName="job")
        assert made["outputFormat"] == output_format
        second = await wait_for(platform, key, ENDED, "second")
    assert (second["state"], second["jobProgress"]["totalInputRequests"]) == (
        "JOB_STATE_COMPLETED",
        1,
    )  # the one that failed


@on_sqlite_only
async def test_vectors_are_no_rows_to_read(platform: Platform, key: str) -> None:
    await upload(platform, key, lines(rows_of(BODIES)))
    await done(platform, key, outputFormat="NPY", outputDatasetId="vectors")
    calls = (
        (f"{ACCOUNT}/datasets/vectors:splitDataset", {"chunkSize": 200}),
        (JOBS, {"model": MODEL, "inputDatasetId": "vectors"}),
    )
    for path, body in calls:
        answer = await platform.call(key, "POST", path, json=body)
        assert (answer.status_code, answer.json()["code"]) == (400, 9), answer.text
        assert "BIJOutputSet.npy, whose rows are vectors" in answer.json()["message"]


async def test_progress_tells_how_fast_a_job_is_and_how_long_it_takes_yet(platform: Platform, key: str) -> None:
    await upload(platform, key, lines(rows_of(BODIES)))
    job = await done(platform, key)
    assert job["jobProgress"]["tokensPerSecond"] > 0
    assert job["jobProgress"]["estimatedSecondsLeft"] is None
