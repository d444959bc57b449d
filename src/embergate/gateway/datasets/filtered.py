"""A dataset of those rows of another one that a filter lets through, as they are and in their order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Final

import orjson

from embergate.aip.errors import InvalidArgumentError
from embergate.aip.filtering.json_rows import compile_json_filter
from embergate.aip.message import require_fields, write_message
from embergate.aip.names import check_id
from embergate.errors import AlreadyExistsError, FailedPreconditionError
from embergate.gateway.call import Call
from embergate.gateway.datasets import store
from embergate.gateway.datasets.copies import keep, source_of, write_rows
from embergate.gateway.datasets.jsonl import BYTE_ORDER_MARK, BYTES_A_TOKEN, Lines, RowError
from embergate.gateway.datasets.schemas import CreateDatasetBody, Dataset, DatasetFormat, DatasetState, Transformed
from embergate.gateway.datasets.service import ORIGINS, new_row
from embergate.gateway.datasets.store import DATASETS
from embergate.gateway.files.place import taken_back_unless_kept
from embergate.storage.objects.protocol import Objects
from embergate.storage.tables.datasets import DatasetRow

FIELD: Final = "sourceDatasetId"
# Its rows are read while the call lasts: a minute or two.
MAX_SOURCE_BYTES: Final = 8 << 30


async def create(call: Call, body: CreateDatasetBody) -> Dataset:
    """Make a copy, which is READY then; of a filter that nothing passes it has no rows.

    Raises: NotFoundError; AlreadyExistsError; FailedPreconditionError for a source that is not ready or has no rows to read;
        ForbiddenError for another account's; InvalidArgumentError, for a filter with the place in it.
    """
    require_fields(body)
    assert body.dataset is not None, "it is required"
    if not body.source_dataset_id:
        raise InvalidArgumentError("sourceDatasetId is required where there is a filter", field=FIELD)
    for name in ORIGINS:
        if getattr(body.dataset, name) is not None:
            raise InvalidArgumentError(
                f"{name}: leave it out; a copy is `transformed`, and the server says so", field=f"dataset.{name}"
            )
    passes = compile_json_filter(body.filter) or _everything
    dataset_id = check_id(body.dataset_id, "datasetId")
    source_id = DATASETS.id_in(body.source_dataset_id, account_id=call.account_id, field=FIELD)
    source, files = await source_of(call, source_id, param=FIELD)
    if sum(files.values()) > MAX_SOURCE_BYTES:
        raise FailedPreconditionError(
            f"the dataset {source.id} has more than {MAX_SOURCE_BYTES} bytes; split it and filter the parts",
            param=FIELD,
        )
    await _require_free(call, dataset_id)
    row = _row_of(call, dataset_id, body, source)
    call.event.resource = DATASETS.name_of(row)
    async with taken_back_unless_kept(call.deps.objects, [store.place_of(row)]):
        size = await write_rows(call.deps.objects, row, _passing(call.deps.objects, source, list(files), row, passes))
        row.estimated_token_count = size // BYTES_A_TOKEN
        await keep(call, row, size, param="datasetId")
    return DATASETS.message_of(row)


def _everything(_row: Any) -> bool:
    return True


async def _require_free(call: Call, dataset_id: str) -> None:
    """Raise AlreadyExistsError for an id that is taken, before anything is read; it may be taken later, too."""
    async with call.deps.database.reading() as db:
        if await store.find(db, call.account_id, dataset_id) is not None:
            raise AlreadyExistsError(f"there is a dataset {dataset_id!r} already", param="datasetId")


def _row_of(call: Call, dataset_id: str, body: CreateDatasetBody, source: DatasetRow) -> DatasetRow:
    assert body.dataset is not None, "it is required"
    transformed = Transformed(
        source_dataset_id=source.id, filter=body.filter, original_format=DatasetFormat(source.format)
    )
    origin = {"transformed": write_message(transformed)}
    row = new_row(call.account_id, dataset_id, body.dataset, origin, created_by=call.caller.email)
    row.state, row.format, row.example_count = DatasetState.READY, source.format, 0
    return row


async def _passing(
    objects: Objects, source: DatasetRow, files: Sequence[str], row: DatasetRow, passes: Callable[[Any], bool]
) -> AsyncGenerator[bytes, None]:
    """Yield the lines that pass, many in a piece, and count them. Raises: RowError for a line that is no row."""
    for name in files:
        sieve = _Sieve(name, passes)
        async with aclosing(objects.read(store.place_of(source).key(name))) as chunks:
            async for chunk in chunks:
                yield await asyncio.to_thread(sieve.take, chunk)
        yield await asyncio.to_thread(sieve.finish)
        row.example_count += sieve.num_passed


class _Sieve:
    """Takes a file's bytes as they come, and gives back the lines that pass. Its calls block."""

    def __init__(self, filename: str, passes: Callable[[Mapping[str, Any]], bool]) -> None:
        self.num_passed = 0
        self._filename = filename
        self._passes = passes
        self._lines = Lines()
        self._line = 0

    def take(self, chunk: bytes) -> bytes:
        return self._passing(self._lines.take(chunk))

    def finish(self) -> bytes:
        return self._passing(self._lines.finish())

    def _passing(self, lines: Sequence[bytes]) -> bytes:
        found = bytearray()
        for line in lines:
            self._line += 1
            content = line.removeprefix(BYTE_ORDER_MARK) if self._line == 1 else line
            if content.strip() and self._passes(self._row_of(content)):
                self.num_passed += 1
                found += content + b"\n"
        return bytes(found)

    def _row_of(self, content: bytes) -> Any:
        try:
            return orjson.loads(content)
        except orjson.JSONDecodeError as error:
            raise RowError(f"{self._filename} line {self._line} is not JSON: {error}", field=FIELD) from None
