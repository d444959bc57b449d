"""Vectors of a batch job's chunks on their way into one file."""

from __future__ import annotations

from pathlib import Path

import pytest

from embergate.gateway.batch_jobs.results import Results
from embergate.gateway.batch_jobs.vector_output import compose_npy, compose_parquet
from embergate.gateway.files.place import FilePlace
from embergate.jobs.errors import JobError
from embergate.storage.objects.local import LocalObjects


def chunk(number: int, dimensions: int) -> Results:
    return Results(f"parts/{number}", "", 1, 0, 1, 3, f"parts/{number}-ids", dimensions)


@pytest.mark.parametrize("compose", [compose_npy, compose_parquet])
async def test_vectors_of_several_lengths_are_no_file(tmp_path: Path, compose: object) -> None:
    objects = LocalObjects(tmp_path / "objects")
    objects.prepare()
    assert callable(compose)
    with pytest.raises(JobError, match="there are vectors of 256 and of 384 dimensions"):
        await compose(objects, FilePlace("datasets", "acme", "uid"), [chunk(0, 384), chunk(1, 256)], "parts/scratch")
    await objects.close()
