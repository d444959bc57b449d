"""Limits over HTTP: what every answer of the inference plane tells of them, and what a refusal looks like."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest

from embergate.clock import now
from embergate.engine.registry import ServedModel
from embergate.storage.database import Database
from tests.integration.gateway.platform import Platform, on_sqlite_only
from tests.integration.gateway.test_call_limits import LEFT_REQUESTS, LEFT_TOKENS, LIMIT_REQUESTS, LIMIT_TOKENS, limit
from tests.loaded import fake_model

PATHS = ["/v1/embeddings", "/inference/v1/embeddings"]
pytestmark = on_sqlite_only


@pytest.fixture
async def key(platform: Platform) -> str:
    return await platform.add_account("acme")


@pytest.fixture(autouse=True)
def served(platform: Platform, tmp_path: Path) -> Iterator[None]:
    model = fake_model(tmp_path / "tiny")
    platform.deps.registry.add(ServedModel("fireworks", "tiny", model, now(), list_price_nanos=8))
    yield
    platform.deps.registry.close()


async def embed(platform: Platform, key: str, *texts: Any, path: str = PATHS[0], **headers: str) -> httpx2.Response:
    body = {"model": "fireworks/tiny", "input": list(texts)}
    async with platform.client(key, **headers) as client:
        return await client.post(path, json=body)


def limits_in(response: httpx2.Response) -> dict[str, str]:
    return {name: value for name, value in response.headers.items() if name.startswith("x-ratelimit")}


def tokens_of(response: httpx2.Response) -> int:
    num_tokens: int = response.json()["usage"]["prompt_tokens"]
    return num_tokens


async def test_answers_say_nothing_of_limits_that_there_are_not(platform: Platform, key: str) -> None:
    assert limits_in(await embed(platform, key, "the fox")) == {}


@pytest.mark.parametrize("path", PATHS)
async def test_answers_tell_what_is_left_until_nothing_is(platform: Platform, key: str, path: str) -> None:
    await limit(platform, requests_per_minute=2, prompt_tokens_per_minute=1000)
    for left in (1, 0):
        answer = await embed(platform, key, "the fox", path=path)
        assert answer.status_code == 200
        assert limits_in(answer) == {
            LIMIT_REQUESTS: "2",
            LEFT_REQUESTS: str(left),
            LIMIT_TOKENS: "1000",
            LEFT_TOKENS: str(1000 - (2 - left) * tokens_of(answer)),
        }
    refusal = await embed(platform, key, "the fox", path=path)
    assert refusal.status_code == 429
    told = limits_in(answer) | {"x-ratelimit-over-limit": "yes"}
    assert limits_in(refusal) == told
    assert 55 <= int(refusal.headers["retry-after"]) <= 61
    error: dict[str, Any] = refusal.json()["error"]
    assert (error["code"], error["type"]) == ("RATE_LIMIT_EXCEEDED", "error")
    assert "2 requests a minute that the quota serverless-requests-per-minute gives the account" in error["message"]


async def test_request_that_is_not_valid_costs_no_tokens(platform: Platform, key: str) -> None:
    await limit(platform, prompt_tokens_per_minute=1000)
    tokens = tokens_of(await embed(platform, key, "the fox"))
    assert (await embed(platform, key, "")).status_code == 400
    assert limits_in(await embed(platform, key, "the fox"))[LEFT_TOKENS] == str(1000 - 2 * tokens)


async def test_request_that_never_fits_is_a_400(platform: Platform, key: str) -> None:
    await limit(platform, prompt_tokens_per_minute=1)
    answer = await embed(platform, key, "the fox and the hound")
    assert answer.status_code == 400
    assert "it never fits" in answer.json()["error"]["message"]


async def test_failures_of_calls_that_were_let_in_tell_of_limits_too(platform: Platform, key: str) -> None:
    await limit(platform, requests_per_minute=3, prompt_tokens_per_minute=2000)
    too_long = await embed(platform, key, "fox " * 1500)
    assert too_long.status_code == 400
    assert limits_in(too_long) == {LIMIT_REQUESTS: "3", LEFT_REQUESTS: "2"}


async def test_answer_whose_charge_takes_longer_than_a_request_may_is_given(
    platform: Platform, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform.deps, "limits", replace(platform.deps.limits, timeout_s=0.2))
    write = Database.write

    async def slow(*arguments: Any) -> Any:
        await asyncio.sleep(0.4)
        return await write(*arguments)

    monkeypatch.setattr(Database, "write", slow)
    assert (await embed(platform, key, "the fox")).status_code == 200
