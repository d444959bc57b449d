"""Checked filters, judged on rows that are plain dicts: the oracle for whatever else runs a filter, such as SQL.

A row has the message's fields by their snake_case names: str, int, float, bool, an enum's name, an aware datetime, a
timedelta, and dicts and lists of these. None is unset, and so is a name that is not there.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import Any, Final

from embergate.aip.fields import FieldType, Kind
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
)

OPERATORS: Final[Mapping[Operator, Callable[[Any, Any], bool]]] = {
    Operator.EQ: operator.eq,
    Operator.NE: operator.ne,
    Operator.LT: operator.lt,
    Operator.LE: operator.le,
    Operator.GT: operator.gt,
    Operator.GE: operator.ge,
}


def matches(node: Node | None, row: Mapping[str, Any]) -> bool:
    """Return whether a row passes a checked filter; None, the empty filter, lets every row pass."""
    match node:
        case None:
            return True
        case And(terms):
            return all(matches(term, row) for term in terms)
        case Or(terms):
            return any(matches(term, row) for term in terms)
        case Not(term):
            return not matches(term, row)
        case Search(text, fields):
            return any(_holds(value, text) for field in fields for value in _values(row, field))
        case HasKey(field, key):
            return any(key in value for value in _values(row, field))
        case _:
            return any(_passes(node, value) for value in _values(row, node.field))


def _passes(node: Compare | Like | Contains | HasElement | Present, value: Any) -> bool:
    """Return whether the value of a set field passes."""
    match node:
        case Compare(_, comparison, expected):
            return bool(OPERATORS[comparison](value, expected))
        case Like():
            return _is_like(node, value) != node.negated
        case Contains(_, text):
            return _holds(value, text)
        case HasElement(_, expected, names):
            return any(found == expected for element in value for found in _follow(element, names))
        case Present(field):
            return bool(value != _default(field.type))


def _values(row: Mapping[str, Any], field: FieldPath) -> Iterator[Any]:
    """Yield a field's value if it is set, and nothing if it, or a message around it, is not."""
    return _follow(row, field.names if field.key is None else (*field.names, field.key))


def _follow(value: Any, names: tuple[str, ...]) -> Iterator[Any]:
    for name in names:
        if value is None:
            return
        value = value.get(name)
    if value is not None:
        yield value


def _holds(value: str, text: str) -> bool:
    return text.lower() in value.lower()


def _is_like(node: Like, value: str) -> bool:
    if node.leading and node.trailing:
        return node.text in value
    return value.endswith(node.text) if node.leading else value.startswith(node.text)


def _default(field_type: FieldType) -> Any:
    """Return what a field is when nobody wrote to it; no value of a message is that."""
    match field_type.kind:
        case Kind.STRING:
            return ""
        case Kind.BOOL | Kind.INTEGER | Kind.NUMBER:
            return 0
        case Kind.DURATION:
            return timedelta()
        case Kind.ENUM:
            return field_type.enum_names[0]
        case Kind.LIST:
            return []
        case Kind.MAP:
            return {}
    return None
