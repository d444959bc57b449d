"""Dry runs over HTTP: what they tell, and that they leave nothing behind."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest
from sqlalchemy import update

from embergate.engine.tokenization import MAX_CHARACTERS
from embergate.gateway.accounts.schemas import SuspendState
from embergate.gateway.usage.standing import Billing
from embergate.storage.tables.accounts import AccountRow
from tests.integration.gateway.platform import Platform, on_sqlite_only
from tests.integration.gateway.test_call_limits import LEFT_REQUESTS, LEFT_TOKENS, limit
from tests.integration.gateway.test_limit_headers import embed, limits_in, served, tokens_of
from tests.integration.gateway.test_metering import charged, set_up

__all__ = ["served"]
DRY = {"x-embergate-dry-run": "true"}
pytestmark = on_sqlite_only


@pytest.fixture
async def key(platform: Platform) -> str:
    await set_up(platform, billing=Billing.POSTPAID)
    return await platform.add_key("acme", "admin")


async def dry(platform: Platform, key: str, *texts: Any) -> dict[str, Any]:
    answer = await embed(platform, key, *texts, **DRY)
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-embergate-dry-run"] == "true"
    told: dict[str, Any] = answer.json()
    return told


async def test_it_tells_tokens_price_and_cost_and_leaves_nothing_behind(platform: Platform, key: str) -> None:
    told = await dry(platform, key, "the fox", "the fox and the hound")
    assert await charged(platform) == (0, 0)
    run = await embed(platform, key, "the fox", "the fox and the hound")
    tokens = tokens_of(run)
    assert (told["prompt_tokens"], told["cost_nanos"], told["price_nanos_per_token"]) == (tokens, 8 * tokens, 8)
    assert told["cost"] == {"currencyCode": "USD", "units": "0", "nanos": 8 * tokens}
    assert told["price_per_million_tokens"] == {"currencyCode": "USD", "units": "0", "nanos": 8_000_000}
    assert sum(one["tokens"] for one in told["inputs"]) == tokens
    assert [(one["index"], one["is_too_long"]) for one in told["inputs"]] == [(0, False), (1, False)]
    assert (told["object"], told["model"], told["refusal"]) == ("embedding.dry_run", "fireworks/tiny", None)
    assert told["limits"] == {"requests": None, "tokens_prompt": None}
    assert told["expected_queue_wait_s"] == 0.0
    assert await charged(platform) == (1, 8 * tokens)


async def test_it_names_inputs_that_are_too_long(platform: Platform, key: str) -> None:
    told = await dry(platform, key, "the fox", "fox " * 2000, "x" * (MAX_CHARACTERS + 1))
    most = told["max_input_tokens"]
    assert [one["is_too_long"] for one in told["inputs"]] == [False, True, True]
    assert told["inputs"][1]["tokens"] > most
    assert told["inputs"][2]["tokens"] is None
    assert told["refusal"] == {
        "status": 400,
        "code": "INVALID_REQUEST",
        "message": f"input[1], and 1 more are longer than this model's limit of {most} tokens",
    }
    answer = await embed(platform, key, "the fox", "fox " * 2000)
    assert f"input[1] is {told['inputs'][1]['tokens']} tokens long" in answer.json()["error"]["message"]


async def test_token_ids_are_counted_as_they_would_run(platform: Platform, key: str) -> None:
    told = await dry(platform, key, [5, 6, 7], [5] * 3000)
    assert told["inputs"][1]["is_too_long"]
    assert told["inputs"][0]["tokens"] == tokens_of(await embed(platform, key, [5, 6, 7]))
    answer: httpx2.Response = await embed(platform, key, [10**6], **DRY)
    assert answer.status_code == 400


async def test_it_counts_as_a_request_and_takes_no_tokens(platform: Platform, key: str) -> None:
    await limit(platform, requests_per_minute=4, prompt_tokens_per_minute=1000)
    for left in (3, 2):
        told = await dry(platform, key, "the fox")
        assert told["limits"] == {
            "requests": {"limit": 4, "remaining": left},
            "tokens_prompt": {"limit": 1000, "remaining": 1000},
        }
    answer = await embed(platform, key, "the fox")
    after = await embed(platform, key, "the fox", **DRY)
    assert limits_in(after) == {**limits_in(answer), LEFT_REQUESTS: "0", LEFT_TOKENS: str(1000 - tokens_of(answer))}
    assert (await embed(platform, key, "the fox", **DRY)).status_code == 429


async def test_it_tells_that_tokens_are_used_up(platform: Platform, key: str) -> None:
    tokens = tokens_of(await embed(platform, key, "the fox"))
    await limit(platform, prompt_tokens_per_minute=2 * tokens - 1)
    assert (await dry(platform, key, "the fox"))["refusal"] is None
    await embed(platform, key, "the fox")
    assert (await dry(platform, key, "the fox"))["refusal"]["code"] == "RATE_LIMIT_EXCEEDED"


async def test_blocked_account_is_told_nothing(platform: Platform, key: str) -> None:
    async with platform.database.writing() as db:
        await db.execute(update(AccountRow).values(suspend_state=SuspendState.BLOCKED_BY_ABUSE_RULE))
    answer = await embed(platform, key, "the fox", **DRY)
    assert (answer.status_code, answer.json()["error"]["code"]) == (412, "PRECONDITION_FAILED")


async def test_it_tells_what_credit_does_not_pay(platform: Platform) -> None:
    await set_up(platform, credit_nanos=8)
    key = await platform.add_key("acme", "admin")
    refusal = (await dry(platform, key, "the fox"))["refusal"]
    assert (refusal["status"], refusal["code"]) == (412, "PRECONDITION_FAILED")
    assert "CREDIT_DEPLETED" in refusal["message"]


async def test_header_says_true_or_false(platform: Platform, key: str) -> None:
    assert "embedding" in (await embed(platform, key, "the fox", **{"x-embergate-dry-run": "false"})).text
    wrong = await embed(platform, key, "the fox", **{"x-embergate-dry-run": "1"})
    assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "x-embergate-dry-run")
