"""Days of time zones, and the spans of time that sums are kept by."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embergate.aip.errors import InvalidArgumentError
from embergate.gateway.usage.days import days_in, zone_of
from embergate.gateway.usage.records import SPANS, slot_of, spans_of, start_of

MICROSECOND = timedelta(microseconds=1)
ZONES = st.sampled_from(sorted(available_timezones() - {"localtime"})).map(ZoneInfo)
MOMENTS = st.datetimes(datetime(1990, 1, 1), datetime(2040, 1, 1), timezones=st.just(UTC))
LENGTHS = st.timedeltas(MICROSECOND, timedelta(days=31))


# Days that are like no other, and the moments at which their clocks change.
CHANGES = {
    "the 30th of December is left out": ("Pacific/Apia", "2011-12-30T10:00"),
    "the 21st of August is left out": ("Pacific/Kwajalein", "1993-08-21T12:00"),
    "midnight is left out, in Santiago": ("America/Santiago", "2026-09-06T04:00"),
    "midnight is there twice, in Santiago": ("America/Santiago", "2026-04-05T03:00"),
    "midnight is left out, in Beirut": ("Asia/Beirut", "2026-03-28T22:00"),
    "midnight is there twice, in Havana": ("America/Havana", "2026-11-01T05:00"),
    "half an hour is left out": ("Australia/Lord_Howe", "2026-10-03T15:30"),
    "half an hour is there twice": ("Australia/Lord_Howe", "2026-04-04T15:00"),
}


def check_days(start: datetime, length: timedelta, zone: ZoneInfo) -> None:
    days = list(days_in(start, start + length, zone))
    assert days[0].start == start
    assert days[-1].end == start + length
    assert all(before.end == after.start for before, after in pairwise(days))
    assert all(before.date < after.date for before, after in pairwise(days))
    for day in days:
        assert day.start < day.end
        assert day.start.astimezone(zone).date() == day.date
        assert (day.end - MICROSECOND).astimezone(zone).date() == day.date


@settings(max_examples=300)
@given(MOMENTS, LENGTHS, ZONES)
def test_days_are_the_range_in_pieces_each_of_one_date(start: datetime, length: timedelta, zone: ZoneInfo) -> None:
    check_days(start, length, zone)


@pytest.mark.parametrize("change", CHANGES)
@settings(max_examples=50)
@given(before=st.timedeltas(timedelta(0), timedelta(days=2)), length=st.timedeltas(MICROSECOND, timedelta(days=4)))
def test_days_around_a_change_of_clocks_are_so_too(change: str, before: timedelta, length: timedelta) -> None:
    name, moment = CHANGES[change]
    zone, change_at = ZoneInfo(name), datetime.fromisoformat(moment).replace(tzinfo=UTC)
    offsets = {(change_at + step).astimezone(zone).utcoffset() for step in (-MICROSECOND, timedelta(0))}
    assert len(offsets) == 2  # it is the moment
    check_days(change_at - before, length, zone)


def hours(zone: str, start: str, end: str) -> list[tuple[date, float]]:
    """Return the days between two midnights of the zone, and their hours."""
    one, other = (datetime.fromisoformat(text).replace(tzinfo=UTC) for text in (start, end))
    return [(day.date, (day.end - day.start) / timedelta(hours=1)) for day in days_in(one, other, ZoneInfo(zone))]


def test_apia_has_no_thirtieth_of_december_2011() -> None:
    found = hours("Pacific/Apia", "2011-12-29T10:00", "2011-12-31T10:00")
    assert found == [(date(2011, 12, 29), 24), (date(2011, 12, 31), 24)]


def test_santiago_has_a_day_that_begins_at_one_and_a_longer_one() -> None:
    assert hours("America/Santiago", "2026-09-05T04:00", "2026-09-07T03:00") == [
        (date(2026, 9, 5), 24),
        (date(2026, 9, 6), 23),
    ]
    assert hours("America/Santiago", "2026-04-04T03:00", "2026-04-05T04:00") == [(date(2026, 4, 4), 25)]


def test_lord_howe_changes_by_half_an_hour() -> None:
    assert hours("Australia/Lord_Howe", "2026-04-04T13:00", "2026-04-05T13:30") == [(date(2026, 4, 5), 24.5)]
    assert hours("Australia/Lord_Howe", "2026-10-03T13:30", "2026-10-04T13:00") == [(date(2026, 10, 4), 23.5)]


@pytest.mark.parametrize("name", ["Mars/Olympus", "../UTC", "/etc/localtime", "a\0b", "Europe", "x" * 10_000])
def test_what_is_no_zone_is_refused(name: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        zone_of(name)
    assert caught.value.field == "timezone"


def test_no_zone_is_utc() -> None:
    assert zone_of("") == ZoneInfo("UTC")


@given(st.integers(-(10**7), 10**7), st.integers(0, 96 * 40))
def test_spans_are_a_run_of_quarters_in_as_few_pieces_as_can_be(first: int, length: int) -> None:
    runs = list(spans_of(first, first + length))
    position = first
    for quarters, start, after in runs:
        assert quarters in SPANS
        assert (start, start % quarters, after % quarters) == (position, 0, 0)
        position = after
    assert position == first + length
    assert len(runs) <= 2 * len(SPANS) - 1


@given(MOMENTS)
def test_moment_is_in_its_quarter(moment: datetime) -> None:
    slot = slot_of(moment)
    assert start_of(slot) <= moment < start_of(slot + 1)
