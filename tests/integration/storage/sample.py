"""A table for tests: one column of each kind of field."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import BigInteger, MetaData, String
from sqlalchemy.orm import Mapped, mapped_column

from embergate.storage.collection import Collection
from embergate.storage.database import Database
from embergate.storage.rows import NAMING_CONVENTION, Base, Json


class SampleBase(Base):
    """Tables of tests, apart from those of the program."""

    __abstract__ = True
    metadata = MetaData(naming_convention=NAMING_CONVENTION)


class JobRow(SampleBase):
    __tablename__ = "sample_jobs"

    name: Mapped[str] = mapped_column(String(100), primary_key=True)
    display_name: Mapped[str | None] = mapped_column(String(100))
    state: Mapped[str | None] = mapped_column(String(40))
    enabled: Mapped[bool | None]
    count: Mapped[int | None] = mapped_column(BigInteger)
    small: Mapped[int | None]
    temperature: Mapped[float | None]
    create_time: Mapped[datetime | None]
    timeout: Mapped[timedelta | None]
    status_code: Mapped[str | None] = mapped_column(String(40))
    status_message: Mapped[str | None] = mapped_column(String(40))
    progress: Mapped[dict[str, Any] | None] = mapped_column(Json)
    annotations: Mapped[dict[str, Any] | None] = mapped_column(Json)
    targets: Mapped[dict[str, Any] | None] = mapped_column(Json)
    deployments: Mapped[list[Any] | None] = mapped_column(Json)
    sizes: Mapped[list[Any] | None] = mapped_column(Json)
    replicas: Mapped[list[Any] | None] = mapped_column(Json)


DIRECT = [column for column in JobRow.__table__.columns.keys() if not column.startswith("status_")]  # noqa: SIM118
COLUMNS = {name: getattr(JobRow, name) for name in DIRECT} | {
    "status.code": JobRow.status_code,
    "status.message": JobRow.status_message,
    "progress.percent": JobRow.progress["percent"].as_integer(),
}
# An order needs a column for each field; a filter finds its own way into a document.
FILTERED = {path: column for path, column in COLUMNS.items() if path != "progress.percent"}

JOBS = Collection(JobRow, COLUMNS)


async def create_tables(database: Database) -> None:
    async with database.migrating() as connection:
        await connection.run_sync(SampleBase.metadata.create_all)


async def insert(database: Database, *rows: JobRow) -> None:
    async with database.writing() as db:
        db.add_all(rows)
