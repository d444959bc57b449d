"""What `orderBy` asks for. Source: https://google.aip.dev/132#ordering"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from embergate.aip.errors import InvalidArgumentError
from embergate.aip.fields import FieldType, Kind, find_name

MAX_CHARACTERS: Final = 1_000
MAX_KEYS: Final = 8
# Its documentation calls the default order of several collections by a name that is no field's.
ALIASES: Final = {"created_time": "create_time"}
UNORDERED: Final = {Kind.MESSAGE, Kind.LIST, Kind.MAP, Kind.STRUCT}


@dataclass(frozen=True, slots=True)
class OrderKey:
    """A field by its snake_case names, outermost first. Ascending, what is unset comes first."""

    names: tuple[str, ...]
    is_descending: bool = False


LAST_KEY: Final = OrderKey(("name",))


def parse_order(
    text: str | None, sortable: Mapping[str, FieldType], *, default: str = "", aliases: Mapping[str, str] | None = None
) -> tuple[OrderKey, ...]:
    """Return the keys that `text`, such as `create_time desc, displayName`, sorts by; those of `default` if it is empty.

    `name` is the last key unless it is one already, so that the order is total and a page can start behind a row.
    `sortable` are the fields that may be named; of a message, those inside it. `aliases` are more names for them.
    Raises: InvalidArgumentError(field="orderBy") for what is no list of sortable fields, a field that is named twice,
        or more than 8 of them.
    """
    text = (text or "").strip() or default
    if len(text) > MAX_CHARACTERS:
        raise _error(f"it has {len(text):,} characters, at most {MAX_CHARACTERS:,} are allowed")
    keys: list[OrderKey] = []
    for part in text.split(",") if text else []:
        key = _parse_key(part, sortable, ALIASES | dict(aliases or {}))
        if key.names in {earlier.names for earlier in keys}:
            raise _error(f"{'.'.join(key.names)} is named twice")
        keys.append(key)
    if len(keys) > MAX_KEYS:
        raise _error(f"it has {len(keys)} fields, at most {MAX_KEYS} are allowed")
    return tuple(keys) if any(key.names == LAST_KEY.names for key in keys) else (*keys, LAST_KEY)


def _parse_key(part: str, sortable: Mapping[str, FieldType], aliases: Mapping[str, str]) -> OrderKey:
    # Spaces mean nothing but to set the direction apart, so `status . code  desc` is fine.
    match ".".join(name.strip() for name in part.split(".")).split():
        case [path]:
            return OrderKey(_find(path, sortable, aliases))
        case [path, "asc" | "desc" as direction]:
            return OrderKey(_find(path, sortable, aliases), direction == "desc")
        case []:
            raise _error("a field is missing beside a comma")
    raise _error(f"{part.strip()[:60]!r} is not a field, with or without asc or desc after it")


def _find(path: str, sortable: Mapping[str, FieldType], aliases: Mapping[str, str]) -> tuple[str, ...]:
    first, *rest = path.split(".")
    alias = None if find_name(sortable, first) else find_name(aliases, first)
    names: tuple[str, ...] = ()
    fields = sortable
    for text in (*(aliases[alias].split(".") if alias else [first]), *rest):
        name = find_name(fields, text)
        if name is None:
            break
        names, field_type = (*names, name), fields[name]
        fields = field_type.fields
    else:
        if field_type.kind not in UNORDERED:
            return names
    known = ", ".join(_paths(sortable)) or "no field"
    raise _error(f"{path[:60]} is not a field to sort by; these are: {known}")


def _paths(fields: Mapping[str, FieldType], outer: str = "") -> Iterator[str]:
    for name, field_type in fields.items():
        if field_type.kind is Kind.MESSAGE:
            yield from _paths(field_type.fields, f"{outer}{name}.")
        elif field_type.kind not in UNORDERED:
            yield outer + name


def _error(message: str) -> InvalidArgumentError:
    return InvalidArgumentError(f"orderBy: {message}", field="orderBy")
