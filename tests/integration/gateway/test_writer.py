"""The writer where something goes wrong: a database that is away for a while, and an account that spoils a group."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from sqlalchemy import select
from structlog.testing import capture_logs

from embergate.errors import UnavailableError
from embergate.gateway.usage import writer
from embergate.gateway.usage.charging import Charged, charge
from embergate.gateway.usage.records import UsageRecord
from embergate.gateway.usage.tables import RECORDS
from embergate.storage.database import Database
from embergate.web.caller import Caller, Role
from tests.integration.gateway.platform import Platform
from tests.integration.gateway.test_metering import ADMIN, COST_NANOS, call, charged, demand, set_up

OTHER = Caller(account="globex", user="admin", email="admin@globex.example", role=Role.ADMIN, key_id="key_2")


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "FIRST_RETRY_S", 0.001)


@pytest.fixture
def answers_first(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform.gateway.meter, "_answers_first", True)


def go_away(monkeypatch: pytest.MonkeyPatch, *, num_times: int) -> None:
    """Have the database away for so many writes."""
    write, left = Database.write, [num_times]

    async def perhaps(*arguments: Any) -> Any:
        if left[0] > 0:
            left[0] -= 1
            raise UnavailableError("The database cannot be reached.")
        return await write(*arguments)

    monkeypatch.setattr(Database, "write", perhaps)


@pytest.mark.usefixtures("answers_first")
async def test_answered_calls_are_charged_once_the_database_is_back(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    await set_up(platform, credit_nanos=2 * COST_NANOS)
    go_away(monkeypatch, num_times=3)
    outcomes = [await call(platform, demand(number)) for number in range(3)]
    assert outcomes == ["answered", "answered", "suspended"]  # what waits stays set aside
    await platform.gateway.meter.close()
    assert await charged(platform) == (2, 2 * COST_NANOS)


@pytest.mark.usefixtures("answers_first")
async def test_answered_call_is_charged_though_others_have_used_up_the_credit(
    platform: Platform, database_url: str
) -> None:
    await set_up(platform, credit_nanos=COST_NANOS)
    database = Database.open(database_url)
    other = Platform(database)
    async with platform.gateway.meter.open(demand(0)) as tab:
        await tab.reserve([10])
        assert await call(other, demand(1)) == "answered"
        await tab.settle()
    await platform.gateway.meter.close()
    await other.close()
    await database.close()
    assert await charged(platform) == (2, 2 * COST_NANOS)


@pytest.mark.usefixtures("answers_first")
async def test_server_that_stops_while_the_database_is_away_says_what_it_lost(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    await set_up(platform, credit_nanos=COST_NANOS)
    monkeypatch.setattr(writer, "CLOSING_S", 0.05)
    go_away(monkeypatch, num_times=10_000)
    assert await call(platform, demand(7)) == "answered"
    with capture_logs() as logs:
        await platform.gateway.meter.close()
    (lost,) = [line for line in logs if line["event"] == "usage_lost"]
    assert (lost["request_id"], lost["account"], lost["cost_nanos"]) == ("request-7", "acme", COST_NANOS)


@pytest.mark.usefixtures("answers_first")
async def test_no_more_is_kept_than_there_is_room_for(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    await set_up(platform, credit_nanos=5 * COST_NANOS)
    monkeypatch.setattr(writer, "MAX_KEPT", 2)
    monkeypatch.setattr(writer, "MAX_RETRY_S", 0.001)
    go_away(monkeypatch, num_times=50)
    with capture_logs() as logs:
        await asyncio.gather(*(call(platform, demand(number)) for number in range(4)))
        await platform.gateway.meter.close()
    assert len([line for line in logs if line["event"] == "usage_lost"]) == 2
    assert await charged(platform) == (2, 2 * COST_NANOS)


async def test_account_that_cannot_be_charged_spoils_nobody_elses_call(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    await set_up(platform, credit_nanos=10 * COST_NANOS)
    await platform.add_account("globex")

    def spoiled(connection: Any, records: Sequence[UsageRecord], **options: Any) -> list[Charged]:
        charged = charge(connection, records, **options)
        if any(record.dimensions.account_id == "globex" for record in records):
            raise LookupError("of one account")
        return charged

    monkeypatch.setattr(writer, "charge", spoiled)
    calls = [call(platform, demand(number, caller=(ADMIN, OTHER)[number % 2])) for number in range(6)]
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert outcomes[::2] == ["answered"] * 3
    assert all(isinstance(outcome, LookupError) for outcome in outcomes[1::2])
    assert await charged(platform) == (3, 3 * COST_NANOS)
    monkeypatch.undo()
    assert await call(platform, demand(9, caller=OTHER)) == "answered"  # nothing of it is left reserved


@pytest.mark.usefixtures("answers_first")
async def test_commit_that_nobody_knows_of_is_charged_once(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    await set_up(platform, credit_nanos=5 * COST_NANOS)
    write, is_first = Database.write, [True]

    async def commits_and_breaks(*arguments: Any) -> Any:
        result = await write(*arguments)
        if is_first:
            is_first.clear()
            raise UnavailableError("The database cannot be reached.")
        return result

    monkeypatch.setattr(Database, "write", commits_and_breaks)
    assert await call(platform, demand(0)) == "answered"
    await platform.gateway.meter.close()
    assert await charged(platform) == (1, COST_NANOS)


@pytest.mark.usefixtures("answers_first")
async def test_what_was_kept_goes_before_what_comes_in(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    await set_up(platform, credit_nanos=500 * COST_NANOS)
    go_away(monkeypatch, num_times=1)
    assert await call(platform, demand(0)) == "answered"
    for number in range(1, 200):  # there is always one that waits
        assert await call(platform, demand(number)) == "answered"
        async with platform.database.reading() as db:
            first = await db.scalar(select(RECORDS.c.id).where(RECORDS.c.request_id == "request-0"))
        if first is not None:
            break
    assert first is not None
    await platform.gateway.meter.close()


async def test_calls_that_fail_together_have_an_error_each(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    await set_up(platform, credit_nanos=10 * COST_NANOS)
    await platform.add_account("globex")
    go_away(monkeypatch, num_times=4)
    calls = [call(platform, demand(number, caller=(ADMIN, OTHER)[number % 2])) for number in range(4)]
    errors = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(error, UnavailableError) for error in errors)
    assert len({id(error) for error in errors}) == 4


async def test_call_that_waits_for_its_charge_is_told_that_the_database_is_away(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    await set_up(platform, credit_nanos=COST_NANOS)
    go_away(monkeypatch, num_times=1)
    with pytest.raises(UnavailableError):
        await call(platform, demand(0))
    assert await call(platform, demand(1)) == "answered"
    assert await charged(platform) == (1, COST_NANOS)
