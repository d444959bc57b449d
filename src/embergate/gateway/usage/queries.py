"""Questions about usage, answered from sums over the largest spans of time that fit, and from records where a range cuts a
quarter of an hour.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final

from sqlalchemy import (
    CTE,
    BigInteger,
    ColumnElement,
    Connection,
    Integer,
    Select,
    and_,
    case,
    column,
    exists,
    func,
    select,
    values,
)

from embergate.gateway.usage.days import Day
from embergate.gateway.usage.records import SPANS, slot_after, slot_of, spans_of, start_of
from embergate.gateway.usage.retention import records_since, whole_quarters
from embergate.gateway.usage.tables import DIMENSIONS, DIMENSIONS_OF_RECORD, DIMENSIONS_OF_SLOT, RECORDS, SLOTS

# What usage can be grouped and filtered by, and the column that has it.
KEYS: Final[Mapping[str, ColumnElement[str]]] = {
    "model_name": DIMENSIONS.c.model,
    "api_key_id": DIMENSIONS.c.api_key_id,
    "annotations.team": DIMENSIONS.c.team,
    "annotations.project": DIMENSIONS.c.project,
    "annotations.environment": DIMENSIONS.c.environment,
}
A_DAY: Final = SPANS[0]
Filters = Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class DayUsage:
    """What one group used on one day."""

    date: date
    usage_type: str
    group: tuple[str, ...]
    prompt_tokens: int


def usage_by_day(
    connection: Connection, account_id: str, days: Sequence[Day], *, keys: Sequence[str], filters: Filters
) -> list[DayUsage]:
    """Return what was used on each day by each value of `keys`; by day, then by group. Days without use are left out.

    Where the records are gone, a quarter of an hour that the range cuts counts whole.
    """
    days = whole_quarters(days, records_since(connection))
    sums: dict[tuple[date, str, tuple[str, ...]], int] = defaultdict(int)
    grouped = [DIMENSIONS.c.usage_type, *(KEYS[key] for key in keys)]
    where = _chosen(account_id, filters)
    for number, usage_type, *group, num_tokens in connection.execute(_by_whole_slots(grouped, where, days)):
        sums[days[number].date, usage_type, tuple(group)] += int(num_tokens)
    for day in days:
        for start, end in _cut_off(day):
            for usage_type, *group, num_tokens in connection.execute(_by_records(grouped, where, start, end)):
                sums[day.date, usage_type, tuple(group)] += int(num_tokens)
    return [DayUsage(*found, num_tokens) for found, num_tokens in sorted(sums.items())]


def values_used(connection: Connection, account_id: str, start: datetime, end: datetime) -> dict[str, list[str]]:
    """Return the values of each key that were used in a range, in order; without what nobody said."""
    in_range = exists().where(
        DIMENSIONS_OF_SLOT,
        SLOTS.c.quarters == 1,
        SLOTS.c.slot >= slot_of(start),
        SLOTS.c.slot < slot_after(end),
    )
    statement = select(*KEYS.values()).where(DIMENSIONS.c.account_id == account_id, in_range).distinct()
    rows = connection.execute(statement).all()
    return {key: sorted({row[index] for row in rows} - {""}) for index, key in enumerate(KEYS)}


@dataclass(frozen=True, slots=True)
class Line:
    """What was used at one price, and what it cost. `price_nanos` is that of a token."""

    usage_type: str
    model: str
    is_batch: bool
    is_cached: bool
    price_nanos: int
    num_tokens: int

    @property
    def cost_nanos(self) -> int:
        """What all of it cost; no rounding happens."""
        return self.num_tokens * self.price_nanos


def lines(connection: Connection, account_id: str, start: datetime, end: datetime) -> list[Line]:
    """Return what was used from one midnight of UTC up to another, by price."""
    told_apart = (
        DIMENSIONS.c.usage_type,
        DIMENSIONS.c.model,
        DIMENSIONS.c.is_batch,
        DIMENSIONS.c.price_nanos,
        DIMENSIONS.c.cached_price_nanos,
    )
    tokens = [func.sum(SLOTS.c.prompt_tokens).label("prompt"), func.sum(SLOTS.c.cached_tokens).label("cached")]
    by_day = and_(SLOTS.c.account_id == account_id, SLOTS.c.quarters == A_DAY)
    in_range = and_(by_day, SLOTS.c.slot >= slot_of(start), SLOTS.c.slot < slot_of(end))
    # First by the key that the table is ordered by: nothing is sorted then.
    by_id = select(SLOTS.c.dimensions_id, *tokens).where(in_range).group_by(SLOTS.c.dimensions_id).subquery()
    statement = (
        select(*told_apart, func.sum(by_id.c.prompt), func.sum(by_id.c.cached))
        .join_from(
            DIMENSIONS, by_id, (DIMENSIONS.c.id == by_id.c.dimensions_id) & (DIMENSIONS.c.account_id == account_id)
        )
        .group_by(*told_apart)
    )
    sums: dict[tuple[str, str, bool, bool, int], int] = defaultdict(int)
    for usage_type, model, is_batch, price, cached_price, prompt, cached in connection.execute(statement):
        sums[usage_type, model, is_batch, False, price] += int(prompt) - int(cached)
        if cached:
            sums[usage_type, model, is_batch, True, cached_price] += int(cached)
    return [Line(*key, num_tokens=num_tokens) for key, num_tokens in sorted(sums.items()) if num_tokens]


def _chosen(account_id: str, filters: Filters) -> ColumnElement[bool]:
    wanted = (KEYS[key].in_(list(chosen)) for key, chosen in filters.items())
    return and_(DIMENSIONS.c.account_id == account_id, *wanted)


def _by_whole_slots(
    grouped: Sequence[ColumnElement[str]], where: ColumnElement[bool], days: Sequence[Day]
) -> Select[Any]:
    """Select the sums of every day's whole quarters.

    What was used on a day of UTC has a row of that day; the spans of a zone's day that lie in it are looked up from there,
    so that nothing is looked for where nothing was used. One grouping over all spans has to sort, which takes several times
    as long.
    """
    spans = _spans(days)
    used = SLOTS.alias("used")
    of_span = (
        select(func.sum(SLOTS.c.prompt_tokens))
        .where(
            SLOTS.c.account_id == used.c.account_id,
            SLOTS.c.dimensions_id == used.c.dimensions_id,
            SLOTS.c.quarters == spans.c.quarters,
            SLOTS.c.slot >= spans.c.first,
            SLOTS.c.slot < spans.c.after,
        )
        .correlate(used, spans)
        .scalar_subquery()
    )
    tokens = case((spans.c.quarters == A_DAY, used.c.prompt_tokens), else_=of_span)
    names = [one.name for one in grouped]
    is_of = (used.c.account_id == DIMENSIONS.c.account_id) & (used.c.dimensions_id == DIMENSIONS.c.id)
    first, after = slot_of(days[0].start), slot_after(days[-1].end)
    in_range = and_(used.c.quarters == A_DAY, used.c.slot > first - A_DAY, used.c.slot < after)
    each = (
        select(spans.c.number, *grouped, tokens.label("tokens"))
        .join_from(DIMENSIONS, used, is_of)
        .join(spans, spans.c.utc_day == used.c.slot)
        .where(where, in_range)
        .subquery()
    )
    by = (each.c.number, *(each.c[name] for name in names))
    return select(*by, func.sum(each.c.tokens)).where(each.c.tokens.is_not(None)).group_by(*by)


def _spans(days: Sequence[Day]) -> CTE:
    """Return the spans that each day's whole quarters are made of, each in one day of UTC."""
    columns = [
        column("number", Integer),
        *(column(name, BigInteger) for name in ("utc_day", "quarters", "first", "after")),
    ]
    rows = []
    for number, day in enumerate(days):
        first, after = slot_after(day.start), slot_of(day.end)
        for utc_day in range(first - first % A_DAY, after, A_DAY):
            spans = spans_of(max(first, utc_day), min(after, utc_day + A_DAY))
            rows += [(number, utc_day, *span) for span in spans]
    return values(*columns, name="days").data(rows or [(0, 0, 1, 0, 0)]).cte("days")


def _by_records(
    grouped: Sequence[ColumnElement[str]], where: ColumnElement[bool], start: datetime, end: datetime
) -> Select[Any]:
    columns: list[ColumnElement[Any]] = [*grouped, func.sum(RECORDS.c.prompt_tokens)]
    in_range = and_(where, RECORDS.c.time >= start, RECORDS.c.time < end)
    return select(*columns).join_from(RECORDS, DIMENSIONS, DIMENSIONS_OF_RECORD).where(in_range).group_by(*grouped)


def _cut_off(day: Day) -> list[tuple[datetime, datetime]]:
    """Return what of a day is in no whole quarter of it: something at its start, at its end, or a part of one quarter."""
    first, after = start_of(slot_after(day.start)), start_of(slot_of(day.end))
    if first > after:
        return [(day.start, day.end)]
    return [(start, end) for start, end in ((day.start, first), (after, day.end)) if start < end]
