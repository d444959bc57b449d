"""Prices and pricing plans, on both databases: what is set, what is refused, and that a bill keeps the price of its moment."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine

from embergate.aip.errors import InvalidArgumentError
from embergate.aip.message import parse_message
from embergate.app.operating import act
from embergate.clock import now
from embergate.errors import AlreadyExistsError, FailedPreconditionError, NotFoundError
from embergate.gateway.billing.schemas import BillingType, PricingPlan
from embergate.gateway.prices import service as prices
from embergate.gateway.pricing_plans import service as plans
from embergate.gateway.pricing_plans import store
from embergate.gateway.usage.prices import Plan, Price, price_of
from embergate.gateway.usage.standing import Billing
from tests.integration.gateway.operating import gateway_of_operator
from tests.integration.gateway.platform import Platform, on_sqlite_only
from tests.integration.gateway.test_metering import MODEL, call, demand, set_up

HUB_ID = "sentence-transformers/all-MiniLM-L6-v2"
PLANS = "/v1/accounts/acme/pricingPlans"
NOON = datetime(2026, 8, 1, 12, tzinfo=UTC)


async def set_price(
    platform: Platform, nanos: int | None, start_time: datetime | None = None, model: str = HUB_ID
) -> None:
    async with act(gateway_of_operator(platform), "SetPrice") as one:
        await prices.set_price(one, model, nanos, start_time)
    platform.gateway.meter.forget()


def usd(nanos: int) -> dict[str, Any]:
    """Return the price of a million tokens, of which one costs so much."""
    units, rest = divmod(nanos * 10**6, 10**9)
    return {"currencyCode": "USD", "units": str(units), "nanos": rest}


def plan_of(nanos: int = 4, cached_nanos: int | None = None, **fields: Any) -> dict[str, Any]:
    config = {
        "baseModelName": HUB_ID,
        "inputTokenPricePerMillion": usd(nanos),
        "outputTokenPricePerMillion": usd(0),
        "cachedInputTokenPricePerMillion": None if cached_nanos is None else usd(cached_nanos),
    }
    return {"billingType": "TOKEN_USAGE", "tokenConfig": [config], **fields}


async def make_plan(platform: Platform, plan_id: str = "cheap", **fields: Any) -> PricingPlan:
    async with act(gateway_of_operator(platform), "CreatePricingPlan", "acme") as one:
        made = await plans.create(one, plan_id, parse_message(PricingPlan, plan_of(**fields)))
    platform.gateway.meter.forget()
    return made


async def end_plan(platform: Platform, plan_id: str = "cheap", end_time: datetime | None = None) -> PricingPlan:
    async with act(gateway_of_operator(platform), "EndPricingPlan", "acme") as one:
        ended = await plans.end(one, plan_id, end_time)
    platform.gateway.meter.forget()
    return ended


async def bill(platform: Platform, key: str) -> list[tuple[float, int]]:
    """Return the lines of the bill: quantity, and price in nanos a token."""
    days = {"startTime": "2026-08-01T00:00:00Z", "endTime": "2026-08-02T00:00:00Z"}
    answer = await platform.call(key, "GET", "/v1/accounts/acme/billing/summary", params=days)
    assert answer.status_code == 200, answer.text
    return [
        (line["quantity"], (int(line["unitAmount"]["units"]) * 10**9 + line["unitAmount"]["nanos"]) // 10**6)
        for line in answer.json()["lineItems"]
    ]


@pytest.fixture
async def key(platform: Platform) -> str:
    await set_up(platform, billing=Billing.POSTPAID)
    return await platform.add_key("acme", "admin")


async def test_bill_keeps_the_price_that_was_in_force_at_each_moment(platform: Platform, key: str) -> None:
    with time_machine.travel(NOON, tick=False) as clock:
        await call(platform, demand(), 1)
        await set_price(platform, 20)
        await call(platform, demand(), 2)
        await set_price(platform, 30, NOON + timedelta(minutes=5))
        await call(platform, demand(), 4)
        clock.shift(300)
        await call(platform, demand(), 8)
        await make_plan(platform)
        await call(platform, demand(), 16)
        clock.shift(1)
        await end_plan(platform)
        await call(platform, demand(), 32)
        await set_price(platform, None)
        await call(platform, demand(), 64)
        assert await bill(platform, key) == [(0.000016, 4), (0.000065, 8), (0.000006, 20), (0.00004, 30)]


async def test_call_pays_the_price_of_its_reservation(platform: Platform, key: str) -> None:
    with time_machine.travel(NOON, tick=False):
        async with platform.gateway.meter.open(demand()) as tab:
            await tab.reserve([10])
            await set_price(platform, 20)
            await tab.settle()
        assert await bill(platform, key) == [(0.00001, 8)]


@on_sqlite_only
async def test_price_of_a_batch_and_of_cached_input_is_half(platform: Platform, key: str) -> None:
    await make_plan(platform, nanos=4, cached_nanos=2)
    async with platform.database.reading() as db:
        (plan,) = await store.of_type(db, "acme", BillingType.TOKEN_USAGE)
    assert price_of(MODEL, now(), list_nanos=8, prices={}, plans=[Plan.of(plan)]) == Price(4, 2)
    assert price_of(MODEL, now(), list_nanos=8, prices={}, plans=[Plan.of(plan)]).for_batch() == Price(2, 2)
    assert price_of(MODEL, now(), list_nanos=8, prices={}, plans=[]) == Price(8, 4)
    assert price_of(MODEL, now(), list_nanos=8, prices={}, plans=[]).for_batch() == Price(4, 4)
    assert price_of("accounts/a/models/other", now(), list_nanos=8, prices={}, plans=[Plan.of(plan)]) == Price(8, 4)


@pytest.mark.parametrize("name", [HUB_ID, MODEL, f"fireworks/{MODEL}", "fireworks/all-minilm-l6-v2"])
async def test_model_goes_by_any_of_its_names(platform: Platform, key: str, name: str) -> None:
    await set_price(platform, 20, model=name)
    async with platform.database.reading() as db:
        (row,) = await prices.list_prices(db, HUB_ID)
    assert (row.model, row.price_nanos) == (MODEL, 20)


@on_sqlite_only
@pytest.mark.parametrize(
    "name", ["", "org/name", "./folder", "accounts/acme/models/", "accounts/a/models/b/c", "minilm"]
)
async def test_model_that_is_not_named_well_is_refused(platform: Platform, name: str) -> None:
    with pytest.raises(InvalidArgumentError, match="model: "):
        await set_price(platform, 20, model=name)


@on_sqlite_only
async def test_price_that_began_in_the_past_is_refused(platform: Platform) -> None:
    with pytest.raises(InvalidArgumentError, match="it has passed"):
        await set_price(platform, 20, now() - timedelta(seconds=1))


async def test_prices_are_listed_with_the_one_in_force(platform: Platform) -> None:
    await set_price(platform, 20)
    await set_price(platform, 30)
    await set_price(platform, 40, now() + timedelta(days=1))
    async with platform.database.reading() as db:
        found = await prices.list_prices(db)
    assert [row.price_nanos for row in found] == [40, 30, 20]
    assert [row.price_nanos for row in found if row.id in prices.in_force(found, now())] == [30]


async def test_plans_are_listed_and_described(platform: Platform, key: str) -> None:
    await make_plan(platform, startTime="2126-08-01T00:00:00Z", endTime="2126-09-01T00:00:00Z")
    await make_plan(platform, "next", startTime="2126-09-01T00:00:00Z")
    listed = (await platform.call(key, "GET", PLANS)).json()
    assert [plan["name"] for plan in listed["pricingPlans"]] == [
        f"accounts/acme/pricingPlans/{plan_id}" for plan_id in ("cheap", "next")
    ]
    assert listed["totalSize"] == 2
    described = (await platform.call(key, "GET", f"{PLANS}/cheap")).json()
    assert described == {
        "name": "accounts/acme/pricingPlans/cheap",
        "billingType": "TOKEN_USAGE",
        "tokenConfig": [
            {
                "baseModelName": MODEL,
                "inputTokenPricePerMillion": usd(4),
                "outputTokenPricePerMillion": usd(0),
                "uncachedInputTokenPricePerMillion": None,
                "cachedInputTokenPricePerMillion": None,
            }
        ],
        "acceleratorHourConfig": [],
        "startTime": "2126-08-01T00:00:00Z",
        "endTime": "2126-09-01T00:00:00Z",
        "createTime": described["createTime"],
        "updateTime": described["updateTime"],
        "state": "READY",
    }
    filtered = await platform.call(key, "GET", PLANS, params={"filter": 'end_time > "2126-08-15T00:00:00Z"'})
    assert [plan["name"][-5:] for plan in filtered.json()["pricingPlans"]] == ["cheap"]
    missing = await platform.call(key, "GET", f"{PLANS}/none")
    assert (missing.status_code, missing.json()["code"]) == (404, 5)
    stranger = await platform.add_account("other")
    for path in (PLANS, f"{PLANS}/cheap"):
        assert (await platform.call(stranger, "GET", path)).status_code == 403


async def test_plans_of_one_type_are_in_force_one_at_a_time(platform: Platform, key: str) -> None:
    await make_plan(platform)
    with pytest.raises(FailedPreconditionError, match="cheap is in force in that time"):
        await make_plan(platform, "other")
    hours = [{"acceleratorType": "NVIDIA_L4_24GB", "acceleratorHourPrice": {"currencyCode": "USD", "units": "7"}}]
    await make_plan(platform, "hours", billingType="ACCELERATOR_HOURS", tokenConfig=[], acceleratorHourConfig=hours)
    await end_plan(platform)
    with pytest.raises(AlreadyExistsError):
        await make_plan(platform)
    await make_plan(platform, "other", startTime="2126-08-01T00:00:00Z")
    assert (await end_plan(platform, "other")).end_time == datetime(2126, 8, 1, tzinfo=UTC)  # it never begins
    with pytest.raises(FailedPreconditionError, match="ends before that"):
        await end_plan(platform)
    with pytest.raises(NotFoundError):
        await end_plan(platform, "none")


@on_sqlite_only
@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"startTime": "2020-01-01T00:00:00Z"}, "startTime: it has passed"),
        ({"startTime": "2126-01-01T00:00:00Z", "endTime": "2126-01-01T00:00:00Z"}, "must be after startTime"),
        ({"tokenConfig": []}, "tokenConfig: a plan for TOKEN_USAGE needs a price"),
        ({"tokenConfig": plan_of()["tokenConfig"] * 2}, "has two prices"),
        ({"billingType": "ACCELERATOR_HOURS"}, "acceleratorHourConfig: a plan for ACCELERATOR_HOURS needs a price"),
        ({"billingType": "BILLING_TYPE_UNSPECIFIED"}, "billingType"),
        ({"nanos": 3}, "a multiple of 0.002 USD"),
        ({"cached_nanos": 3}, "a multiple of 0.002 USD"),
    ],
)
async def test_bad_plan_is_told_what_is_wrong(
    platform: Platform, key: str, fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        await make_plan(platform, **fields)
