"""A table as an AIP list: filtered, ordered, a page at a time. A resource declares its columns, and that is all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy import ColumnElement, SQLColumnExpression, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from embergate.aip.filtering.checked import Node
from embergate.aip.ordering import OrderKey
from embergate.storage import keyset
from embergate.storage.filter_sql import FilterSql, by_code_points
from embergate.storage.keyset import SortKey
from embergate.storage.rows import Base

R = TypeVar("R", bound=Base)


@dataclass(frozen=True, slots=True)
class PageQuery:
    """Which rows are wanted: those after `position` in `order` that `filter` takes, at most `page_size`.

    The last key of `order` is unique among the rows listed: without a total order rows would be lost between pages.
    `position` is None for the first page, else the `next_position` of the page before.
    """

    filter: Node | None
    order: tuple[OrderKey, ...]
    position: list[Any] | None
    page_size: int


@dataclass(frozen=True, slots=True)
class RowPage(Generic[R]):
    """A page; `next_position` is None on the last one. `total_size` counts what the filter takes, on every page.

    Positions are lists of str, int, float, bool, None and datetime.
    """

    rows: list[R]
    next_position: list[Any] | None
    total_size: int


class Collection(Generic[R]):
    """The rows of one table, by the fields of the resource that they hold."""

    def __init__(
        self,
        row: type[R],
        columns: Mapping[str, SQLColumnExpression[Any]],
        *,
        endings: Mapping[str, SQLColumnExpression[Any]] | None = None,
    ) -> None:
        """Map dotted snake_case field paths to columns.

        A column of type `Json` holds a map, a list or a message, and everything below its path. `endings` are columns
        with the last part of a path's values, behind the last slash, which have an index.
        """
        self._row = row
        # What is mapped to a class is not an expression itself, but has one.
        self._columns = {path: _expression(column) for path, column in columns.items()}
        self._endings = {path: _expression(column) for path, column in (endings or {}).items()}

    async def page(self, db: AsyncSession, query: PageQuery, *where: ColumnElement[bool]) -> RowPage[R]:
        """Return a page of the rows that fulfil `where`, which names at least the account they belong to.

        Raises: KeyError if the filter or order names a field that is in no column; ValueError if the position is not
        of this order.
        """
        dialect = db.get_bind().dialect.name
        conditions = [*where]
        # In front: of several bounds for one column SQLite begins at the first, and these are usually the narrowest.
        if query.filter is not None:
            filters = FilterSql(self._columns, dialect, self._endings)
            conditions.insert(0, filters.condition(query.filter))
        counted = await db.scalar(select(func.count()).select_from(self._row).where(*conditions))
        keys = [self._sort_key(key, dialect) for key in query.order]
        if query.position is not None:
            conditions.insert(0, keyset.after(keys, query.position))
        statement = (
            select(self._row, *(key.expression.label(None) for key in keys))
            .where(*conditions)
            .order_by(*keyset.order_by(keys, dialect))
            .limit(query.page_size + 1)  # one more, to know whether there is a next page
        )
        found = (await db.execute(statement)).all()
        rows = found[: query.page_size]
        position = [keyset.encode(value) for value in rows[-1][1:]] if len(found) > query.page_size else None
        return RowPage([row[0] for row in rows], position, counted or 0)

    def _sort_key(self, key: OrderKey, dialect: str) -> SortKey:
        column = self._columns[".".join(key.names)]
        return SortKey(by_code_points(column, dialect), key.is_descending, getattr(column, "nullable", True))


def _expression(column: Any) -> ColumnElement[Any]:
    expression: ColumnElement[Any] = getattr(column, "expression", column)
    return expression
