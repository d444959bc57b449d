"""A range of time cut into intervals of whole quarters of an hour, and what was used in each of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import BigInteger, ColumnElement, Connection, cast, func, select

from embergate.gateway.usage.records import EPOCH, SLOT, slot_of, start_of
from embergate.gateway.usage.tables import DIMENSIONS, DIMENSIONS_OF_RECORD, DIMENSIONS_OF_SLOT, RECORDS, SLOTS

A_SECOND: Final = timedelta(seconds=1)
SECONDS_A_MINUTE: Final = 60


@dataclass(frozen=True, slots=True)
class Intervals:
    """`num` intervals of `length`, the first at the quarter of an hour that begins at `start`."""

    start: datetime
    length: timedelta
    num: int

    @classmethod
    def between(cls, start: datetime, end: datetime, length: timedelta) -> Intervals:
        """Cut a range; it is widened to whole quarters at its start, and to whole intervals at its end."""
        begins = start_of(slot_of(start))
        return cls(begins, length, -((begins - end) // length))

    @property
    def end(self) -> datetime:
        """The end of the last one."""
        return self.start + self.num * self.length

    def timestamps(self) -> list[int]:
        """Return when each begins, in seconds since 1970."""
        return [(self.start + number * self.length - EPOCH) // A_SECOND for number in range(self.num)]

    def seconds_until(self, moment: datetime) -> list[float]:
        """Return how much of each lies before a moment; a whole one where nothing does."""
        whole_s = self.length.total_seconds()
        passed = [(moment - self.start - number * self.length).total_seconds() for number in range(self.num)]
        return [min(whole_s, second) if second > 0 else whole_s for second in passed]

    def number_of(self, moment: datetime) -> int:
        """Return which one a moment is in."""
        return (moment - self.start) // self.length


def tokens_by_model(connection: Connection, account_id: str, intervals: Intervals) -> Mapping[str, list[int]]:
    """Return the prompt tokens of each model in each interval; models without any are left out."""
    in_range = (
        (SLOTS.c.quarters == 1) & (SLOTS.c.slot >= slot_of(intervals.start)) & (SLOTS.c.slot < slot_of(intervals.end))
    )
    # A number each, of whole numbers: the quarter of an hour counted from the first, by quarters an interval.
    number = (SLOTS.c.slot - slot_of(intervals.start)) // (intervals.length // SLOT)
    numbered = (
        select(DIMENSIONS.c.model, number.label("number"), SLOTS.c.prompt_tokens)
        .join_from(SLOTS, DIMENSIONS, DIMENSIONS_OF_SLOT)
        .where(DIMENSIONS.c.account_id == account_id, in_range)
        .subquery()
    )
    by = (numbered.c.model, numbered.c.number)
    statement = select(*by, func.sum(numbered.c.prompt_tokens)).group_by(*by).order_by(numbered.c.model)
    found: dict[str, list[int]] = defaultdict(lambda: [0] * intervals.num)
    for model, index, num_tokens in connection.execute(statement):
        found[model][int(index)] = int(num_tokens)
    return {model: sums for model, sums in found.items() if any(sums)}


@dataclass(frozen=True, slots=True)
class Peaks:
    """The most tokens in one minute of the clock, in each interval."""

    uncached: list[int]
    cached: list[int]


def peaks_by_model(connection: Connection, account_id: str, intervals: Intervals) -> dict[str, Peaks]:
    """Return the peaks of each model, and under "" those of all together, from the records of single calls."""
    minute = _minute_of(connection.dialect.name)
    in_range = (RECORDS.c.time >= intervals.start) & (RECORDS.c.time < intervals.end)
    numbered = (
        select(DIMENSIONS.c.model, minute.label("minute"), RECORDS.c.prompt_tokens, RECORDS.c.cached_tokens)
        .join_from(RECORDS, DIMENSIONS, DIMENSIONS_OF_RECORD)
        .where(RECORDS.c.account_id == account_id, in_range)
        .subquery()
    )
    by = (numbered.c.minute, numbered.c.model)
    sums = (func.sum(numbered.c.prompt_tokens), func.sum(numbered.c.cached_tokens))
    found: dict[str, Peaks] = {"": Peaks([0] * intervals.num, [0] * intervals.num)}
    totals: dict[int, tuple[int, int]] = defaultdict(lambda: (0, 0))
    for number, model, prompt, cached in connection.execute(select(*by, *sums).group_by(*by).order_by(*by)):
        tokens = int(prompt) - int(cached), int(cached)
        peaks = found.setdefault(model, Peaks([0] * intervals.num, [0] * intervals.num))
        _raise_peak(peaks, intervals, int(number), tokens)
        before = totals[int(number)]
        totals[int(number)] = (before[0] + tokens[0], before[1] + tokens[1])
    for number, tokens in totals.items():
        _raise_peak(found[""], intervals, number, tokens)
    return found


def _raise_peak(peaks: Peaks, intervals: Intervals, minute: int, tokens: tuple[int, int]) -> None:
    index = intervals.number_of(EPOCH + timedelta(minutes=minute))
    peaks.uncached[index] = max(peaks.uncached[index], tokens[0])
    peaks.cached[index] = max(peaks.cached[index], tokens[1])


def _minute_of(dialect: str) -> ColumnElement[Any]:
    """Return the minute of the clock of a record, since 1970."""
    if dialect == "sqlite":
        return cast(func.strftime("%s", RECORDS.c.time), BigInteger) // SECONDS_A_MINUTE
    return cast(func.floor(func.extract("epoch", RECORDS.c.time) / SECONDS_A_MINUTE), BigInteger)
