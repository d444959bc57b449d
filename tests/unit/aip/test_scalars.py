"""Scalars of proto3 JSON: what is read and refused, and how each is written."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given

from embergate.aip.errors import InvalidArgumentError
from embergate.aip.fields import lower_camel, snake
from embergate.aip.message import parse_message, write_message
from embergate.aip.scalars import format_duration, format_timestamp, parse_duration, parse_timestamp
from tests.unit.aip.samples import LENGTHS, MOMENTS, Sample


def moment(hour: int = 10, minute: int = 0, second: int = 0, micros: int = 0, day: int = 30) -> datetime:
    return datetime(2026, 8, day, hour, minute, second, micros, UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-08-30T10:00:00Z", moment()),
        ("2026-08-30t10:00:00z", moment()),
        ("2026-08-30T10:00:00+00:00", moment()),
        ("2026-08-30T10:00:00-00:00", moment()),
        ("2026-08-30T12:30:00+02:30", moment()),
        ("2026-08-29T22:00:00-12:00", moment()),
        ("2026-08-31T00:00:00+14:00", moment()),
        ("2026-08-30T10:00:00.5Z", moment(micros=500_000)),
        ("2026-08-30T10:00:00.123Z", moment(micros=123_000)),
        ("2026-08-30T10:00:00.000001Z", moment(micros=1)),
        ("2026-08-30T10:00:00.123456789Z", moment(micros=123_456)),
        ("2026-08-30T12:00:00.999999999+02:00", moment(micros=999_999)),
        ("0001-01-01T00:00:00Z", datetime(1, 1, 1, tzinfo=UTC)),
        ("9999-12-31T23:59:59Z", datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)),
    ],
)
def test_timestamp_is_read_in_utc_whatever_its_offset(text: str, expected: datetime) -> None:
    read = parse_timestamp(text)
    assert read == expected
    assert read.utcoffset() == timedelta(0)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-08-30",
        "2026-08-30T10:00:00",
        "2026-08-30 10:00:00Z",
        "2026-08-30T10:00Z",
        "2026-08-30T10:00:00.Z",
        "2026-08-30T10:00:00.1234567890Z",
        "2026-08-30T10:00:00,5Z",
        "2026-08-30T24:00:00Z",
        "2026-08-30T10:60:00Z",
        "2026-02-30T10:00:00Z",
        "2026-13-01T10:00:00Z",
        "2026-08-30T10:00:00+0200",
        "2026-08-30T10:00:00+24:00",
        "2026-08-30T10:00:00ZZ",
        "2026-08-30T10:00:00Z\n",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-01:00",
        "２026-08-30T10:00:00Z",
        "1780000000",
    ],
)
def test_what_is_no_timestamp_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected a timestamp such as"):
        parse_timestamp(text)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (moment(), "2026-08-30T10:00:00Z"),
        (moment(micros=120_000), "2026-08-30T10:00:00.120Z"),
        (moment(micros=1), "2026-08-30T10:00:00.000001Z"),
        (moment(micros=123_450), "2026-08-30T10:00:00.123450Z"),
        (moment().astimezone(timezone(timedelta(hours=-7))), "2026-08-30T10:00:00Z"),
    ],
)
def test_timestamp_is_written_in_utc_with_0_3_or_6_digits(written: datetime, expected: str) -> None:
    assert format_timestamp(written) == expected


@given(MOMENTS)
def test_written_timestamp_is_read_as_the_same_moment(written: datetime) -> None:
    assert parse_timestamp(format_timestamp(written)) == written


DURATIONS = [
    ("30s", timedelta(seconds=30), "30s"),
    ("0s", timedelta(0), "0s"),
    ("1.5s", timedelta(seconds=1.5), "1.500s"),
    ("-1.5s", timedelta(seconds=-1.5), "-1.500s"),
    ("-0.25s", timedelta(seconds=-0.25), "-0.250s"),
    ("-0s", timedelta(0), "0s"),
    ("0.000001s", timedelta(microseconds=1), "0.000001s"),
    ("3.123456789s", timedelta(seconds=3, microseconds=123_456), "3.123456s"),
    ("007s", timedelta(seconds=7), "7s"),
    ("2592000s", timedelta(days=30), "2592000s"),
]


@pytest.mark.parametrize(("text", "length", "written"), DURATIONS)
def test_duration_is_read_and_written_in_seconds(text: str, length: timedelta, written: str) -> None:
    assert parse_duration(text) == length
    assert format_duration(length) == written


@pytest.mark.parametrize(
    "text", ["", "30", "s", "1m", "1h30s", "1.s", ".5s", "+1s", "1e3s", "1,5s", "30 s", "30s\n", "３s", "1" * 13 + "s"]
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected a duration in seconds"):
        parse_duration(text)


@given(LENGTHS)
def test_written_duration_is_read_as_the_same_length(length: timedelta) -> None:
    assert parse_duration(format_duration(length)) == length


READ = [
    ("bigCount", "9223372036854775807", 2**63 - 1),
    ("bigCount", "-9223372036854775808", -(2**63)),
    ("bigCount", 9_007_199_254_740_993, 2**53 + 1),
    ("bigCount", "9007199254740993", 2**53 + 1),
    ("bigCount", 7.0, 7),
    ("bigCount", "1e3", 1000),
    ("size", 2**31 - 1, 2**31 - 1),
    ("size", "-2147483648", -(2**31)),
    ("ratio", 1, 1.0),
    ("ratio", "2.5", 2.5),
    ("ratio", "Infinity", math.inf),
    ("ratio", "-Infinity", -math.inf),
    ("isOn", True, True),
    ("startTime", "2026-08-30T12:00:00+02:00", moment()),
    ("timeToLive", "1.500s", timedelta(seconds=1.5)),
]


@pytest.mark.parametrize(("field", "value", "expected"), READ)
def test_scalar_is_read(field: str, value: Any, expected: Any) -> None:
    read = getattr(parse_message(Sample, {field: value}), snake(field))
    assert (read, type(read)) == (expected, type(expected))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("bigCount", "9223372036854775808"),
        ("bigCount", -(2**63) - 1),
        ("bigCount", 1.5),
        ("bigCount", "1.5"),
        ("bigCount", True),
        ("bigCount", "many"),
        ("bigCount", "0x10"),
        ("bigCount", ""),
        ("bigCount", "1" * 5_000),
        ("bigCount", "NaN"),
        ("bigCount", []),
        ("size", 2**31),
        ("size", "-2147483649"),
        ("ratio", "much"),
        ("ratio", True),
        ("ratio", 10**400),
        ("ratio", {}),
        ("isOn", 1),
        ("isOn", "true"),
        ("startTime", 1_780_000_000),
        ("startTime", "2026-08-30"),
        ("timeToLive", 30),
        ("timeToLive", "30"),
        ("displayName", 7),
        ("labels", {"k": 7}),
        ("sizes", {"k": "many"}),
        ("tags", "a"),
        ("tags", {"0": "a"}),
    ],
)
def test_scalar_of_another_type_or_range_is_refused_by_its_name(field: str, value: Any) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        parse_message(Sample, {field: value})
    assert caught.value.message.startswith(field)
    assert (caught.value.field or "").split(".")[0] == field


@pytest.mark.parametrize(
    ("field", "value", "written"),
    [
        ("big_count", 2**63 - 1, "9223372036854775807"),
        ("big_count", 0, "0"),
        ("size", 7, 7),
        ("ratio", 2.5, 2.5),
        ("ratio", math.inf, "Infinity"),
        ("ratio", -math.inf, "-Infinity"),
        ("ratio", math.nan, "NaN"),
        ("sizes", {"k": 123}, {"k": "123"}),
        ("start_time", moment(micros=500_000), "2026-08-30T10:00:00.500Z"),
        ("time_to_live", timedelta(seconds=30), "30s"),
    ],
)
def test_scalar_is_written(field: str, value: Any, written: Any) -> None:
    found = write_message(Sample(**{field: value}))[lower_camel(field)]
    assert (found, type(found)) == (written, type(written))


def test_nan_is_read() -> None:
    assert math.isnan(parse_message(Sample, {"ratio": "NaN"}).ratio)
