"""Suspension: computed from money, written down, told, and in the way of inference, on both databases."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Any

import httpx2
import pytest
import time_machine
from sqlalchemy import update

from embergate.app.operating import act
from embergate.clock import now
from embergate.engine.backends.fake import FakeBackend
from embergate.engine.backends.protocol import ComputeOptions
from embergate.engine.loaded_model import LoadedModel
from embergate.engine.loading.loader import find_model
from embergate.engine.registry import ServedModel
from embergate.engine.tokenization import TextTokenizer
from embergate.gateway.accounts import service as accounts
from embergate.gateway.accounts.schemas import SuspendState
from embergate.gateway.money import NANOS_PER_UNIT
from embergate.gateway.quotas.known import MONTHLY_SPEND
from embergate.gateway.upkeep import review_accounts
from embergate.gateway.usage import suspension
from embergate.gateway.usage.standing import Billing
from embergate.gateway.usage.suspension import review_in
from embergate.gateway.usage.watch import AccountWatch
from embergate.storage.database import Database
from embergate.storage.tables.accounts import AccountRow, QuotaRow
from tests.integration.gateway.operating import gateway_of_operator, make_code
from tests.integration.gateway.platform import Platform, on_postgresql_only
from tests.integration.gateway.test_metering import COST_NANOS, PRICE_NANOS, call, demand, set_up
from tests.integration.gateway.trails import verified

MINILM = "sentence-transformers/all-MiniLM-L6-v2"
# A little more than a quarter of a dollar.
QUARTER = NANOS_PER_UNIT // PRICE_NANOS // 4 + 1


def serve_fake(platform: Platform) -> None:
    """Serve MiniLM's tokenizer with a network that is none."""
    found = find_model(MINILM)
    model = LoadedModel(found, TextTokenizer(found.spec), FakeBackend(found.spec.hidden_size), ComputeOptions())
    platform.deps.registry.add(ServedModel("fireworks", "all-minilm-l6-v2", model, now(), list_price_nanos=PRICE_NANOS))


async def embed(platform: Platform, key: str) -> httpx2.Response:
    return await platform.call(key, "POST", "/inference/v1/embeddings", json={"model": MINILM, "input": "hello"})


async def limit_to(platform: Platform, dollars: int) -> None:
    """Change the quota as its room does."""
    async with act(gateway_of_operator(platform), "UpdateQuota", "acme") as one:
        await one.db.merge(
            QuotaRow(account_id="acme", id=MONTHLY_SPEND, value=dollars, max_value=10_000, update_time=now())
        )
        await review_in(one)
    platform.gateway.meter.forget()


async def state_of(platform: Platform, key: str) -> str:
    answer = await platform.call(key, "GET", "/v1/accounts/acme")
    return str(answer.json()["suspendState"])


async def told(platform: Platform, key: str) -> list[tuple[str, Any]]:
    """Return what the trail says of suspensions, oldest first."""
    entries = await platform.trail(key, "acme")
    assert not any(report.problem for report in (await verified(platform.database)).values())
    return [
        (entry["method"].rpartition("/")[2], entry["payload"]["suspendState"])
        for entry in reversed(entries)
        if "uspendAccount" in entry["method"]
    ]


async def settled(platform: Platform) -> None:
    """Wait for what charges have brought about."""
    await platform.gateway.meter.close()


@pytest.fixture
async def key(platform: Platform) -> str:
    """A key of a prepaid account with credit for two calls."""
    await set_up(platform, credit_nanos=2 * COST_NANOS)
    return await platform.add_key("acme", "admin")


async def test_used_up_credit_is_written_down_and_told_once(platform: Platform, key: str) -> None:
    assert await state_of(platform, key) == "UNSUSPENDED"
    assert [await call(platform, demand(number)) for number in range(3)] == ["answered", "answered", "suspended"]
    await settled(platform)
    assert await state_of(platform, key) == "CREDIT_DEPLETED"
    assert await told(platform, key) == [("SuspendAccount", "CREDIT_DEPLETED")]
    await review_accounts(platform.gateway)
    (entry,) = [one for one in await platform.trail(key, "acme") if one["method"].endswith("/SuspendAccount")]
    assert (entry["resource"], entry["isAdminAction"]) == ("accounts/acme", False)
    assert entry["principal"].startswith("embergate/")
    assert entry["message"] == "suspendState is CREDIT_DEPLETED, was UNSUSPENDED"


async def test_accounts_are_filtered_by_it(platform: Platform, key: str) -> None:
    await call(platform, demand(1), 20)
    await settled(platform)
    for state, names in (("CREDIT_DEPLETED", ["accounts/acme"]), ("UNSUSPENDED", [])):
        answer = await platform.call(key, "GET", "/v1/accounts", params={"filter": f"suspend_state={state}"})
        assert [account["name"] for account in answer.json()["accounts"]] == names


async def test_redeemed_credit_lifts_it_at_once(platform: Platform, key: str) -> None:
    await call(platform, demand(1), 20)
    await settled(platform)
    assert await call(platform, demand(2)) == "suspended"  # and so it is remembered
    await make_code(platform)
    answer = await platform.call(
        key, "POST", "/v1/creditCodes:redeem", json={"code": "WELCOME", "name": "accounts/acme"}
    )
    assert answer.status_code == 200, answer.text
    assert await call(platform, demand(3)) == "answered"
    assert await state_of(platform, key) == "UNSUSPENDED"
    assert await told(platform, key) == [("SuspendAccount", "CREDIT_DEPLETED"), ("UnsuspendAccount", "UNSUSPENDED")]


async def test_credit_in_another_currency_lifts_nothing(platform: Platform, key: str) -> None:
    await call(platform, demand(1), 20)
    await settled(platform)
    await make_code(platform, amount={"currencyCode": "EUR", "units": "5"})
    await platform.call(key, "POST", "/v1/creditCodes:redeem", json={"code": "WELCOME", "name": "accounts/acme"})
    assert await call(platform, demand(3)) == "suspended"
    assert await state_of(platform, key) == "CREDIT_DEPLETED"


async def test_monthly_limit_suspends_until_it_is_raised_or_the_month_ends(platform: Platform) -> None:
    await set_up(platform, billing=Billing.POSTPAID)
    key = await platform.add_key("acme", "admin")
    with time_machine.travel(datetime.fromisoformat("2026-02-28T23:59:00+00:00"), tick=False) as clock:
        await limit_to(platform, 1)
        assert [await call(platform, demand(number), 2 * QUARTER - 2) for number in range(3)] == [
            "answered",
            "answered",
            "suspended",
        ]
        await settled(platform)
        assert await state_of(platform, key) == "MONTHLY_SPEND_LIMIT_EXCEEDED"
        clock.shift(1)  # entries of one moment are in no order
        await limit_to(platform, 2)
        clock.shift(1)
        assert await call(platform, demand(4), 4 * QUARTER - 4) == "answered"
        await settled(platform)
        clock.move_to(datetime.fromisoformat("2026-03-01T00:00:00+00:00"))
        platform.gateway.meter.forget()
        assert await call(platform, demand(5)) == "answered"  # not even the upkeep is waited for
        await settled(platform)
    with time_machine.travel(datetime.fromisoformat("2026-03-01T00:01:00+00:00"), tick=False):
        await review_accounts(platform.gateway)
        assert await state_of(platform, key) == "UNSUSPENDED"
        entries = await platform.trail(key, "acme", startTime="2026-02-01T00:00:00Z")
    assert [one["payload"]["suspendState"] for one in reversed(entries) if "uspend" in one["method"]] == [
        "MONTHLY_SPEND_LIMIT_EXCEEDED",
        "UNSUSPENDED",
        "MONTHLY_SPEND_LIMIT_EXCEEDED",
        "UNSUSPENDED",
    ]


async def test_upkeep_finds_what_a_process_that_died_left_undone(
    platform: Platform, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        await platform.add_account(f"other-{number}")
    with monkeypatch.context() as died:
        died.setattr(AccountWatch, "notice", lambda *_: None)
        await call(platform, demand(1), 20)
    assert await state_of(platform, key) == "UNSUSPENDED"
    monkeypatch.setattr(suspension, "PAGE_SIZE", 2)  # acme is not on the last page
    await review_accounts(platform.gateway)
    assert await told(platform, key) == [("SuspendAccount", "CREDIT_DEPLETED")]


@pytest.mark.parametrize("state", [SuspendState.BLOCKED_BY_ABUSE_RULE, SuspendState.FAILED_PAYMENTS])
async def test_what_an_operator_says_stands(platform: Platform, key: str, state: SuspendState) -> None:
    async with platform.database.writing() as db:
        await db.execute(update(AccountRow).where(AccountRow.id == "acme").values(suspend_state=state))
    await make_code(platform)
    answer = await platform.call(
        key, "POST", "/v1/creditCodes:redeem", json={"code": "WELCOME", "name": "accounts/acme"}
    )
    assert answer.status_code == 200
    await review_accounts(platform.gateway)
    assert await state_of(platform, key) == state
    assert await told(platform, key) == []


async def test_unblocked_account_stays_suspended_if_its_credit_is_used_up(platform: Platform, key: str) -> None:
    operator = gateway_of_operator(platform)
    async with act(operator, "BlockAccount", "acme") as one:
        await accounts.block(one)
    async with act(operator, "UnblockAccount", "acme") as one:
        assert (await accounts.unblock(one)).suspend_state is SuspendState.UNSUSPENDED
    await call(platform, demand(1), 20)
    await settled(platform)
    async with act(operator, "BlockAccount", "acme") as one:
        await accounts.block(one)
    async with act(operator, "UnblockAccount", "acme") as one:
        assert (await accounts.unblock(one)).suspend_state is SuspendState.CREDIT_DEPLETED
    assert await state_of(platform, key) == "CREDIT_DEPLETED"


@pytest.mark.parametrize("state", SuspendState)
async def test_inference_answers_412_while_suspended(platform: Platform, state: SuspendState) -> None:
    is_prepaid = state is SuspendState.CREDIT_DEPLETED
    await set_up(platform, billing=Billing.PREPAID if is_prepaid else Billing.POSTPAID)
    key = await platform.add_key("acme", "admin")
    serve_fake(platform)
    if state is SuspendState.MONTHLY_SPEND_LIMIT_EXCEEDED:
        await limit_to(platform, 1)
        await call(platform, demand(), NANOS_PER_UNIT // PRICE_NANOS)
        await settled(platform)
    elif not is_prepaid:
        async with platform.database.writing() as db:
            await db.execute(update(AccountRow).where(AccountRow.id == "acme").values(suspend_state=state))
    platform.gateway.meter.forget()
    answer = await embed(platform, key)
    if state is SuspendState.UNSUSPENDED:
        assert answer.status_code == 200, answer.text
        return
    assert answer.status_code == 412
    error = answer.json()["error"]
    assert error["code"] == "PRECONDITION_FAILED"
    assert f"the account is suspended ({state.value})" in error["message"]


async def test_block_and_unblock_reach_another_process_within_a_second(platform: Platform, database_url: str) -> None:
    await set_up(platform, billing=Billing.POSTPAID)
    key = await platform.add_key("acme", "admin")
    serve_fake(platform)
    assert (await embed(platform, key)).status_code == 200
    operator_database = Database.open(database_url)
    operator = Platform(operator_database)
    for change, status in ((accounts.block, 412), (accounts.unblock, 200)):
        async with act(gateway_of_operator(operator), "Change", "acme") as one:
            await change(one)
        await asyncio.sleep(1.0)
        assert (await embed(platform, key)).status_code == status
    await operator.close()
    await operator_database.close()


@on_postgresql_only
async def test_charges_redemptions_and_reviews_at_once_never_wait_for_each_other_in_a_circle(
    platform: Platform,
) -> None:
    await set_up(platform, credit_nanos=20 * COST_NANOS)
    key = await platform.add_key("acme", "admin")
    for number in range(8):
        await make_code(platform, f"CODE-{number}", maxRedemptions=9)

    async def redeem(number: int) -> httpx2.Response:
        body = {"code": f"CODE-{number}", "name": "accounts/acme"}
        return await platform.call(key, "POST", "/v1/creditCodes:redeem", json=body)

    async def redeem_all() -> list[httpx2.Response]:
        return await asyncio.gather(*(redeem(number) for number in range(8)))

    async def charge_all() -> None:
        await asyncio.gather(*(call(platform, demand(number)) for number in range(60)))

    async def review_often() -> None:
        await asyncio.gather(*(platform.gateway.reviews.review_one("acme") for _ in range(20)))

    answers, _, _ = await asyncio.gather(redeem_all(), charge_all(), review_often())
    assert [answer.status_code for answer in answers] == [200] * 8
    await settled(platform)
    assert await state_of(platform, key) == "UNSUSPENDED"
