"""What every table is made of.

Relationships, where a table has any, are `lazy="raise"`: a query that hides behind an attribute cannot run in async code.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final, cast

from sqlalchemy import JSON, BigInteger, DateTime, Dialect, MetaData, String, Table, Text, TypeDecorator
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.sql.type_api import TypeEngine

# Alembic finds a constraint again by its name.
NAMING_CONVENTION: Final = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}
POSTGRESQL: Final[Dialect] = postgresql.dialect()  # type: ignore[no-untyped-call]
MICROSECOND: Final = timedelta(microseconds=1)


class UtcDateTime(TypeDecorator[datetime]):
    """A moment, to the microsecond; aware, in UTC. Text in SQLite, which sorts as time does."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return the moment in UTC. Raises: ValueError if it is naive, since whose time that is nobody knows."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a naive datetime; store one with a time zone")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Return the moment, aware, in UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Duration(TypeDecorator[timedelta]):
    """A span of time, as whole microseconds."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: timedelta | None, dialect: Dialect) -> int | None:  # noqa: ARG002
        """Return microseconds."""
        return None if value is None else value // MICROSECOND

    def process_result_value(self, value: int | None, dialect: Dialect) -> timedelta | None:  # noqa: ARG002
        """Return the span."""
        return None if value is None else value * MICROSECOND


class Json(TypeDecorator[Any]):
    """A JSON document, JSONB in PostgreSQL; None is SQL's NULL. A change inside it is not seen: assign a new one."""

    impl = JSON
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Return JSONB for PostgreSQL."""
        kind = postgresql.JSONB if dialect.name == "postgresql" else JSON
        return dialect.type_descriptor(kind(none_as_null=True))

    def coerce_compared_value(self, op: Any, value: Any) -> Any:
        """Return the type of an index such as `column["a"]`, which is not JSON itself."""
        return self.impl_instance.coerce_compared_value(op, value)


def collation(kind: TypeEngine[Any]) -> str | None:
    """Return the collation that a type has in PostgreSQL, None where that is the database's own."""
    return getattr(kind.dialect_impl(POSTGRESQL), "collation", None)


def table_of(row: type[Base]) -> Table:
    """Return the table of a class of rows, for statements that make none."""
    return cast(Table, row.__table__)


def text(length: int | None = None) -> String:
    """Return the type of a string that is sorted by code points, in PostgreSQL too whatever the database's language."""
    kind = String if length else Text
    return kind(length).with_variant(kind(length, collation="C"), "postgresql")


class Base(DeclarativeBase):
    """A row. Strings of every table become `text`, so that indexes serve the order that lists have."""

    metadata = MetaData(naming_convention=NAMING_CONVENTION)
    type_annotation_map = {datetime: UtcDateTime, timedelta: Duration}  # noqa: RUF012 - SQLAlchemy's own

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Map the class to its table."""
        super().__init_subclass__(**kwargs)
        # Every table again: a foreign key takes its type from a column that may have been mapped only now.
        for table in cls.metadata.tables.values():
            for column in table.columns:
                kind = column.type
                if isinstance(kind, String) and type(kind) in {String, Text} and collation(kind) is None:
                    column.type = text(kind.length)
