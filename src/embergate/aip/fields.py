"""What a message's fields are, for whoever walks over them by name: filters, orders and masks.

Names are snake_case here; `lower_camel` and `snake` translate. Source: https://google.aip.dev/140
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
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
