"""Reranking is counted, charged and limited as embedding is, and told apart from it on every bill."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from embergate.clock import now
from embergate.engine.registry import ServedModel
from embergate.gateway.accounts import store as account_store
from embergate.gateway.billing.export import write_focus
from embergate.gateway.usage.days import ONE_DAY
from embergate.gateway.usage.standing import Billing
from tests.integration.gateway.platform import Platform
from tests.integration.gateway.test_call_limits import LEFT_TOKENS, limit
from tests.integration.gateway.test_metering import charged, set_up
from tests.loaded import fake_model
from tests.random_models import RERANKERS, TEXTS

MODEL = "accounts/fireworks/models/judge"
PRICE_NANOS = 20
DOCUMENTS = ["the fox", "the fox and the hound", "a dog"]


@pytest.fixture(autouse=True)
def served(platform: Platform, tmp_path: Path) -> Iterator[None]:
    for slug, case, price in (("judge", RERANKERS[0], PRICE_NANOS), ("tiny", None, 8)):
        model = fake_model(tmp_path / slug, case=case)
        platform.deps.registry.add(ServedModel("fireworks", slug, model, now(), list_price_nanos=price))
    yield
    platform.deps.registry.close()


@pytest.fixture
async def key(platform: Platform) -> str:
    await set_up(platform, billing=Billing.POSTPAID)
    return await platform.add_key("acme", "admin")


async def rerank(
    platform: Platform, key: str, documents: list[str] = DOCUMENTS, headers: dict[str, str] | None = None
) -> httpx2.Response:
    body = {"model": MODEL, "query": "fox", "documents": documents}
    async with platform.client(key, **(headers or {})) as client:
        return await client.post("/inference/v1/rerank", json=body)


def tokens_of(response: httpx2.Response) -> int:
    assert response.status_code == 200, response.text
    num_tokens: int = response.json()["usage"]["total_tokens"]
    return num_tokens


async def test_pairs_are_charged_by_the_tokens_that_ran_and_billed_as_rerank(platform: Platform, key: str) -> None:
    num_tokens = tokens_of(await rerank(platform, key))
    assert await charged(platform) == (1, PRICE_NANOS * num_tokens)
    embedding = await platform.call(key, "POST", "/v1/embeddings", json={"model": "fireworks/tiny", "input": "fox"})
    assert embedding.status_code == 200
    days = {"startTime": f"{now() - ONE_DAY:%Y-%m-%dT00:00:00Z}", "endTime": f"{now() + ONE_DAY:%Y-%m-%dT00:00:00Z}"}
    lines = (await platform.call(key, "GET", "/v1/accounts/acme/billing/summary", params=days)).json()["lineItems"]
    (line,) = [line for line in lines if line["category"] == "Rerank"]
    assert (line["groupingValue"], line["totalCost"]["nanos"]) == (MODEL, PRICE_NANOS * num_tokens)
    assert {line["category"] for line in lines} == {"Rerank", "Text Embedding"}
    usage = (await platform.call(key, "GET", "/v1/accounts/acme/billingUsage", params=days)).json()["serverlessCosts"]
    assert {(one["modelName"], one["usageType"]) for one in usage} == {
        (MODEL, "RERANK_INFERENCE_USAGE"),
        ("accounts/fireworks/models/tiny", "EMBEDDING_INFERENCE_USAGE"),
    }


async def test_export_names_the_service(platform: Platform, key: str, tmp_path: Path) -> None:
    tokens_of(await rerank(platform, key))
    async with platform.database.reading() as db:
        account = await account_store.get(db, "acme")
        await write_focus(db, account, (now() - ONE_DAY, now() + ONE_DAY), tmp_path / "focus.csv")
    assert "Rerank, accounts/fireworks/models/judge/serverless/input" in (tmp_path / "focus.csv").read_text()


async def test_call_that_is_repeated_by_its_key_is_charged_once(platform: Platform, key: str) -> None:
    named = {"idempotency-key": "call-1"}
    first, second = await rerank(platform, key, headers=named), await rerank(platform, key, headers=named)
    assert first.json() == second.json()
    assert await charged(platform) == (1, PRICE_NANOS * tokens_of(first))
    other = await rerank(platform, key, ["another"], named)
    assert (other.status_code, other.json()["error"]["param"]) == (400, "idempotency-key")


async def test_refused_and_dry_calls_cost_nothing(platform: Platform, key: str) -> None:
    assert (await rerank(platform, key, [TEXTS[11] * 2])).status_code == 400
    dry: dict[str, Any] = (await rerank(platform, key, headers={"x-embergate-dry-run": "true"})).json()
    assert (dry["object"], dry["price_nanos_per_token"]) == ("rerank.dry_run", PRICE_NANOS)
    assert await charged(platform) == (0, 0)
    assert dry["cost_nanos"] == PRICE_NANOS * tokens_of(await rerank(platform, key))


async def test_tokens_count_towards_the_limits_of_the_account(platform: Platform, key: str) -> None:
    await limit(platform, prompt_tokens_per_minute=40)
    answer = await rerank(platform, key)
    assert answer.headers[LEFT_TOKENS] == str(40 - tokens_of(answer))
    assert (await rerank(platform, key)).status_code == 429


async def test_account_without_credit_is_suspended(platform: Platform) -> None:
    await set_up(platform, credit_nanos=PRICE_NANOS)
    key = await platform.add_key("acme", "admin")
    answer = await rerank(platform, key)
    assert (answer.status_code, answer.json()["error"]["code"]) == (412, "PRECONDITION_FAILED")
    assert await charged(platform) == (0, 0)


async def test_policy_that_does_not_allow_the_model_refuses_it(platform: Platform, key: str) -> None:
    patch = {"rules": [{"model": MODEL, "effect": "DENY"}]}
    answer = await platform.call(key, "PATCH", "/v1/accounts/acme/policySettings", json=patch)
    assert answer.status_code == 200, answer.text
    assert (await rerank(platform, key)).status_code == 403
