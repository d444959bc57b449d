"""SplitDataset: the rows of one dataset as several smaller ones, in their order."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Final

from embergate.aip.errors import InvalidArgumentError
from embergate.aip.message import write_message
from embergate.gateway.call import Call
from embergate.gateway.datasets import store
from embergate.gateway.datasets.copies import keep, source_of, write_rows
from embergate.gateway.datasets.jsonl import BYTES_A_TOKEN, Lines
from embergate.gateway.datasets.schemas import Dataset, DatasetState, Splitted
from embergate.gateway.datasets.service import new_row
from embergate.gateway.datasets.store import DATASETS
from embergate.gateway.files.place import taken_back_unless_kept
from embergate.storage.objects.protocol import CHUNK_BYTES, Objects
from embergate.storage.tables.datasets import DatasetRow

MIN_ROWS: Final = 200
MAX_CHUNKS: Final = 1_000
ID_CHARACTERS: Final = 63


async def split(call: Call, dataset_id: str, num_rows: int) -> list[DatasetRow]:
    """Write datasets of `num_rows` rows each, the last perhaps with fewer; return them.

    Raises: NotFoundError; FailedPreconditionError for a dataset that is not ready; InvalidArgumentError; AlreadyExistsError.
    """
    if num_rows < MIN_ROWS:
        raise InvalidArgumentError(f"chunkSize must be at least {MIN_ROWS}", field="chunkSize")
    source, files = await source_of(call, dataset_id, param="name")
    num_chunks = -(-source.example_count // num_rows)
    if num_chunks > MAX_CHUNKS:
        raise InvalidArgumentError(
            f"chunkSize: {source.example_count} rows would be {num_chunks} datasets, more than {MAX_CHUNKS}",
            field="chunkSize",
        )
    chunks = [_chunk_of(call, source, number) for number in range(num_chunks)]
    objects = call.deps.objects
    async with taken_back_unless_kept(objects, [store.place_of(row) for row in chunks]):
        rows = _rows_of(objects, source, list(files))
        sizes = [await write_rows(objects, row, _some(rows, row, num_rows)) for row in chunks]
        for row, size in zip(chunks, sizes, strict=True):
            await keep(call, row, size, param="name")
    return chunks


def _chunk_of(call: Call, source: DatasetRow, number: int) -> DatasetRow:
    ending = f"-chunk-{number + 1}"
    dataset_id = source.id[: ID_CHARACTERS - len(ending)].rstrip("-") + ending
    origin = {"splitted": write_message(Splitted(source_dataset_id=source.id))}
    draft = Dataset(display_name=source.display_name)
    row = new_row(call.account_id, dataset_id, draft, origin, created_by=call.caller.email)
    row.state, row.format = DatasetState.READY, source.format
    return row


async def _some(rows: AsyncIterator[bytes], row: DatasetRow, num_rows: int) -> AsyncGenerator[bytes, None]:
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


def names_of(rows: Sequence[DatasetRow]) -> list[str]:
    """Return the resource names of datasets."""
    return [DATASETS.name_of(row) for row in rows]
