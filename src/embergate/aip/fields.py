"""What a message's fields are, for whoever walks over them by name: filters, orders and masks.

Names are snake_case here; `lower_camel` and `snake` translate, `find_name` looks one up in either form. Source: https://google.aip.dev/140
"""

from __future__ import annotations

import difflib
import enum
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field


class Kind(enum.Enum):
    """The kinds that rules differ for."""

    STRING = "a string"
    BOOL = "true or false"
    INTEGER = "a whole number"
    NUMBER = "a number"
    TIMESTAMP = "a timestamp"
    DURATION = "a duration"
    ENUM = "one of a fixed set of names"
    MESSAGE = "a message"
    LIST = "a list"
    MAP = "a map"
    STRUCT = "a free JSON object"


@dataclass(frozen=True, slots=True)
class FieldType:
    """One field's type: an enum's names in the order of their numbers, a message's fields, a list's element, a map's value."""

    kind: Kind
    enum_names: tuple[str, ...] = ()
    fields: Mapping[str, FieldType] = field(default_factory=dict)
    element: FieldType | None = None


def lower_camel(name: str) -> str:
    """Return `create_time` as `createTime`."""
    head, *rest = name.split("_")
    return head + "".join(part[:1].upper() + part[1:] for part in rest)


def snake(name: str) -> str:
    """Return `createTime` as `create_time`; what is snake_case already stays."""
    return re.sub(r"(?<=[a-z0-9])([A-Z])", lambda match: "_" + match.group(1).lower(), name)


def find_name(fields: Iterable[str], text: str) -> str | None:
    """Return which of the snake_case names `text` means, be it written in snake_case or lowerCamelCase; None if none."""
    names = list(fields)
    for candidate in (text, snake(text)):
        if candidate in names:
            return candidate
    # `a1` is the camel form of `a_1`, which `snake` cannot know.
    return next((name for name in names if lower_camel(name) == text), None)


def near_names(text: str, names: Iterable[str]) -> list[str]:
    """Return the names that someone who wrote `text` may have meant, best first."""
    by_lower = {name.lower(): name for name in names}
    for written in (snake(text[:100]).lower(), text[:100].lower()):
        if near := difflib.get_close_matches(written, by_lower):
            return [by_lower[name] for name in near]
    return []


def did_you_mean(text: str, names: Iterable[str]) -> str:
    """Return what to write in place of an unknown name: names near to it, or else all of them."""
    known = list(names)
    if near := near_names(text, known):
        return f"did you mean {' or '.join(near)}?"
    return f"there are {', '.join(known) or 'none'}"
