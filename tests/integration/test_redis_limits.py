"""Limits in a real Redis: what every limiter must do, together with another one; and what happens without it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import pytest
from prometheus_client import CollectorRegistry
from redis import Redis

from embergate.errors import ConfigurationError, RateLimitedError
from embergate.gateway.usage.standing import Billing
from embergate.storage.database import Database
from embergate.web.limits import NUM_TICKS, TICK_MS, Charge, Limit, Limiter
from embergate.web.memory_limits import MemoryLimiter
from embergate.web.redis_limits import RedisLimiter
from embergate.web.redis_metrics import RedisMetrics
from tests.integration.gateway.platform import Platform, on_sqlite_only
from tests.integration.gateway.test_metering import call, demand, set_up
from tests.limiters import (
    CHECKS,
    PLACES,
    TOKENS,
    ManualClock,
    check_many_at_once_are_let_in_exactly_so_many,
    claimed,
    refused,
    settled,
)
from tests.redis_server import RedisServer


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with RedisServer() as started:
        yield started.url


@pytest.fixture
def url(server: str) -> str:
    with Redis.from_url(server) as redis:
        redis.flushall()
    return server


@pytest.fixture
async def limiters(url: str) -> AsyncIterator[list[RedisLimiter]]:
    """Two servers' limiters on one Redis."""
    made = [RedisLimiter(url, lease_s=0.6, timeout_s=30) for _ in range(2)]
    yield made
    for limiter in made:
        await limiter.close()


@pytest.mark.parametrize("check", CHECKS)
async def test_limiter_in_redis(limiters: list[RedisLimiter], check: Callable[[Limiter], Awaitable[None]]) -> None:
    await check(limiters[0])


async def test_two_servers_hold_one_limit_together(limiters: list[RedisLimiter]) -> None:
    await check_many_at_once_are_let_in_exactly_so_many(*limiters)


async def test_both_stores_decide_alike(limiters: list[RedisLimiter]) -> None:
    memory, limit = MemoryLimiter(ManualClock()), Limit("tokens", 50)
    for amount in (20, 31, 30, 1, 51, 50):
        outcomes = [await one.claim("a", [Charge(limit, amount)]) for one in (memory, limiters[amount % 2])]
        assert type(outcomes[0]).__name__ in type(outcomes[1]).__name__
        assert list(await memory.left("a", [limit])) == list(await limiters[0].left("a", [limit]))


async def test_charges_are_forgotten_after_a_minute_and_nothing_is_left_behind(
    url: str, limiters: list[RedisLimiter]
) -> None:
    claimed(await limiters[0].claim("a", [Charge(TOKENS, 60)]))
    with Redis.from_url(url, decode_responses=True) as redis:
        sums, ticks = "embergate:{a}:tokens::sums", "embergate:{a}:tokens::ticks"
        assert all(55_000 < redis.pttl(key) <= 60_120 for key in (sums, ticks))
        # The same charge, made a minute and a bit ago.
        old = int(redis.lindex(ticks, 0)) - NUM_TICKS - 1
        redis.lset(ticks, 0, str(old))
        redis.delete(sums)
        redis.hset(sums, mapping={str(old): 60, "total": 60})
        assert list(await limiters[1].left("a", [TOKENS])) == [100]
        assert redis.hgetall(sums) == {"total": "0"}
        # One that is about to be: its own tick still counts.
        claimed(await limiters[0].claim("a", [Charge(TOKENS, 100)]))
        first = int(redis.lindex(ticks, 0))
        redis.lset(ticks, 0, str(first - NUM_TICKS + 10))
        redis.hdel(sums, str(first))
        redis.hset(sums, str(first - NUM_TICKS + 10), 100)
        wait_s = refused(await limiters[0].claim("a", [Charge(TOKENS)])).wait_s
        assert wait_s is not None
        assert 0 < wait_s <= 11 * TICK_MS / 1000
        await asyncio.sleep(wait_s + 0.01)
        claimed(await limiters[0].claim("a", [Charge(TOKENS)]))


async def test_what_was_given_back_and_is_forgotten_leaves_servers_counting_together(
    url: str, limiters: list[RedisLimiter]
) -> None:
    limiters[0].give_back(claimed(await limiters[0].claim("a", [Charge(TOKENS, 60)])))
    await settled(limiters[0])
    with Redis.from_url(url, decode_responses=True) as redis:  # that was a minute and a bit ago
        sums, ticks = "embergate:{a}:tokens::sums", "embergate:{a}:tokens::ticks"
        tick = redis.lindex(ticks, 0)
        old = str(int(tick) - NUM_TICKS - 1)
        redis.lset(ticks, 0, old)
        redis.hset(sums, old, redis.hget(sums, tick))
        redis.hdel(sums, tick)
    claimed(await limiters[0].claim("a", [Charge(TOKENS, 90)]))
    refused(await limiters[1].claim("a", [Charge(TOKENS, 11)]))


async def test_clock_that_is_set_back_blocks_nobody(url: str, limiters: list[RedisLimiter]) -> None:
    claimed(await limiters[0].claim("a", [Charge(TOKENS, 100)]))
    with Redis.from_url(url) as redis:
        redis.rpush("embergate:{a}:tokens::ticks", str(10**12))
    claimed(await limiters[0].claim("a", [Charge(TOKENS, 100)]))


async def test_places_of_a_server_that_was_killed_become_free(limiters: list[RedisLimiter]) -> None:
    killed, other = limiters
    for _ in range(2):
        claimed(await killed.claim("a", [], places=PLACES))
    await asyncio.sleep(0.8)  # longer than a lease: they are renewed
    refused(await other.claim("a", [], places=PLACES))
    await killed.close()  # it renews no more
    await asyncio.sleep(0.7)
    assert await other.num_places("a") == 0
    claimed(await other.claim("a", [], places=PLACES))


async def test_claim_whose_caller_leaves_is_given_back(limiters: list[RedisLimiter]) -> None:
    for _ in range(20):
        task = asyncio.create_task(limiters[0].claim("a", [Charge(TOKENS, 100)], places=PLACES))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await settled(limiters[0])
        assert list(await limiters[0].left("a", [TOKENS])) == [100]
        assert await limiters[0].num_places("a") == 0


@pytest.mark.parametrize("check", CHECKS)
async def test_without_redis_each_server_counts_by_itself(check: Callable[[Limiter], Awaitable[None]]) -> None:
    limiter = RedisLimiter("unix:///nowhere/redis.sock")
    await check(limiter)
    await limiter.close()


async def test_metrics_tell_whether_servers_count_together(url: str) -> None:
    for known, is_alone in ((url, False), ("unix:///nowhere/redis.sock", True)):
        registry = CollectorRegistry()
        limiter = RedisLimiter(known, RedisMetrics(registry), timeout_s=30)
        for _ in range(2):
            claimed(await limiter.claim("a", [Charge(TOKENS)]))
        assert registry.get_sample_value("embergate_redis_fallback") == is_alone
        assert registry.get_sample_value("embergate_redis_failures_total") == is_alone  # asked once, then left alone
        await limiter.close()


def test_url_of_something_else_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="EMBERGATE_REDIS_URL: Redis URL must"):
        RedisLimiter("http://example.org")


@on_sqlite_only
async def test_two_meters_on_one_redis_hold_one_limit(
    database: Database, database_url: str, limiters: list[RedisLimiter]
) -> None:
    other_database = Database.open(database_url)
    quotas = {"serverless-requests-per-minute": 40, "serverless-prompt-tokens-per-minute": 10_000}
    platforms = [
        Platform(opened, limiter=limiter, quotas=quotas)
        for opened, limiter in zip((database, other_database), limiters, strict=True)
    ]
    await set_up(platforms[0], billing=Billing.POSTPAID)

    async def one(number: int) -> str:
        try:
            return await call(platforms[number % 2], demand(number))
        except RateLimitedError:
            return "limited"

    outcomes = Counter(await asyncio.gather(*(one(number) for number in range(100))))
    assert outcomes == {"answered": 40, "limited": 60}
    assert list(await limiters[1].left("acme", [Limit("serverless-prompt-tokens-per-minute", 10_000)])) == [9_600]
    await settled(limiters[0])
    await settled(limiters[1])
    assert await limiters[0].num_places("acme") == 0
    for platform in platforms:
        await platform.close()
    await other_database.close()
