"""A time range as days of a time zone, and each day as quarters of an hour.

Days have 23, 24 or 25 hours, or any other number of quarters; a zone may leave a day out altogether, or begin one at one in the
morning. All of it is asked of the zone itself, a midnight at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from embergate.aip.errors import InvalidArgumentError

ONE_DAY = timedelta(days=1)
MAX_RANGE: Final = timedelta(days=31)
# A month in which clocks are set back has so much more.
LONGER: Final = timedelta(hours=1)
# Nothing was used before; and any zone's day after the last still is a date.
FIRST_YEAR, LAST_YEAR = 1970, 9998


@dataclass(frozen=True, slots=True)
class Day:
    """The part of a day that is asked for: from `start` up to `end`, moments in UTC."""

    date: date
    start: datetime
    end: datetime


def zone_of(name: str) -> ZoneInfo:
    """Return an IANA time zone; UTC for an empty name. Raises: InvalidArgumentError(field="timezone")."""
    try:
        return ZoneInfo(name or "UTC")
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise InvalidArgumentError(
            f"timezone: there is no IANA time zone {name[:60]!r}; write one such as Europe/Berlin", field="timezone"
        ) from None


def check_range(start: datetime, end: datetime, *, names: tuple[str, str]) -> None:
    """Check a range of moments that a caller named so.

    Raises: InvalidArgumentError if it is empty, longer than 31 days, or of years that nothing can be of.
    """
    for moment, name in zip((start, end), names, strict=True):
        if not FIRST_YEAR <= moment.year <= LAST_YEAR:
            raise InvalidArgumentError(f"{name} must be of a year from {FIRST_YEAR} to {LAST_YEAR}", field=name)
    if start >= end:
        raise InvalidArgumentError(f"{names[1]} must be after {names[0]}", field=names[1])
    if end - start > MAX_RANGE + LONGER:
        raise InvalidArgumentError(f"{names[1]} must be at most 31 days after {names[0]}", field=names[1])


def whole_days(start: datetime, end: datetime) -> tuple[datetime, datetime]:
    """Return the midnights in UTC at or before two moments. Raises: InvalidArgumentError if no day is between them."""
    first, after = (
        moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0) for moment in (start, end)
    )
    if first >= after:
        raise InvalidArgumentError("endTime must be of a later day than startTime, in UTC", field="endTime")
    return first, after


def days_in(start: datetime, end: datetime, zone: ZoneInfo) -> Iterator[Day]:
    """Yield the days of a zone that a half-open range of moments touches, the first and last perhaps in part."""
    day = start.astimezone(zone).date()
    begins = start.astimezone(UTC)
    end = end.astimezone(UTC)
    while begins < end:
        ends = min(end, _midnight(day + ONE_DAY, zone))
        if begins < ends:  # else it is a day that the zone leaves out
            yield Day(day, begins, ends)
            begins = ends
        day += ONE_DAY


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    """Return the first moment of a day, in UTC; where the zone leaves midnight or the whole day out, of what follows."""
    wall = datetime(day.year, day.month, day.day)
    # NOTE: of a time that the clock shows twice the earlier; of one that it leaves out, what it would have been: the
    # moment of the change, when it was an hour's or a day's beginning that was left out.
    moment = wall.replace(tzinfo=zone, fold=0).astimezone(UTC)
    shown = moment.astimezone(zone).replace(tzinfo=None)
    return moment if shown == wall else _change_before(moment, zone, wall)


def _change_before(moment: datetime, zone: ZoneInfo, wall: datetime) -> datetime:
    """Return the moment at which the zone jumps over `wall`: between a day before and `moment` plus a day, to the second."""
    low, high = moment - 2 * ONE_DAY, moment + 2 * ONE_DAY
    while high - low > timedelta(seconds=1):
        middle = low + (high - low) / 2
        middle = middle.replace(microsecond=0)
        if middle.astimezone(zone).replace(tzinfo=None) < wall:
            low = middle
        else:
            high = middle
    return high
