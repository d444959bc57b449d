"""The vectors of a batch job's chunks as one file: npy, or Parquet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import aclosing
from typing import IO, Any

import orjson

from embergate.aip.status import Code
from embergate.gateway.batch_jobs.results import Results, compose_parts, read_part, write_part
from embergate.gateway.batch_jobs.run import IDS_FILE, NPY_FILE, PARQUET_FILE
from embergate.gateway.batch_jobs.vectors import read_vectors
from embergate.gateway.files.place import FilePlace
from embergate.jobs.errors import JobError
from embergate.storage.objects.protocol import Expected, Objects
from embergate.storage.objects.threaded import written_in_thread

# Vectors and what names them, of one chunk.
Part = tuple[bytes, bytes]


async def compose_npy(objects: Objects, place: FilePlace, results: Sequence[Results], scratch: str) -> dict[str, int]:
    """Write a matrix of all vectors, and beside it a line for each. Raises: UnavailableError; JobError."""
    from embergate.vector_files import npy_header

    header = npy_header(sum(one.num_inputs for one in results), _dimensions_of(results))
    parts = [await write_part(objects, f"{scratch}-header", header)]
    parts += [one.answers_key for one in results if one.answers_key]
    size = (await objects.compose(place.key(NPY_FILE), parts)).size
    return {NPY_FILE: size, IDS_FILE: await _compose_ids(objects, place, results)}


async def compose_parquet(
    objects: Objects,
    place: FilePlace,
    results: Sequence[Results],
    scratch: str,  # noqa: ARG001 - of other formats
) -> dict[str, int]:
    """Write a table with a vector a row. Raises: UnavailableError; JobError."""
    dimensions = _dimensions_of(results)
    done = [one for one in results if one.answers_key]

    async def fetch(one: Results) -> Part:
        return await read_part(objects, one.answers_key), await read_part(objects, one.ids_key)

    def write(parts: Iterator[Part], stream: IO[bytes]) -> None:
        _write_table(parts, stream, dimensions)

    async with aclosing(written_in_thread(done, fetch, write)) as pieces:
        size = (await objects.write(place.key(PARQUET_FILE), pieces, expect=Expected())).size
    # Not one of the dataset's files: for a job that goes on from this one, which needs to know nothing but the ids.
    await _compose_ids(objects, place, results)
    return {PARQUET_FILE: size}


def _write_table(parts: Iterator[Part], stream: IO[bytes], dimensions: int) -> None:
    from arro3.core import Array, DataType, Field, RecordBatchReader

    from embergate.vector_files import table_rows, table_schema, write_table

    fields = (
        Field("custom_id", DataType.string(), nullable=False),
        Field("index", DataType.int32(), nullable=False),
    )
    schema = table_schema(fields, dimensions)

    def batches() -> Iterator[Any]:
        for vectors, ids in parts:
            rows = [orjson.loads(line) for line in ids.splitlines()]
            columns = [
                Array([row["custom_id"] for row in rows], type=DataType.string()),
                Array([row["index"] for row in rows], type=DataType.int32()),
            ]
            yield table_rows(schema, columns, read_vectors(vectors, dimensions))

    write_table(RecordBatchReader.from_batches(schema, batches()), stream, dimensions)


def _dimensions_of(results: Sequence[Results]) -> int:
    """Return the length of the vectors, 0 if there are none. Raises: JobError."""
    found = sorted({one.dimensions for one in results if one.answers_key})
    if len(found) > 1:
        raise JobError(
            Code.FAILED_PRECONDITION.value,
            f"the model was replaced while the job was done: there are vectors of {found[0]} and of {found[-1]} "
            "dimensions, which no file has; make the job again",
        )
    return found[0] if found else 0


async def _compose_ids(objects: Objects, place: FilePlace, results: Sequence[Results]) -> int:
    return await compose_parts(objects, place.key(IDS_FILE), [one.ids_key for one in results if one.ids_key])
