"""What a literal says when it is compared with a field of a given type.

Source: https://google.aip.dev/160 (values), https://google.aip.dev/142 (times and durations)
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final

from embergate.aip.fields import FieldType, Kind, near_names
from embergate.aip.filtering.checked import Value

NUMBER: Final = re.compile(r"-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
DURATION: Final = re.compile(r"(-?)([0-9]{1,12})(?:\.([0-9]{1,9}))?s")
DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
TIMESTAMP: Final = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt]([0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?)(?:[Zz]|([+-][0-9]{2}:[0-9]{2}))"
)
NOT_FINITE: Final = re.compile(r"[+-]?(?:nan|inf|infinity)", re.IGNORECASE)
MIN_INTEGER: Final = -(2**63)
MAX_INTEGER: Final = 2**63 - 1
# The bound of google.protobuf.Duration, about 10,000 years.
MAX_DURATION_S: Final = 315_576_000_000


def parse_literal(field_type: FieldType, text: str) -> Value:
    """Return what `text` is as a value of a scalar type.

    Raises: ValueError, whose message says what is wrong with the text and how to write it.
    """
    if field_type.kind is Kind.ENUM:
        return _enum_name(field_type.enum_names, text)
    return PARSERS[field_type.kind](text)


def _bool(text: str) -> bool:
    if text not in {"true", "false"}:
        raise ValueError("write true or false")
    return text == "true"


def _number(text: str) -> float:
    if NOT_FINITE.fullmatch(text):
        raise ValueError("only finite numbers can be compared")
    if not NUMBER.fullmatch(text):
        raise ValueError("write a number, such as 12, -0.5 or 2.997e9")
    number = float(text)
    if abs(number) == float("inf"):
        raise ValueError("the number is out of range")
    return number


def _integer(text: str) -> int:
    """Read a whole number exactly, be it written with an exponent; a float would lose digits beyond 2 ** 53."""
    approximate = _number(text)
    # NOTE: before any exact arithmetic: 1e999999999 has a gigabyte of digits, and Decimal takes no exponent it likes.
    if not MIN_INTEGER <= approximate <= MAX_INTEGER + 1:
        raise ValueError("the number does not fit into 64 bits")
    is_zero = re.fullmatch("[-0.]*", re.split("[eE]", text)[0]) is not None
    if approximate == 0 and not is_zero:
        raise ValueError("write a whole number: the field holds nothing else")
    exact = Decimal(0 if is_zero else text)
    if exact != exact.to_integral_value():
        raise ValueError("write a whole number: the field holds nothing else")
    if not MIN_INTEGER <= exact <= MAX_INTEGER:
        raise ValueError("the number does not fit into 64 bits")
    return int(exact)


def _timestamp(text: str) -> datetime:
    """Read RFC 3339, or a date alone as its midnight in UTC; digits beyond microseconds are cut off."""
    try:
        if DATE.fullmatch(text):
            return datetime.fromisoformat(text).replace(tzinfo=UTC)
        if match := TIMESTAMP.fullmatch(text):
            date, time_of_day, offset = match.groups(default="+00:00")
            return datetime.fromisoformat(f"{date}T{time_of_day}{offset}").astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("there is no such time") from None
    raise ValueError("write a timestamp with its offset, such as 2026-01-31T12:00:00Z, or a date")


def _duration(text: str) -> timedelta:
    match = DURATION.fullmatch(text)
    if match is None:
        raise ValueError("write a duration in seconds, such as 20s or 1.5s")
    sign, seconds, fraction = match.groups(default="")
    if int(seconds) > MAX_DURATION_S:
        raise ValueError("the duration is out of range")
    duration = timedelta(seconds=int(seconds), microseconds=int(fraction.ljust(6, "0")[:6]))
    return -duration if sign else duration


def _enum_name(names: tuple[str, ...], text: str) -> str:
    """Return the name; without the prefix that all names share is fine, too: COMPLETED for JOB_STATE_COMPLETED."""
    if text in names:
        return text
    prefix = _shared_prefix(names)
    if prefix + text in names:
        return prefix + text
    # What the names share says nothing about which of them is near.
    near = near_names(text.removeprefix(prefix), [name.removeprefix(prefix) for name in names])
    if near:
        raise ValueError(f"did you mean {' or '.join(prefix + name for name in near)}?")
    raise ValueError(f"there are {', '.join(names) or 'none'}")


def _shared_prefix(names: tuple[str, ...]) -> str:
    """Return what all names start with, up to an underscore."""
    if not names:
        return ""
    first, last = min(names), max(names)  # what these two share, all share
    num_shared = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
    return first[: first.rfind("_", 0, num_shared) + 1]


PARSERS: Final[Mapping[Kind, Callable[[str], Value]]] = {
    Kind.STRING: str,
    Kind.BOOL: _bool,
    Kind.INTEGER: _integer,
    Kind.NUMBER: _number,
    Kind.TIMESTAMP: _timestamp,
    Kind.DURATION: _duration,
}
