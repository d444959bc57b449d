"""The scalar types of proto3 JSON that Python's own do not cover, for the fields of a `Message`.

Source: https://protobuf.dev/programming-guides/json/
"""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema

MIN_INT64, MAX_INT64 = -(2**63), 2**63 - 1
MIN_INT32, MAX_INT32 = -(2**31), 2**31 - 1
TIMESTAMP: Final = re.compile(
    r"(\d{4}-\d{2}-\d{2})[Tt](\d{2}:\d{2}:\d{2})(?:\.(\d{1,9}))?([Zz]|[+-]\d{2}:\d{2})", re.ASCII
)
DURATION: Final = re.compile(r"(-?)(\d{1,12})(?:\.(\d{1,9}))?s", re.ASCII)
# As JSON writes them, of lengths that Python reads at once.
NUMBER: Final = re.compile(r"-?\d{1,400}(\.\d{1,400})?([eE][+-]?\d{1,4})?", re.ASCII)
NAMED_NUMBERS: Final = frozenset({"NaN", "Infinity", "-Infinity"})
MAX_INTEGER_CHARACTERS: Final = 24


def parse_timestamp(text: str) -> datetime:
    """Read an RFC 3339 timestamp with any offset; digits beyond microseconds are dropped. Raises: ValueError."""
    match = TIMESTAMP.fullmatch(text)
    try:
        if match is None:
            raise ValueError
        day, clock, fraction, offset = match.groups()
        micros = (fraction or "").ljust(6, "0")[:6]
        return datetime.fromisoformat(f"{day}T{clock}.{micros}{offset.upper()}").astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("expected a timestamp such as 2026-01-31T12:00:00Z") from None


def format_timestamp(moment: datetime) -> str:
    """Write a moment in UTC with 0, 3 or 6 digits of a second."""
    whole = moment.astimezone(UTC).replace(tzinfo=None)
    digits = "seconds" if not whole.microsecond else "milliseconds" if not whole.microsecond % 1000 else "microseconds"
    return whole.isoformat(timespec=digits) + "Z"


def parse_duration(text: str) -> timedelta:
    """Read `30s` or `1.5s`. Raises: ValueError."""
    match = DURATION.fullmatch(text)
    if match is None:
        raise ValueError('expected a duration in seconds such as "30s" or "1.5s"')
    sign, seconds, fraction = match.groups()
    try:
        length = timedelta(seconds=int(seconds), microseconds=int((fraction or "").ljust(6, "0")[:6]))
    except OverflowError:
        raise ValueError("the duration is too long") from None
    return -length if sign else length


def format_duration(length: timedelta) -> str:
    """Write a duration in seconds with 0, 3 or 6 digits of a second."""
    micros = length // timedelta(microseconds=1)
    seconds, rest = divmod(abs(micros), 1_000_000)
    digits = f".{rest:06d}".removesuffix("000") if rest else ""
    return f"{'-' if micros < 0 else ''}{seconds}{digits}s"


WHOLE: Final = r"^-?\d{1,19}$"
_INT64: Final = {"type": "integer", "minimum": MIN_INT64, "maximum": MAX_INT64}
_INT32: Final = {"type": "integer", "format": "int32", "minimum": MIN_INT32, "maximum": MAX_INT32}
_DOUBLE: Final = {"type": "number", "format": "double"}


def _timestamp(value: Any) -> datetime:
    if isinstance(value, datetime):
        return value
    if not isinstance(value, str):
        raise ValueError("expected a timestamp such as 2026-01-31T12:00:00Z")
    return parse_timestamp(value)


def _duration(value: Any) -> timedelta:
    if isinstance(value, timedelta):
        return value
    if not isinstance(value, str):
        raise ValueError('expected a duration in seconds such as "30s"')
    return parse_duration(value)


def _integer(value: Any) -> int:
    """Read a number, a number in a string, or one written as 1.0 or 1e3, if it is whole."""
    if isinstance(value, str) and len(value) <= MAX_INTEGER_CHARACTERS and NUMBER.fullmatch(value):
        exact = Decimal(value)
        if exact.adjusted() < MAX_INTEGER_CHARACTERS and exact == exact.to_integral_value():
            return int(exact)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    raise ValueError("expected a whole number")


def _number(value: Any) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if is_number or (isinstance(value, str) and (NUMBER.fullmatch(value) or value in NAMED_NUMBERS)):
        try:
            return float(value)
        except OverflowError:
            pass
    raise ValueError("expected a number")


def _write_number(value: float) -> float | str:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


Timestamp = Annotated[
    datetime,
    BeforeValidator(_timestamp),
    PlainSerializer(format_timestamp, return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
Duration = Annotated[
    timedelta,
    BeforeValidator(_duration),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema({"type": "string", "pattern": r"^-?\d{1,12}(\.\d{1,9})?s$"}),
]
Int64 = Annotated[
    int,
    BeforeValidator(_integer),
    Field(ge=MIN_INT64, le=MAX_INT64),
    PlainSerializer(str, return_type=str),
    WithJsonSchema({"anyOf": [{"type": "string", "format": "int64", "pattern": WHOLE}, _INT64]}, mode="validation"),
    WithJsonSchema({"type": "string", "format": "int64", "pattern": WHOLE}, mode="serialization"),
]
Int32 = Annotated[
    int,
    BeforeValidator(_integer),
    Field(ge=MIN_INT32, le=MAX_INT32),
    WithJsonSchema({"anyOf": [{"type": "string", "pattern": WHOLE}, _INT32]}, mode="validation"),
    WithJsonSchema(_INT32, mode="serialization"),
]
Double = Annotated[
    float,
    BeforeValidator(_number),
    PlainSerializer(_write_number),
    WithJsonSchema({"anyOf": [{"type": "string"}, _DOUBLE]}, mode="validation"),
    WithJsonSchema(_DOUBLE, mode="serialization"),
]
Bool = Annotated[bool, Field(strict=True)]
