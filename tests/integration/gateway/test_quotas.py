"""Quotas over HTTP, on both databases: what they are, who may change them, and that they count at once."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from embergate.aip.scalars import MAX_INT64
from embergate.clock import now
from embergate.errors import RateLimitedError, SuspendedError
from embergate.gateway.quotas.known import KNOWN
from embergate.gateway.usage.standing import Billing, standings
from embergate.storage.database import Database
from embergate.web.caller import Role
from tests.integration.gateway.platform import Platform
from tests.integration.gateway.test_metering import call, demand, set_up

QUOTAS = "/v1/accounts/acme/quotas"
REQUESTS = "serverless-requests-per-minute"
NONE = str(MAX_INT64)


@pytest.fixture
async def admin(platform: Platform) -> str:
    await set_up(platform, billing=Billing.POSTPAID)
    return await platform.add_key("acme", "admin")


@pytest.fixture
async def operator(platform: Platform, admin: str) -> str:
    return await platform.add_user("acme", "root", Role.USER, is_operator=True)


async def quota(platform: Platform, key: str, quota_id: str) -> dict[str, Any]:
    answer = await platform.call(key, "GET", f"{QUOTAS}/{quota_id}")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def set_quota(platform: Platform, key: str, quota_id: str, **body: Any) -> dict[str, Any]:
    answer = await platform.call(key, "PATCH", f"{QUOTAS}/{quota_id}", json=body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def listed(platform: Platform, key: str, **query: str) -> list[str]:
    """Return the ids of every page."""
    found: list[str] = []
    token = ""
    while True:
        answer = await platform.call(key, "GET", QUOTAS, params={**query, "pageToken": token})
        assert answer.status_code == 200, answer.text
        found += [one["name"].rpartition("/")[2] for one in answer.json()["quotas"]]
        token = answer.json()["nextPageToken"]
        if not token:
            return found


async def test_every_quota_is_listed_with_the_default_where_the_account_has_none(
    database: Database, platform: Platform, admin: str
) -> None:
    other = Platform(database, quotas={REQUESTS: 60})
    answer = (await other.call(admin, "GET", QUOTAS)).json()
    assert answer["totalSize"] == len(KNOWN)
    by_name = {one["name"]: one for one in answer["quotas"]}
    assert list(by_name) == [f"accounts/acme/quotas/{id_}" for id_ in sorted(KNOWN)]
    assert by_name[f"accounts/acme/quotas/{REQUESTS}"] == {
        "name": f"accounts/acme/quotas/{REQUESTS}",
        "value": "60",
        "maxValue": "60",
        "usage": 0.0,
        "updateTime": None,
    }
    assert by_name["accounts/acme/quotas/monthly-spend-usd"]["value"] == NONE
    assert await quota(other, admin, REQUESTS) == by_name[f"accounts/acme/quotas/{REQUESTS}"]
    await other.close()


async def test_list_is_filtered_ordered_and_paged_like_any_other(platform: Platform, admin: str) -> None:
    await set_quota(platform, admin, REQUESTS, value="60")
    await set_quota(platform, admin, "monthly-spend-usd", value=50)
    assert await listed(platform, admin, filter="value < 100", orderBy="value desc") == [REQUESTS, "monthly-spend-usd"]
    assert await listed(platform, admin, pageSize="2") == sorted(KNOWN)
    assert await listed(platform, admin, filter="update_time:*", pageSize="1") == ["monthly-spend-usd", REQUESTS]
    await call(platform, demand())
    assert REQUESTS in await listed(platform, admin, filter="usage > 0 AND usage < 2", orderBy="usage,update_time")
    masked = (await platform.call(admin, "GET", QUOTAS, params={"readMask": "value", "pageSize": "1"})).json()
    assert masked["quotas"] == [{"value": NONE}]
    assert (await platform.call(admin, "GET", QUOTAS, params={"filter": "colour=red"})).status_code == 400


async def test_usage_is_what_was_charged_in_the_last_minute(platform: Platform, admin: str) -> None:
    for number, model in enumerate(("a", "a", "b")):
        await call(platform, demand(number, model=f"accounts/fireworks/models/{model}"), 10)
    used = {
        id_: (await quota(platform, admin, id_))["usage"] for id_ in (*KNOWN,) if id_.startswith(("serverless", "mon"))
    }
    assert used == {
        REQUESTS: 3.0,
        f"{REQUESTS}-per-model": 2.0,
        f"{REQUESTS}-per-key": 3.0,
        "serverless-prompt-tokens-per-minute": 30.0,
        "serverless-prompt-tokens-per-minute-per-model": 20.0,
        "serverless-prompt-tokens-per-minute-per-key": 30.0,
        "monthly-spend-usd": 240e-9,
    }
    async with platform.gateway.meter.open(demand()):
        assert (await quota(platform, admin, "concurrent-requests"))["usage"] == 1.0
    assert (await quota(platform, admin, "concurrent-requests"))["usage"] == 0.0


async def test_admin_lowers_and_raises_the_value_up_to_the_maximum(
    platform: Platform, admin: str, operator: str
) -> None:
    await set_quota(platform, operator, REQUESTS, maxValue="100")
    changed = await quota(platform, admin, REQUESTS)
    assert (changed["value"], changed["maxValue"]) == ("100", "100")  # what was more is taken down
    assert (await set_quota(platform, admin, REQUESTS, value="7"))["value"] == "7"
    assert (await set_quota(platform, admin, REQUESTS, value="100"))["value"] == "100"
    beyond = await platform.call(admin, "PATCH", f"{QUOTAS}/{REQUESTS}?allowMissing=true", json={"value": "101"})
    assert (beyond.status_code, beyond.json()["code"]) == (400, 3)
    assert "more than the account's maxValue, 100" in beyond.json()["message"]
    for body in ({"maxValue": "101"}, {"value": "1", "maxValue": NONE}):
        refused = await platform.call(admin, "PATCH", f"{QUOTAS}/{REQUESTS}", json=body)
        assert (refused.status_code, refused.json()["message"]) == (
            403,
            "only an operator may change maxValue; ask for it",
        )
    assert (await set_quota(platform, admin, REQUESTS, value="5", maxValue="100"))["value"] == "5"
    raised = await set_quota(platform, operator, REQUESTS, maxValue="1000")
    assert (raised["value"], raised["maxValue"]) == ("5", "1000")
    assert (await platform.call(operator, "PATCH", f"{QUOTAS}/{REQUESTS}", json={"value": -1})).status_code == 400


async def test_user_may_look_and_not_change(platform: Platform, admin: str) -> None:
    user = await platform.add_user("acme", "bob", Role.USER)
    assert await quota(platform, user, REQUESTS) == await quota(platform, admin, REQUESTS)
    assert (await platform.call(user, "PATCH", f"{QUOTAS}/{REQUESTS}", json={"value": "1"})).status_code == 403


async def test_quota_that_there_is_not_is_a_404(platform: Platform, admin: str) -> None:
    for method, options in (("GET", {}), ("PATCH", {"json": {"value": "1"}})):
        answer = await platform.call(admin, method, f"{QUOTAS}/h100-us-iowa-1?allowMissing=true", **options)
        assert answer.status_code == 404
        assert REQUESTS in answer.json()["message"]


async def test_change_counts_at_once(platform: Platform, admin: str) -> None:
    assert await call(platform, demand()) == "answered"
    await set_quota(platform, admin, REQUESTS, value="2")
    assert await call(platform, demand()) == "answered"
    assert await call(platform, demand()) == "answered"
    with pytest.raises(RateLimitedError):
        await call(platform, demand())
    await set_quota(platform, admin, REQUESTS, value="3")
    assert await call(platform, demand()) == "answered"
    await set_quota(platform, admin, "monthly-spend-usd", value="0")
    with pytest.raises(SuspendedError):
        async with platform.gateway.meter.open(demand()):
            pass
    await set_quota(platform, admin, "monthly-spend-usd", value=NONE)
    await set_quota(platform, admin, REQUESTS, value=NONE)
    assert await call(platform, demand()) == "answered"


async def test_change_is_in_the_trail(platform: Platform, admin: str) -> None:
    await set_quota(platform, admin, REQUESTS, value="2")
    entry = (await platform.trail(admin, "acme"))[0]
    assert (entry["method"], entry["resource"]) == ("/gateway.Gateway/UpdateQuota", f"accounts/acme/quotas/{REQUESTS}")


async def test_limit_that_is_reached_suspends_at_once_and_one_that_is_raised_lifts_it(
    platform: Platform, admin: str
) -> None:
    assert await call(platform, demand()) == "answered"
    await set_quota(platform, admin, "monthly-spend-usd", value="0")
    account = (await platform.call(admin, "GET", "/v1/accounts/acme")).json()
    assert account["suspendState"] == "MONTHLY_SPEND_LIMIT_EXCEEDED"
    assert await call(platform, demand(1)) == "suspended"
    await set_quota(platform, admin, "monthly-spend-usd", value="10")
    account = (await platform.call(admin, "GET", "/v1/accounts/acme")).json()
    assert account["suspendState"] == "UNSUSPENDED"
    assert await call(platform, demand(2)) == "answered"


async def test_quotas_that_were_never_set_have_no_time_to_be_filtered_by(platform: Platform, admin: str) -> None:
    assert await listed(platform, admin, filter='updateTime > "2020-01-01T00:00:00Z"') == []
    await set_quota(platform, admin, REQUESTS, value="2")
    assert await listed(platform, admin, filter='updateTime > "2020-01-01T00:00:00Z"') == [REQUESTS]


async def test_update_of_nothing_changes_nothing(platform: Platform, admin: str) -> None:
    before = await quota(platform, admin, REQUESTS)
    assert await set_quota(platform, admin, REQUESTS) == before
    assert await quota(platform, admin, REQUESTS) == before


async def test_largest_number_is_no_monthly_limit(platform: Platform, admin: str) -> None:
    await set_quota(platform, admin, "monthly-spend-usd", value=NONE)
    assert await call(platform, demand()) == "answered"
    async with platform.database.reading() as db:
        found = await (await db.connection()).run_sync(partial(standings, account_ids=["acme"], moment=now()))
    assert found["acme"].monthly_limit_nanos is None
