"""SplitDataset: the rows of one dataset as several smaller ones, in their order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Final

from embergate.aip.errors import InvalidArgumentError
from embergate.aip.message import write_message
from embergate.clock import now
from embergate.errors import AlreadyExistsError, FailedPreconditionError
from embergate.gateway.call import Call
from embergate.gateway.datasets import store
from embergate.gateway.datasets.jsonl import BYTES_A_TOKEN, Lines, require_json_lines
from embergate.gateway.datasets.schemas import Dataset, DatasetState, Splitted
from embergate.gateway.datasets.service import new_row
from embergate.gateway.datasets.store import DATASETS
from embergate.storage.objects.protocol import CHUNK_BYTES, Expected, Objects
from embergate.storage.tables.datasets import DatasetRow

MIN_ROWS: Final = 200
MAX_CHUNKS: Final = 1_000
FILENAME: Final = "data.jsonl"
ID_CHARACTERS: Final = 63


async def split(call: Call, dataset_id: str, num_rows: int) -> list[DatasetRow]:
    """Write datasets of `num_rows` rows each, the last perhaps with fewer; return them.

    Raises: NotFoundError; FailedPreconditionError for a dataset that is not ready; InvalidArgumentError; AlreadyExistsError.
    """
    if num_rows < MIN_ROWS:
        raise InvalidArgumentError(f"chunkSize must be at least {MIN_ROWS}", field="chunkSize")
    async with call.deps.database.reading() as db:
        source = await store.get(db, call.account_id, dataset_id)
        files = list(await store.files_of(db, source))
    if source.state != DatasetState.READY:
        raise FailedPreconditionError(f"the dataset {dataset_id} is not READY", param="name")
    require_json_lines(dataset_id, files, param="name")
    num_chunks = -(-source.example_count // num_rows)
    if num_chunks > MAX_CHUNKS:
        raise InvalidArgumentError(
            f"chunkSize: {source.example_count} rows would be {num_chunks} datasets, more than {MAX_CHUNKS}",
            field="chunkSize",
        )
    chunks = [_chunk_of(call, source, number) for number in range(num_chunks)]
    objects = call.deps.objects
    try:
        await _write_all(objects, source, files, chunks, num_rows)
        for row in chunks:
            await _keep(call, objects, row)
    except BaseException:
        for row in chunks:
            await asyncio.shield(objects.delete_prefix(store.place_of(row).folder))
        raise
    return chunks


def _chunk_of(call: Call, source: DatasetRow, number: int) -> DatasetRow:
    ending = f"-chunk-{number + 1}"
    dataset_id = source.id[: ID_CHARACTERS - len(ending)].rstrip("-") + ending
    origin = {"splitted": write_message(Splitted(source_dataset_id=source.id))}
    draft = Dataset(display_name=source.display_name)
    row = new_row(call.account_id, dataset_id, draft, origin, created_by=call.caller.email)
    row.state, row.format = DatasetState.READY, source.format
    return row


async def _write_all(
    objects: Objects, source: DatasetRow, files: Sequence[str], chunks: Sequence[DatasetRow], num_rows: int
) -> None:
    rows = _rows_of(objects, source, files)
    for row in chunks:
        await objects.write(store.place_of(row).key(FILENAME), _some(rows, row, num_rows), expect=Expected())


async def _some(rows: AsyncIterator[bytes], row: DatasetRow, num_rows: int) -> AsyncIterator[bytes]:
    """Yield the next rows, many in a piece, and count them."""
    piece = bytearray()
    while row.example_count < num_rows and (line := await anext(rows, None)) is not None:
        row.example_count += 1
        row.estimated_token_count += len(line) // BYTES_A_TOKEN
        piece += line + b"\n"
        if len(piece) >= CHUNK_BYTES:
            yield bytes(piece)
            piece.clear()
    yield bytes(piece)


async def _rows_of(objects: Objects, source: DatasetRow, files: Sequence[str]) -> AsyncIterator[bytes]:
    for name in files:
        lines = Lines()
        async for chunk in objects.read(store.place_of(source).key(name)):
            for line in lines.take(chunk):
                if line.strip():
                    yield line
        for line in lines.finish():
            if line.strip():
                yield line


async def _keep(call: Call, objects: Objects, row: DatasetRow) -> None:
    found = await objects.find(store.place_of(row).key(FILENAME))
    assert found is not None, "it has just been written"
    row.update_time = now()
    if not await store.insert(call.db, row):
        raise AlreadyExistsError(f"there is a dataset {row.id!r} already; delete it first", param="name")
    await store.replace_files(call.db, row, {FILENAME: found.size})


def names_of(rows: Sequence[DatasetRow]) -> list[str]:
    """Return the resource names of datasets."""
    return [DATASETS.name_of(row) for row in rows]
