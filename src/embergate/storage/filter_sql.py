"""A checked filter as an SQL condition.

A condition is true for exactly the rows whose filter is true; for the others it is false or NULL, which WHERE takes alike.
Only `Not` tells them apart, so it alone guards against NULL, and the database may use an index for everything else.

Strings compare by code points, as they do in Python. A value that no column can hold (a NUL, a number of more than 64
bits) is compared here rather than sent.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import BigInteger, Boolean, ColumnElement, Double, String, and_, false, literal, or_, true

from embergate.aip.fields import Kind
from embergate.aip.filtering.checked import (
    And,
    Compare,
    Contains,
    FieldPath,
    HasElement,
    HasKey,
    Like,
    Node,
    Not,
    Operator,
    Or,
    Present,
    Search,
    Value,
)
from embergate.storage import text
from embergate.storage.json_sql import JSON_SQL, NUMBERS, json_value
from embergate.storage.rows import Duration, UtcDateTime, collation

Columns = Mapping[str, ColumnElement[Any]]

MIN_INTEGER: Final = -(2**63)
MAX_INTEGER: Final = 2**63 - 1
LESS: Final = {Operator.LT, Operator.LE}
GREATER: Final = {Operator.GT, Operator.GE}
STRINGS: Final = {Kind.STRING, Kind.ENUM}
CONTAINERS: Final = {Kind.LIST, Kind.MAP}
MESSAGES: Final = {Kind.MESSAGE, Kind.STRUCT}
ESCAPE: Final = "\\"


def by_code_points(column: ColumnElement[Any], dialect: str) -> ColumnElement[Any]:
    """Return a string's expression that sorts and compares by code points; another kind's as it is."""
    # SQLite's own order is by bytes of UTF-8, which is the same.
    if dialect == "sqlite" or not isinstance(column.type, String) or collation(column.type) == "C":
        return column
    return column.collate("C")


@dataclass(frozen=True, slots=True)
class FilterSql:
    """Turns filters into conditions on `columns`, by their dotted paths, in a dialect.

    `endings` are columns with what a string ends with behind its last slash: an index may serve them, and not the whole.
    """

    columns: Columns
    dialect: str
    endings: Columns = field(default_factory=dict)

    def condition(self, node: Node) -> ColumnElement[bool]:
        """Return the condition that is true exactly where the filter is.

        Raises: KeyError if the filter names a field that has no column: the caller declared one too few.
        """
        if _is_of_no_key(node):
            return false()
        match node:
            case And(terms):
                return and_(true(), *(self.condition(term) for term in terms))
            case Or(terms):
                return or_(false(), *(self.condition(term) for term in terms))
            case Not(term):
                return self.condition(term).is_not(true())
            case Compare(field, operator, value):
                return self._compare(field, operator, value)
            case Like():
                return self._like(node)
            case Contains(field, needle):
                return self._contains(self._value(field), needle)
            case HasElement(field, value, names):
                return self._has_element(field, value, names)
            case HasKey(field, key):
                column, path = self._column(field.names)
                return JSON_SQL[self.dialect].has_key(column, path, key)
            case Present(field):
                return self._present(field)
            case Search(needle, fields):
                return or_(false(), *(self._contains(self._value(field), needle) for field in fields))

    def _column(self, names: tuple[str, ...]) -> tuple[ColumnElement[Any], tuple[str, ...]]:
        """Return the column that a field is in, and its path inside that column's document."""
        for length in range(len(names), 0, -1):
            column = self.columns.get(".".join(names[:length]))
            if column is not None:
                return column, names[length:]
        raise KeyError(".".join(names))

    def _value(self, field: FieldPath) -> ColumnElement[Any]:
        """Return a scalar field's value, NULL where it is unset."""
        column, path = self._column(field.names)
        inside = JSON_SQL[self.dialect]
        if field.key is not None:
            return inside.entry(column, path, field.key, field.type.kind)
        return inside.value(column, path, field.type.kind) if path else column

    def _compare(self, field: FieldPath, operator: Operator, value: Value) -> ColumnElement[bool]:
        column = self._value(field)
        if isinstance(column.type, (UtcDateTime, Duration)):
            return _apply(column, operator, literal(value, column.type))
        value = json_value(value)
        if isinstance(value, bool):
            return _apply(column, operator, literal(value, Boolean()))
        if isinstance(value, str):
            whole = _compare_string(by_code_points(column, self.dialect), operator, value)
            ending = self.endings.get(".".join(field.names))
            if ending is None or operator is not Operator.EQ:
                return whole
            last = by_code_points(ending, self.dialect)
            return and_(whole, _compare_string(last, operator, value.rpartition("/")[2]))
        if field.type.kind is Kind.NUMBER:
            return _apply(column, operator, literal(_as_float(value), Double()))
        return _compare_integer(column, operator, value)

    def _like(self, node: Like) -> ColumnElement[bool]:
        column = by_code_points(self._value(node.field), self.dialect)
        if "\0" in node.text:
            return column.is_not(None) if node.negated else false()
        if self.dialect == "sqlite":
            # LIKE ignores the case of ASCII letters here.
            escaped = "".join(f"[{character}]" if character in "*?[" else character for character in node.text)
            pattern, star = escaped, "*"
        else:
            escaped = "".join(f"{ESCAPE}{character}" if character in "%_\\" else character for character in node.text)
            pattern, star = escaped, "%"
        pattern = (star if node.leading else "") + pattern + (star if node.trailing else "")
        operand = literal(pattern, String())
        matches = column.op("GLOB", is_comparison=True)(operand) if star == "*" else column.like(operand, escape=ESCAPE)
        return matches.is_(false()) if node.negated else matches

    def _contains(self, column: ColumnElement[Any], needle: str) -> ColumnElement[bool]:
        if "\0" in needle:
            return false()
        contains = text.contains_in_sqlite if self.dialect == "sqlite" else text.contains_in_postgresql
        return contains(column, needle)

    def _has_element(self, field: FieldPath, value: Value, names: tuple[str, ...]) -> ColumnElement[bool]:
        column, path = self._column(field.names)
        found = json_value(value)
        if isinstance(found, str) and "\0" in found:
            return false()
        if isinstance(found, int) and not MIN_INTEGER <= found <= MAX_INTEGER:
            return false()
        if isinstance(found, float) and not math.isfinite(found):
            return false()
        return JSON_SQL[self.dialect].has_element(column, path, names, found)

    def _present(self, field: FieldPath) -> ColumnElement[bool]:
        kind = field.type.kind
        if kind in MESSAGES or kind in CONTAINERS:
            return self._present_document(field)
        value = self._value(field)
        if kind in STRINGS:
            return value.not_in(["", *field.type.enum_names[:1]])
        if kind is Kind.BOOL:
            return value.is_(true())
        if kind is Kind.DURATION and isinstance(value.type, Duration):
            return value != timedelta()
        if kind in NUMBERS:
            return value != 0
        return value.is_not(None)

    def _present_document(self, field: FieldPath) -> ColumnElement[bool]:
        inside = JSON_SQL[self.dialect]
        dotted = ".".join(field.names) + "."
        parts = [column for path, column in self.columns.items() if path.startswith(dotted)]
        if parts:
            # A message that is spread over columns is set if one of them is.
            return or_(*(column.is_not(None) for column in parts))
        column, path = self._column(field.names)
        if field.key is not None:
            return inside.is_object(column, (*path, field.key))
        return (inside.has_members if field.type.kind in CONTAINERS else inside.is_object)(column, path)


def _is_of_no_key(node: Node) -> bool:
    """Return whether a node asks for a map's entry by a key with a NUL, which no stored one has."""
    key = node.key if isinstance(node, HasKey) else getattr(getattr(node, "field", None), "key", None)
    return key is not None and "\0" in key


def _apply(column: ColumnElement[Any], operator: Operator, value: ColumnElement[Any]) -> ColumnElement[bool]:
    compared: ColumnElement[bool] = {
        Operator.EQ: column.__eq__,
        Operator.NE: column.__ne__,
        Operator.LT: column.__lt__,
        Operator.LE: column.__le__,
        Operator.GT: column.__gt__,
        Operator.GE: column.__ge__,
    }[operator](value)
    return compared


def _compare_integer(column: ColumnElement[Any], operator: Operator, value: float) -> ColumnElement[bool]:
    if math.isnan(value):
        return _always(column, holds=operator is Operator.NE)
    if math.isinf(value) or not MIN_INTEGER <= value <= MAX_INTEGER:
        above = value > 0
        return _always(column, holds=operator is Operator.NE or operator in (LESS if above else GREATER))
    whole = math.floor(value)
    if whole != value:
        # Between two integers nothing is equal, and x < 2.5 is x <= 2.
        if operator in {Operator.EQ, Operator.NE}:
            return _always(column, holds=operator is Operator.NE)
        operator = Operator.LE if operator in LESS else Operator.GT
    return _apply(column, operator, literal(whole, BigInteger()))


def _compare_string(column: ColumnElement[Any], operator: Operator, value: str) -> ColumnElement[bool]:
    head, nul, _ = value.partition("\0")
    if nul:
        # No stored text holds a NUL, the least of all characters: just below the value are `head` and what sorts before it.
        if operator in {Operator.EQ, Operator.NE}:
            return _always(column, holds=operator is Operator.NE)
        operator = Operator.LE if operator in LESS else Operator.GT
    return _apply(column, operator, literal(head, String()))


def _always(column: ColumnElement[Any], *, holds: bool) -> ColumnElement[bool]:
    """Return the answer for whatever the field is set to; unset, every restriction is false."""
    return column.is_not(None) if holds else false()


def _as_float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf
