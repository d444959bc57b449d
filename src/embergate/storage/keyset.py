"""Lists in pieces: an order, and the condition for what comes after the last row seen. Rows may come and go in between.

Unset values come first in ascending order and last in descending, in both databases.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, and_, false, literal, or_, tuple_

from embergate.storage.rows import MICROSECOND, Duration


@dataclass(frozen=True, slots=True)
class SortKey:
    """One expression to sort by. What can never be NULL is told so: then an index may serve the whole order."""

    expression: ColumnElement[Any]
    is_descending: bool
    is_nullable: bool


def order_by(keys: Sequence[SortKey], dialect: str) -> list[ColumnElement[Any]]:
    """Return the ORDER BY of the keys."""
    return [_ordered(key, dialect) for key in keys]


def after(keys: Sequence[SortKey], position: Sequence[Any]) -> ColumnElement[bool]:
    """Return whether a row comes after the one whose keys had the values in `position`.

    Raises: ValueError if the position is not of these keys.
    """
    if len(position) != len(keys):
        raise ValueError(f"a position of {len(position)} values for {len(keys)} keys")
    values = [_decode(key, value) for key, value in zip(keys, position, strict=True)]
    if _is_plain(keys, values):
        row = tuple_(*(key.expression for key in keys))
        bound = tuple_(*(_bind(key, value) for key, value in zip(keys, values, strict=True)))
        return row < bound if keys[0].is_descending else row > bound
    condition: ColumnElement[bool] = false()
    for key, value in reversed(list(zip(keys, values, strict=True))):
        later = _later(key, value)
        condition = or_(later, and_(_same(key, value), condition))
        if not key.is_nullable and value is not None:
            # It follows from the rest, but only so does the database see where in an index to begin.
            bound_here = _bind(key, value)
            begins = key.expression <= bound_here if key.is_descending else key.expression >= bound_here
            condition = and_(begins, condition)
    return condition


def encode(value: Any) -> Any:
    """Return a key's value as a position has it: JSON's own types, and moments as they are."""
    return value // MICROSECOND if isinstance(value, timedelta) else value


def _decode(key: SortKey, value: Any) -> Any:
    return value * MICROSECOND if isinstance(key.expression.type, Duration) and value is not None else value


def _ordered(key: SortKey, dialect: str) -> ColumnElement[Any]:
    ordered = key.expression.desc() if key.is_descending else key.expression.asc()
    # NULL is SQLite's least value by itself; spelt out, it would not use an index.
    if dialect == "sqlite" or not key.is_nullable:
        return ordered
    return ordered.nulls_last() if key.is_descending else ordered.nulls_first()


def _is_plain(keys: Sequence[SortKey], values: Sequence[Any]) -> bool:
    """Return whether comparing rows as tuples is right: one direction, and no NULLs."""
    one_direction = len({key.is_descending for key in keys}) == 1
    return one_direction and not any(key.is_nullable for key in keys) and None not in values


def _bind(key: SortKey, value: Any) -> ColumnElement[Any]:
    return literal(value, key.expression.type)


def _same(key: SortKey, value: Any) -> ColumnElement[bool]:
    return key.expression.is_(None) if value is None else key.expression == _bind(key, value)


def _later(key: SortKey, value: Any) -> ColumnElement[bool]:
    if value is None:
        return false() if key.is_descending else key.expression.is_not(None)
    if not key.is_descending:
        return key.expression > _bind(key, value)
    less = key.expression < _bind(key, value)
    return or_(less, key.expression.is_(None)) if key.is_nullable else less
