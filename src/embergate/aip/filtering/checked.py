"""A filter whose names and values are known to fit: what a store turns into SQL.

Every node is true or false, never unknown: a restriction on something unset is false, its `Not` true.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import datetime, timedelta

from embergate.aip.fields import FieldType

# Enum values are their names; integers and floats stay what they are.
Value = str | int | float | bool | datetime | timedelta


class Operator(enum.Enum):
    """How a field is compared with a value."""

    EQ = "="
    NE = "!="
    LT = "<"
    LE = "<="
    GT = ">"
    GE = ">="


@dataclass(frozen=True, slots=True)
class FieldPath:
    """A field by its snake_case names, outermost first; `key` names an entry where the last of them is a map."""

    names: tuple[str, ...]
    type: FieldType  # of the entry's value where `key` is set
    key: str | None = None


@dataclass(frozen=True, slots=True)
class And:
    """All of them."""

    terms: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """Any of them."""

    terms: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """The opposite, also of what is false because a field is unset."""

    term: Node


@dataclass(frozen=True, slots=True)
class Compare:
    """`field operator value`, for a scalar field; false where the field is unset, also for `!=`.

    Bools and enums have EQ and NE only; strings are ordered by code point.
    """

    field: FieldPath
    operator: Operator
    value: Value


@dataclass(frozen=True, slots=True)
class Like:
    """A string field that starts, ends or both with free text: `= "a*"` is (leading False, trailing True), text "a".

    Case matters, and a `*` in `text` is that character itself. `negated` is `!=`: false, too, where the field is unset.
    """

    field: FieldPath
    text: str
    leading: bool
    trailing: bool
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Contains:
    """`field:text` on a string: it holds the text, whatever its case."""

    field: FieldPath
    text: str


@dataclass(frozen=True, slots=True)
class HasElement:
    """A list with an element equal to `value`, or with an element whose field `names`, outermost first, is set and equal."""

    field: FieldPath
    value: Value
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class HasKey:
    """A map with an entry of this key."""

    field: FieldPath
    key: str


@dataclass(frozen=True, slots=True)
class Present:
    """A field that is set and not its type's default value: not empty, 0 or false, nor an enum's first name.

    A message that is set counts whatever it holds.
    """

    field: FieldPath


@dataclass(frozen=True, slots=True)
class Search:
    """A bare literal: any of `fields`, the message's string fields at whatever depth, holds the text, whatever its case."""

    text: str
    fields: tuple[FieldPath, ...]


Node = And | Or | Not | Compare | Like | Contains | HasElement | HasKey | Present | Search
