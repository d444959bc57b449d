"""Old records are deleted and their sums stay, on both databases; questions are answered to the quarter of an hour then."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from sqlalchemy import func, select

from embergate.gateway.upkeep import purge_usage
from embergate.gateway.usage import retention
from embergate.gateway.usage.days import Day
from embergate.gateway.usage.retention import purge_records, records_since, whole_quarters
from embergate.gateway.usage.standing import Billing
from embergate.storage.tables.usage import UsageRecordRow
from tests.integration.gateway.platform import Platform
from tests.integration.gateway.test_metering import MODEL, call, demand, set_up
from tests.integration.gateway.test_usage import SUMMARY, USAGE, ask, tokens, used

NINETY_DAYS = timedelta(days=90)
CUT = [("startTime", "2026-03-01T00:07:30Z"), ("endTime", "2026-03-01T12:01:00Z")]


@pytest.fixture
async def key(platform: Platform) -> str:
    await set_up(platform, billing=Billing.POSTPAID)
    await used(platform, "2026-03-01T00:05:00+00:00", 1)
    await used(platform, "2026-03-01T00:14:00+00:00", 2)
    await used(platform, "2026-03-01T12:00:00+00:00", 4)
    await used(platform, "2026-03-01T12:14:00+00:00", 8)
    await used(platform, "2026-03-01T12:15:00+00:00", 16, idempotency_key="once", request_digest=bytes(32))
    return await platform.add_key("acme", "admin")


async def num_records(platform: Platform) -> int:
    async with platform.database.reading() as db:
        return int(await db.scalar(select(func.count()).select_from(UsageRecordRow)) or 0)


async def since(platform: Platform) -> datetime | None:
    async with platform.database.reading() as db:
        return await (await db.connection()).run_sync(records_since)


async def test_records_are_purged_and_sums_stay(platform: Platform, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "CHUNK_SIZE", 1)
    monkeypatch.setattr(retention, "PAUSE_S", 0)
    bill, usage = await ask(platform, key, SUMMARY), await ask(platform, key, USAGE)
    assert tokens(await ask(platform, key, USAGE, *CUT), "model_name") == [("2026-03-01", MODEL, 6)]
    assert await since(platform) is None
    with time_machine.travel(
        datetime(2026, 5, 30, 12, 20, tzinfo=UTC)
    ):  # ninety days after a quarter past twelve, and more
        await purge_usage(platform.gateway)
    assert await num_records(platform) == 1
    assert await since(platform) == datetime(2026, 3, 1, 12, 15, tzinfo=UTC)
    assert (await ask(platform, key, SUMMARY), await ask(platform, key, USAGE)) == (bill, usage)
    # The quarters that the range cuts count whole.
    assert tokens(await ask(platform, key, USAGE, *CUT), "model_name") == [("2026-03-01", MODEL, 15)]
    later = [("startTime", "2026-03-01T12:14:59Z"), ("endTime", "2026-03-01T12:15:01Z")]
    assert tokens(await ask(platform, key, USAGE, *later), "model_name") == [("2026-03-01", MODEL, 28)]
    # After that they do not: its records are there.
    later = [("startTime", "2026-03-01T12:15:30Z"), ("endTime", "2026-03-01T12:16:00Z")]
    assert (await ask(platform, key, USAGE, *later))["serverlessCosts"] == []


async def test_what_is_gone_stays_gone_when_more_is_kept(platform: Platform, key: str) -> None:
    with time_machine.travel(datetime(2026, 5, 30, 12, 20, tzinfo=UTC)):
        assert await purge_records(platform.database, NINETY_DAYS) == 4
        assert await purge_records(platform.database, 2 * NINETY_DAYS) == 0
    assert await since(platform) == datetime(2026, 3, 1, 12, 15, tzinfo=UTC)


async def test_purge_that_takes_too_long_goes_on_the_next_time(
    platform: Platform, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "CHUNK_SIZE", 1)
    with time_machine.travel(datetime(2026, 5, 30, 12, 20, tzinfo=UTC)):
        assert await purge_records(platform.database, NINETY_DAYS, budget_s=0.001) < 4
        assert tokens(await ask(platform, key, USAGE, *CUT), "model_name") == [("2026-03-01", MODEL, 15)]
        await purge_records(platform.database, NINETY_DAYS)
    assert await num_records(platform) == 1


async def test_idempotency_key_is_good_as_long_as_its_record_is_kept(platform: Platform, key: str) -> None:
    async def again() -> int:
        assert await call(platform, demand(9, idempotency_key="once", request_digest=bytes(32)), 16) == "answered"
        return await num_records(platform)

    assert await again() == 5
    with time_machine.travel(datetime(2026, 5, 30, 12, 30, tzinfo=UTC)):
        await purge_usage(platform.gateway)
        assert await num_records(platform) == 0
        assert await again() == 1


def at(minute: int) -> datetime:
    return datetime(2026, 3, 1, tzinfo=UTC) + timedelta(minutes=minute)


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [
        ([0, 1440], [(0, 1440)]),
        ([7, 1440], [(0, 1440)]),
        ([7, 8], [(0, 15)]),
        ([7, 22], [(0, 30)]),
        ([7, 70, 100], [(0, 75), (75, 100)]),  # what two days share counts for the first, and what is known exactly is
        ([7, 8, 9, 40], [(0, 15), (15, 45)]),
        ([100, 101], [(100, 101)]),
        ([85, 101], [(75, 101)]),
    ],
    ids=str,
)
def test_quarters_before_the_horizon_are_whole(bounds: list[int], expected: list[tuple[int, int]]) -> None:
    days = [Day(at(start).date(), at(start), at(end)) for start, end in itertools.pairwise(bounds)]
    assert [(day.start, day.end) for day in whole_quarters(days, at(90))] == [(at(s), at(e)) for s, e in expected]
    assert whole_quarters(days, None) == days
