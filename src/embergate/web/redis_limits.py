"""`RedisLimiter`: limits that several servers count together. See `limits`.

While Redis cannot be reached each server counts by itself: calls are answered, and limits hold for each server alone.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Coroutine, Sequence
from contextvars import Context
from dataclasses import dataclass
from typing import Any, Final

import structlog
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from embergate.clock import monotonic_s
from embergate.errors import ConfigurationError
from embergate.ids import new_id
from embergate.web.limits import NUM_TICKS, PLACE_WAIT_S, TICK_MS, Charge, Claim, Limit, Refusal
from embergate.web.memory_limits import MemoryLimiter
from embergate.web.redis_metrics import RedisMetrics
from embergate.web.redis_scripts import CLAIM, GIVE_BACK, RENEW

# What a killed server held is free again after this.
LEASE_S: Final = 30.0
RENEWALS_A_LEASE: Final = 3
# NOTE: far longer than Redis ever takes: a busy server finds out late, too, and limits would come apart for no reason.
TIMEOUT_S: Final = 3.0
# How long Redis is left alone after it could not be reached.
OUTAGE_S: Final = 5.0
MAX_CONNECTIONS: Final = 32
NO_PLACE: Final = -1
log: structlog.stdlib.BoundLogger = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _RedisClaim(Claim):
    """A claim that Redis knows of, not this process alone."""


class RedisLimiter:
    """Counts in Redis."""

    def __init__(
        self,
        url: str,
        metrics: RedisMetrics | None = None,
        *,
        lease_s: float = LEASE_S,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        """Connect when there is something to count. Raises: ConfigurationError if this is no URL of a Redis."""
        try:
            pool = BlockingConnectionPool.from_url(
                url,
                max_connections=MAX_CONNECTIONS,
                timeout=timeout_s,
                socket_timeout=timeout_s,
                socket_connect_timeout=timeout_s,
                # NOTE: a claim that is sent twice would be charged twice.
                retry=Retry(NoBackoff(), 0),
            )
        except ValueError as error:
            raise ConfigurationError(f"EMBERGATE_REDIS_URL: {error}") from None
        self._redis: Redis = Redis.from_pool(pool)
        self._claim_script = self._redis.register_script(CLAIM)
        self._give_back_script = self._redis.register_script(GIVE_BACK)
        self._renew_script = self._redis.register_script(RENEW)
        self._lease_s = lease_s
        self._alone = MemoryLimiter()
        self._is_down_until_s = 0.0
        self._metrics = metrics or RedisMetrics()
        self._metrics.ask_whether_alone(lambda: monotonic_s() < self._is_down_until_s)
        self._places: defaultdict[str, set[str]] = defaultdict(set)
        # What runs beside calls: what is given back, and claims whose caller has left.
        self._work: set[asyncio.Task[Any]] = set()
        self._renewing: asyncio.Task[None] | None = None

    async def claim(self, account: str, charges: Sequence[Charge], *, places: Limit | None = None) -> Claim | Refusal:
        """See `Limiter`."""
        # Beside the caller, who may leave while Redis charges: then it is given back.
        work = self._beside(self._claim(account, charges, places))
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            work.add_done_callback(self._undo)
            raise

    def give_back(self, claim: Claim) -> None:
        """See `Limiter`; done a moment later."""
        if not isinstance(claim, _RedisClaim):
            self._alone.give_back(claim)
        elif claim.charges:
            keys = [key for charge in claim.charges for key in _window_keys(claim.account, charge.limit)[:1]]
            amounts = [charge.amount for charge in claim.charges]
            self._beside(self._tried(self._give_back_script(keys=keys, args=[claim.tick, *amounts])))

    def leave(self, claim: Claim) -> None:
        """See `Limiter`; done a moment later."""
        if not isinstance(claim, _RedisClaim):
            self._alone.leave(claim)
        elif claim.place:
            self._places[claim.account].discard(claim.place)
            if not self._places[claim.account]:
                del self._places[claim.account]
            self._beside(self._tried(self._redis.zrem(_places_key(claim.account), claim.place)))

    async def left(self, account: str, limits: Sequence[Limit]) -> Sequence[int]:
        """See `Limiter`."""
        found = await self._ask(account, [Charge(limit, 0) for limit in limits])
        if found is None:
            return await self._alone.left(account, limits)
        return [max(0, limit.maximum - used) for limit, used in zip(limits, found[4:], strict=True)]

    async def num_places(self, account: str) -> int:
        """See `Limiter`."""
        found = await self._ask(account, [])
        return await self._alone.num_places(account) if found is None else found[3]

    async def close(self) -> None:
        """Finish what was given back, and disconnect."""
        while self._work:
            await asyncio.wait(self._work)
        if self._renewing is not None:
            self._renewing.cancel()
            await asyncio.wait([self._renewing])
            self._renewing = None
        await self._redis.aclose()
        await self._redis.connection_pool.disconnect()

    async def _claim(self, account: str, charges: Sequence[Charge], places: Limit | None) -> Claim | Refusal:
        place = new_id() if places is not None else ""
        found = await self._ask(account, charges, place, places.maximum if places is not None else 0)
        if found is None:
            return await self._alone.claim(account, charges, places=places)
        refusing, wait_ms, tick, _, *used = found
        if refusing == NO_PLACE:
            assert places is not None, "a place was asked for. This is a bug."
            return Refusal(places, 1, 0, PLACE_WAIT_S if places.maximum else None)
        if refusing:
            charge = charges[refusing - 1]
            left = max(0, charge.limit.maximum - used[refusing - 1])
            return Refusal(charge.limit, charge.amount, left, wait_ms / 1000 if wait_ms >= 0 else None)
        if place:
            self._places[account].add(place)
            if self._renewing is None:
                self._renewing = asyncio.create_task(self._renew(), context=Context())  # for all calls, not this one
        left_of = [charge.limit.maximum - num - charge.amount for charge, num in zip(charges, used, strict=True)]
        return _RedisClaim(account, charges, left_of, tick, place)

    async def _ask(
        self, account: str, charges: Sequence[Charge], place: str = "", most_places: int = 0
    ) -> list[int] | None:
        """Run the script that claims; None while Redis cannot be reached."""
        windows = [key for charge in charges for key in _window_keys(account, charge.limit)]
        lease_ms = int(self._lease_s * 1000)
        amounts = [number for charge in charges for number in (charge.amount, charge.limit.maximum)]
        arguments: list[str | int] = [TICK_MS, NUM_TICKS, place, most_places, lease_ms, *amounts]
        found: list[int] | None = await self._tried(
            self._claim_script(keys=[_places_key(account), *windows], args=arguments)
        )
        return found

    async def _tried(self, work: Any) -> Any:
        """Return what Redis answers; None if it cannot be reached, which is not tried again for a moment."""
        if monotonic_s() < self._is_down_until_s:
            work.close()
            return None
        try:
            return await work
        except (RedisError, OSError, TimeoutError) as error:
            self._metrics.failures.inc()
            if type(error) is ResponseError:  # it is there, and refuses this very script: a bug of ours
                log.exception("redis_refused", consequence="this call is counted by this server alone")
                return None
            if monotonic_s() >= self._is_down_until_s:
                log.warning("redis_unreachable", error=str(error), consequence="limits are counted by each server")
            self._is_down_until_s = monotonic_s() + OUTAGE_S
            return None

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(self._lease_s / RENEWALS_A_LEASE)
            for account, places in list(self._places.items()):
                arguments: list[str | int] = [int(self._lease_s * 1000), *places]
                await self._tried(self._renew_script(keys=[_places_key(account)], args=arguments))

    def _undo(self, work: asyncio.Task[Claim | Refusal]) -> None:
        if not work.cancelled() and work.exception() is None and isinstance(claim := work.result(), Claim):
            self.give_back(claim)
            self.leave(claim)

    def _beside(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.create_task(work)
        self._work.add(task)
        task.add_done_callback(self._work.discard)
        return task


def _places_key(account: str) -> str:
    return f"embergate:{{{account}}}:places"


def _window_keys(account: str, limit: Limit) -> tuple[str, str]:
    window = f"embergate:{{{account}}}:{limit.name}:{limit.subject}"
    return f"{window}:sums", f"{window}:ticks"
