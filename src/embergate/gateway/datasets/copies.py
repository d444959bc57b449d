"""Datasets that the server itself makes of others: written while the call lasts, then kept together, or not at all."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

from embergate.clock import now
from embergate.errors import AlreadyExistsError, FailedPreconditionError
from embergate.gateway.call import Call
from embergate.gateway.datasets import store
from embergate.gateway.datasets.jsonl import require_json_lines
from embergate.gateway.datasets.schemas import DatasetState
from embergate.storage.objects.protocol import Expected, Objects
from embergate.storage.tables.datasets import DatasetRow

FILENAME: Final = "data.jsonl"


async def source_of(call: Call, dataset_id: str, *, param: str) -> tuple[DatasetRow, dict[str, int]]:
    """Return a dataset whose rows can be read, and the sizes of its files.

    Raises: NotFoundError; FailedPreconditionError if it is not ready, or has other rows than JSON Lines.
    """
    async with call.deps.database.reading() as db:  # nobody is to wait until its rows are read
        source = await store.get(db, call.account_id, dataset_id)
        files = await store.files_of(db, source)
    if source.state != DatasetState.READY:
        raise FailedPreconditionError(f"the dataset {dataset_id} is not READY", param=param)
    require_json_lines(dataset_id, files, param=param)
    return source, files


async def write_rows(objects: Objects, row: DatasetRow, pieces: AsyncGenerator[bytes, None]) -> int:
    """Write the only file of a new dataset; return its size. Raises: UnavailableError; what `pieces` raises."""
    async with aclosing(pieces):
        return (await objects.write(store.place_of(row).key(FILENAME), pieces, expect=Expected())).size


async def keep(call: Call, row: DatasetRow, size: int, *, param: str) -> None:
    """Make a dataset whose file was written one of the account's. Raises: AlreadyExistsError."""
    row.update_time = now()
    if not await store.insert(call.db, row):
        raise AlreadyExistsError(f"there is a dataset {row.id!r} already; delete it first", param=param)
    await store.replace_files(call.db, row, {FILENAME: size})
