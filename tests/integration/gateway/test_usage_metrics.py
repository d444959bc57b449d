"""What the metrics of metering count, by the meter itself."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy import update

from embergate.errors import RateLimitedError, UnavailableError
from embergate.gateway.accounts.schemas import SuspendState
from embergate.gateway.usage.standing import Billing
from embergate.storage.database import Database
from embergate.storage.tables.accounts import AccountRow
from tests.integration.gateway.platform import Platform, on_sqlite_only
from tests.integration.gateway.test_metering import COST_NANOS, TOKENS, call, demand, set_up

pytestmark = on_sqlite_only
OWN = "accounts/acme/models/own-model"


def value(platform: Platform, name: str, **labels: str) -> float:
    return platform.gateway.metrics.registry.get_sample_value(f"embergate_{name}", labels) or 0.0


async def test_charges_are_counted_by_model(platform: Platform) -> None:
    await set_up(platform, billing=Billing.POSTPAID)
    await asyncio.gather(*(call(platform, demand(number)) for number in range(3)))
    await call(platform, demand(3, model=OWN, list_price_nanos=100))
    for model, num_calls, cost_nanos in (
        ("fireworks/all-minilm-l6-v2", 3, 3 * COST_NANOS),
        ("uploaded", 1, 100 * TOKENS),
    ):
        assert value(platform, "charged_requests_total", model=model) == num_calls
        assert value(platform, "charged_tokens_total", model=model) == num_calls * TOKENS
        assert value(platform, "charged_usd_total", model=model) == pytest.approx(cost_nanos / 1e9, abs=1e-12)
    assert value(platform, "charge_seconds_count") == 4
    assert value(platform, "commit_charges_sum") == 4
    assert value(platform, "waiting_charges") == 0


async def test_what_waits_and_is_set_aside_is_told_until_it_is_written(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    await set_up(platform, billing=Billing.POSTPAID)
    writing, may_write, write = asyncio.Event(), asyncio.Event(), Database.write

    async def held_up(*arguments: Any) -> Any:
        writing.set()
        await may_write.wait()
        return await write(*arguments)

    monkeypatch.setattr(Database, "write", held_up)
    first = asyncio.create_task(call(platform, demand(0)))
    await writing.wait()
    second = asyncio.create_task(call(platform, demand(1)))
    while not value(platform, "waiting_charges"):  # noqa: ASYNC110 - nothing tells of it but the metric
        await asyncio.sleep(0)
    assert value(platform, "waiting_charges") == 1
    assert value(platform, "reserved_usd") == 2 * COST_NANOS / 1e9
    may_write.set()
    assert [await first, await second] == ["answered"] * 2
    assert value(platform, "waiting_charges") == 0
    assert value(platform, "reserved_usd") == 0


async def test_calls_that_fail_leave_nothing_set_aside(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    await set_up(platform, billing=Billing.POSTPAID)

    async def fail(*_: object) -> None:
        raise UnavailableError

    monkeypatch.setattr(Database, "write", fail)
    with pytest.raises(UnavailableError):
        await call(platform, demand())
    assert value(platform, "failed_charges_total") == 1
    assert value(platform, "lost_charges_total") == 0
    assert value(platform, "reserved_usd") == 0


async def test_charge_of_an_answered_call_that_is_given_up_is_counted(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    await set_up(platform, billing=Billing.POSTPAID)
    monkeypatch.setattr(platform.gateway.meter, "_answers_first", True)

    async def fail(*_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(Database, "write", fail)
    assert await call(platform, demand()) == "answered"
    await platform.gateway.meter.close()
    assert (value(platform, "failed_charges_total"), value(platform, "lost_charges_total")) == (1, 1)
    assert (value(platform, "waiting_charges"), value(platform, "reserved_usd")) == (0, 0)


async def test_refusals_are_counted_by_state(platform: Platform) -> None:
    await set_up(platform, credit_nanos=COST_NANOS)
    outcomes = [await call(platform, demand(number)) for number in range(2)]
    assert outcomes == ["answered", "suspended"]
    async with platform.database.writing() as db:
        await db.execute(update(AccountRow).values(suspend_state=SuspendState.BLOCKED_BY_ABUSE_RULE))
    platform.gateway.meter.forget()
    assert await call(platform, demand(2)) == "suspended"
    assert value(platform, "suspended_requests_total", state="CREDIT_DEPLETED") == 1
    assert value(platform, "suspended_requests_total", state="BLOCKED_BY_ABUSE_RULE") == 1


async def test_refusals_are_counted_by_quota(database: Database) -> None:
    quotas = {"serverless-requests-per-minute": 2, "serverless-prompt-tokens-per-minute": TOKENS}
    platform = Platform(database, quotas=quotas)
    await set_up(platform, billing=Billing.POSTPAID)
    await call(platform, demand(0))
    for number in (1, 2):
        with pytest.raises(RateLimitedError):
            await call(platform, demand(number))
    for quota in quotas:
        assert value(platform, "limited_requests_total", quota=quota) == 1
    await platform.close()


async def test_repeated_calls_are_counted_whether_they_come_together_or_later(platform: Platform) -> None:
    await set_up(platform, billing=Billing.POSTPAID)
    named = {"idempotency_key": "mine", "request_digest": b"a" * 32}
    await asyncio.gather(*(call(platform, demand(number, **named)) for number in range(3)))
    await call(platform, demand(3, **named))
    assert value(platform, "repeated_requests_total") == 3
    assert value(platform, "charged_requests_total", model="fireworks/all-minilm-l6-v2") == 1


async def test_dry_runs_are_counted(platform: Platform) -> None:
    await set_up(platform, billing=Billing.POSTPAID)
    async with platform.gateway.meter.open(demand(is_dry_run=True)) as tab:
        await tab.quote(TOKENS)
    assert value(platform, "dry_runs_total") == 1
