"""The SQL of OpenAI's lists: newest first or oldest first, from behind a row on, and what datasets are made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from sqlalchemy import ColumnElement, and_, case, exists, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from embergate.gateway.batch_jobs.run import ERROR_FILE, OUTPUT_FILE
from embergate.gateway.datasets.jsonl import VECTOR_ENDINGS
from embergate.storage import keyset
from embergate.storage.filter_sql import by_code_points
from embergate.storage.keyset import SortKey
from embergate.storage.tables.batch_jobs import BatchJobRow
from embergate.storage.tables.datasets import DatasetFileRow, DatasetRow

R = TypeVar("R", DatasetRow, BatchJobRow)


@dataclass(frozen=True, slots=True)
class Contents:
    """What a dataset is made of: how many files, their bytes, one's name; and the bytes of a batch's files, if it has them."""

    num_files: int = 0
    num_bytes: int = 0
    filename: str = ""
    answers_bytes: int | None = None
    errors_bytes: int | None = None


async def rows_behind(
    db: AsyncSession,
    kind: type[R],
    account_id: str,
    *where: ColumnElement[bool],
    after: R | None,
    is_descending: bool,
    limit: int,
) -> Sequence[R]:
    """Return the first rows of an account by the time they were made, those behind `after`."""
    dialect = db.get_bind().dialect.name
    columns = (kind.create_time, by_code_points(kind.id.expression, dialect))
    keys = [SortKey(column.expression, is_descending, is_nullable=False) for column in columns]
    statement = select(kind).where(kind.account_id == account_id, *where).order_by(*keyset.order_by(keys, dialect))
    if after is not None:
        statement = statement.where(keyset.after(keys, [after.create_time, after.id]))
    return (await db.scalars(statement.limit(limit))).all()


async def contents_of(db: AsyncSession, account_id: str, dataset_ids: Sequence[str]) -> dict[str, Contents]:
    """Return what each of an account's datasets is made of; one without files is left out."""
    name, size = DatasetFileRow.filename, DatasetFileRow.size
    statement = (
        select(
            DatasetFileRow.dataset_id,
            func.count(),
            func.sum(size),
            func.min(name),
            func.max(case((name == OUTPUT_FILE, size))),
            func.max(case((name == ERROR_FILE, size))),
        )
        .where(DatasetFileRow.account_id == account_id, DatasetFileRow.dataset_id.in_(dataset_ids))
        .group_by(DatasetFileRow.dataset_id)
    )
    return {
        dataset_id: Contents(num_files, int(num_bytes), filename, answers_bytes, errors_bytes)
        for dataset_id, num_files, num_bytes, filename, answers_bytes, errors_bytes in await db.execute(statement)
    }


def is_readable() -> ColumnElement[bool]:
    """Return whether a dataset is not the vectors that a batch job has written, which are no rows of OpenAI's."""
    of_dataset = DatasetFileRow.account_id == DatasetRow.account_id, DatasetFileRow.dataset_id == DatasetRow.id
    has_vectors = or_(*(DatasetFileRow.filename.endswith(ending) for ending in VECTOR_ENDINGS))
    return ~exists().where(*of_dataset, has_vectors)


def is_output() -> ColumnElement[bool]:
    """Return whether a dataset is what a batch job has written."""
    files = exists().where(
        DatasetFileRow.account_id == DatasetRow.account_id,
        DatasetFileRow.dataset_id == DatasetRow.id,
        or_(DatasetFileRow.filename == OUTPUT_FILE, DatasetFileRow.filename == ERROR_FILE),
    )
    return and_(DatasetRow.source_job_name != "", files)
