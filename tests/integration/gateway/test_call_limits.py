"""Limits of calls, by the meter itself, on both databases: what is refused, what is given back, what is told."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest
from sqlalchemy import delete

from embergate.clock import now
from embergate.errors import InvalidRequestError, RateLimitedError, SuspendedError, UnavailableError
from embergate.gateway.usage.standing import Billing
from embergate.storage.database import Database
from embergate.storage.tables.accounts import QuotaRow
from tests.integration.gateway.platform import Platform
from tests.integration.gateway.test_metering import ADMIN, call, demand, set_up

OTHER = "accounts/fireworks/models/bge-base-en-v1-5"
LIMIT_REQUESTS, LEFT_REQUESTS = "x-ratelimit-limit-requests", "x-ratelimit-remaining-requests"
LIMIT_TOKENS, LEFT_TOKENS = "x-ratelimit-limit-tokens-prompt", "x-ratelimit-remaining-tokens-prompt"


async def limit(platform: Platform, **quotas: int) -> None:
    """Give the account quotas, `requests_per_minute` meaning `serverless-requests-per-minute`."""
    async with platform.database.writing() as db:
        await db.execute(delete(QuotaRow))
        for name, value in quotas.items():
            id_ = name.replace("_", "-")
            id_ = id_ if id_.startswith("concurrent") else f"serverless-{id_}"
            db.add(QuotaRow(account_id="acme", id=id_, value=value, max_value=value, update_time=now()))
    platform.gateway.meter.forget()


@pytest.fixture
async def account(platform: Platform) -> None:
    await set_up(platform, billing=Billing.POSTPAID)


pytestmark = pytest.mark.usefixtures("account")


async def told(platform: Platform, tokens: int = 10, **changes: Any) -> dict[str, str]:
    """Make one call; return the headers of its answer."""
    async with platform.gateway.meter.open(demand(**changes)) as tab:
        await tab.reserve([tokens])
        await tab.settle()
    return dict(tab.headers)


async def test_without_a_quota_nothing_is_limited_and_nothing_told(platform: Platform) -> None:
    assert await told(platform) == {}


async def test_so_many_requests_a_minute_are_let_in_whoever_comes_together(platform: Platform) -> None:
    await limit(platform, requests_per_minute=30)

    async def one(number: int) -> str:
        try:
            return await call(platform, demand(number))
        except RateLimitedError:
            return "limited"

    assert Counter(await asyncio.gather(*(one(number) for number in range(80)))) == {"answered": 30, "limited": 50}


async def test_refusal_says_which_limit_it_is_what_is_left_and_when_to_come_again(platform: Platform) -> None:
    await limit(platform, requests_per_minute=5, requests_per_minute_per_model=2, prompt_tokens_per_minute=100)
    assert await told(platform, 60) == {
        LIMIT_REQUESTS: "2",
        LEFT_REQUESTS: "1",
        LIMIT_TOKENS: "100",
        LEFT_TOKENS: "40",
    }
    with pytest.raises(RateLimitedError) as tokens:
        await told(platform, 41)
    assert tokens.value.code == "RATE_LIMIT_EXCEEDED"
    assert tokens.value.message == (
        "rate limit reached: the 100 prompt tokens a minute that the quota serverless-prompt-tokens-per-minute gives the "
        "account; 40 left, 41 needed"
    )
    assert tokens.value.headers == {
        LIMIT_REQUESTS: "2",
        LEFT_REQUESTS: "0",
        LIMIT_TOKENS: "100",
        LEFT_TOKENS: "40",
        "x-ratelimit-over-limit": "yes",
    }
    assert 50 < tokens.value.retry_after_s <= 60.06
    with pytest.raises(RateLimitedError, match="serverless-requests-per-minute-per-model gives this model") as requests:
        await told(platform)
    assert requests.value.headers[LEFT_REQUESTS] == "0"
    # The other model has a window of its own, the account one of all.
    assert (await told(platform, model=OTHER))[LEFT_REQUESTS] == "1"


async def test_each_key_has_its_own_window_and_a_session_that_of_its_user(platform: Platform) -> None:
    await limit(platform, requests_per_minute_per_key=1)
    first, second = ADMIN, type(ADMIN)("acme", "admin", ADMIN.email, ADMIN.role, key_id="key_2")
    session = type(ADMIN)("acme", "admin", ADMIN.email, ADMIN.role, session_id="s")
    for caller in (first, second, session):
        await told(platform, caller=caller)
        with pytest.raises(RateLimitedError, match="gives this API key"):
            await told(platform, caller=caller)


async def test_more_tokens_than_ever_fit_are_no_matter_of_waiting(platform: Platform) -> None:
    await limit(platform, prompt_tokens_per_minute_per_model=100)
    with pytest.raises(
        InvalidRequestError, match=r"needs 101 of the 100 prompt tokens a minute .* this model: it never"
    ):
        await told(platform, 101)
    assert (await told(platform, 100))[LEFT_TOKENS] == "0"


async def test_tokens_of_a_call_that_fails_or_whose_client_leaves_are_given_back(platform: Platform) -> None:
    await limit(platform, prompt_tokens_per_minute=10, concurrent_requests=1)

    async def leave() -> None:
        async with platform.gateway.meter.open(demand()) as tab:
            await tab.reserve([10])
            await asyncio.sleep(60)

    task = asyncio.create_task(leave())
    await asyncio.sleep(0.05)
    with pytest.raises(RateLimitedError, match="the 1 requests at once that the quota concurrent-requests lets"):
        await told(platform)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await told(platform))[LEFT_TOKENS] == "0"
    with pytest.raises(RateLimitedError, match="0 left, 10 needed"):
        await told(platform)


async def test_tokens_of_a_charge_that_is_not_written_are_given_back(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    await limit(platform, prompt_tokens_per_minute=10)

    async def fail(*_: object) -> None:
        raise UnavailableError

    with monkeypatch.context() as broken:
        broken.setattr(Database, "write", fail)
        with pytest.raises(UnavailableError):
            await told(platform)
    assert (await told(platform))[LEFT_TOKENS] == "0"


async def test_call_that_credit_does_not_pay_takes_no_tokens(platform: Platform) -> None:
    await limit(platform, prompt_tokens_per_minute=20)
    async with platform.database.writing() as db:
        db.add(QuotaRow(account_id="acme", id="monthly-spend-usd", value=1, max_value=1, update_time=now()))
    platform.gateway.meter.forget()
    with pytest.raises(SuspendedError):
        await told(platform, 20, list_price_nanos=10**9)
    assert (await told(platform, 20))[LEFT_TOKENS] == "0"


async def test_default_counts_where_the_account_has_no_quota_of_its_own(database: Database) -> None:
    platform = Platform(database, quotas={"serverless-requests-per-minute": 1})
    assert (await told(platform))[LEFT_REQUESTS] == "0"
    with pytest.raises(RateLimitedError):
        await told(platform)
    await limit(platform, requests_per_minute=2)
    assert (await told(platform))[LEFT_REQUESTS] == "0"
    await platform.close()
