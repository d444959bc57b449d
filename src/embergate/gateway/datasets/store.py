"""The SQL of datasets, and where their files are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from sqlalchemy import ColumnElement, select
from sqlalchemy import delete as delete_rows
from sqlalchemy import insert as insert_rows
from sqlalchemy.ext.asyncio import AsyncSession

from embergate.errors import NotFoundError
from embergate.gateway.datasets.schemas import Dataset
from embergate.gateway.files.place import FilePlace
from embergate.gateway.resource_type import ListRules, ResourceType
from embergate.storage.insertion import insert_row_if_absent
from embergate.storage.tables.datasets import DatasetFileRow, DatasetRow

DATASETS: Final = ResourceType(
    DatasetRow,
    Dataset,
    pattern="accounts/{account}/datasets/{dataset}",
    columns={"status.code": DatasetRow.status_code, "status.message": DatasetRow.status_message},
    extra=lambda row: {
        "status": {"code": row.status_code, "message": row.status_message},
        **row.origin,
    },
    rules=ListRules(default_order="create_time", searched=("display_name", "id")),
)


async def find(db: AsyncSession, account_id: str, dataset_id: str, *, for_update: bool = False) -> DatasetRow | None:
    """Return a dataset, locked against others' changes if asked, None if there is none."""
    statement = select(DatasetRow).where(DatasetRow.account_id == account_id, DatasetRow.id == dataset_id)
    return (await db.execute(statement.with_for_update() if for_update else statement)).scalar_one_or_none()


async def get(db: AsyncSession, account_id: str, dataset_id: str, *, for_update: bool = False) -> DatasetRow:
    """Return a dataset, locked against others' changes if asked. Raises: NotFoundError."""
    row = await find(db, account_id, dataset_id, for_update=for_update)
    if row is None:
        raise NotFoundError("resource not found")
    return row


async def insert(db: AsyncSession, row: DatasetRow) -> bool:
    """Insert a dataset unless the account has one of this id; return whether it was inserted."""
    return await insert_row_if_absent(db, row)


async def delete(db: AsyncSession, row: DatasetRow) -> None:
    """Delete a dataset and the list of its files."""
    await replace_files(db, row, {})
    await db.delete(row)


async def files_of(db: AsyncSession, row: DatasetRow) -> dict[str, int]:
    """Return the size of each file by its name, in the order of the names."""
    statement = (
        select(DatasetFileRow.filename, DatasetFileRow.size).where(_is_of(row)).order_by(DatasetFileRow.filename)
    )
    return dict((await db.execute(statement)).all())


async def replace_files(db: AsyncSession, row: DatasetRow, sizes: Mapping[str, int]) -> None:
    """Make these files, and no others, those of a dataset."""
    await db.execute(delete_rows(DatasetFileRow).where(_is_of(row)))
    rows = [
        {"account_id": row.account_id, "dataset_id": row.id, "filename": name, "size": size}
        for name, size in sizes.items()
    ]
    if rows:
        await db.execute(insert_rows(DatasetFileRow), rows)


def place_of(row: DatasetRow) -> FilePlace:
    """Return where a dataset's files are."""
    return place_at(row.account_id, row.uid)


def place_at(account_id: str, uid: str) -> FilePlace:
    """Return where the files are of the dataset that has, or will have, a uid."""
    return FilePlace("datasets", account_id, uid)


def _is_of(row: DatasetRow) -> ColumnElement[bool]:
    return (DatasetFileRow.account_id == row.account_id) & (DatasetFileRow.dataset_id == row.id)
