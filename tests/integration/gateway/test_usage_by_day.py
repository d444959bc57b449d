"""Usage by day of calls around changes of clocks, beside what a count of the calls one by one says."""

from __future__ import annotations

import itertools
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Final
from zoneinfo import ZoneInfo

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from embergate.gateway.usage.charging import charge
from embergate.gateway.usage.days import days_in
from embergate.gateway.usage.queries import usage_by_day
from embergate.gateway.usage.records import EMBEDDING, Dimensions, UsageRecord
from embergate.gateway.usage.standing import Billing
from embergate.storage.database import Database
from tests.integration.gateway.operating import add_payer
from tests.unit.test_usage_days import CHANGES

# Records are there for good: each example has an account of its own.
NUMBERS: Final = itertools.count()
NEAR: Final = st.timedeltas(timedelta(days=-2), timedelta(days=2))
# A quarter of an hour begins, and days do, and clocks change, at such a distance.
EVEN: Final = st.integers(-192, 192).map(lambda quarters: quarters * timedelta(minutes=15))


@given(
    change=st.sampled_from(sorted(CHANGES)),
    calls=st.lists(NEAR | EVEN, min_size=1, max_size=8),
    start=NEAR | EVEN,
    length=st.timedeltas(timedelta(minutes=1), timedelta(days=3)),
)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_each_call_is_in_its_day(
    database: Database, change: str, calls: list[timedelta], start: timedelta, length: timedelta
) -> None:
    name, moment = CHANGES[change]
    zone, change_at = ZoneInfo(name), datetime.fromisoformat(moment).replace(tzinfo=UTC)
    account = f"days-{next(NUMBERS)}"
    await add_payer(database, account, Billing.POSTPAID)
    dimensions = Dimensions(account, EMBEDDING, "accounts/fireworks/models/m", "", "", "", "", False, 8, 4)
    first = change_at + start
    expected: Counter[date] = Counter()
    for number, offset in enumerate(calls):
        record = UsageRecord(dimensions, f"{account}-{number}", "admin", 1, prompt_tokens=1 << number)
        await database.write(partial(charge, records=[record], moment=change_at + offset, known=set()))
        if first <= change_at + offset < first + length:
            expected[(change_at + offset).astimezone(zone).date()] += record.prompt_tokens
    days = list(days_in(first, first + length, zone))
    async with database.reading() as db:
        connection = await db.connection()
        found = await connection.run_sync(partial(usage_by_day, account_id=account, days=days, keys=[], filters={}))
    assert {row.date: row.prompt_tokens for row in found} == expected
    assert len(found) == len(expected)
