"""`column IN (...)` with a parameter for each value, of few lengths: a statement is made, compiled and prepared once for each.

Lists are filled up to the next power of two with their last value, which changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from sqlalchemy import BindParameter, Column, ColumnElement, bindparam


def length_for(values: Sequence[object]) -> int:
    """Return the length of the list that values are filled up to; there must be one at least."""
    return 1 << (len(values) - 1).bit_length()


def is_one_of(column: Column[Any], length: int) -> ColumnElement[bool]:
    """Return the condition that a column has one of the values that `values_for` gives for a list of this length."""
    parameters: list[BindParameter[Any]] = [bindparam(name, type_=column.type) for name in _names(column.name, length)]
    return column.in_(parameters)


def values_for(column: Column[Any], values: Sequence[object]) -> dict[str, object]:
    """Return the parameters of `is_one_of`."""
    length = length_for(values)
    filled = [*values, *[values[-1]] * (length - len(values))]
    return dict(zip(_names(column.name, length), filled, strict=True))


@cache
def _names(name: str, length: int) -> Sequence[str]:
    return [f"{name}_in_{number}" for number in range(length)]
