"""`CallLimits`: which limits a call of the inference plane meets, and what it is told of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from embergate.errors import EmbergateError, InvalidRequestError, RateLimitedError
from embergate.gateway.quotas.known import (
    CONCURRENT_REQUESTS,
    MINUTE_QUOTAS,
    NO_LIMIT,
    REQUEST_QUOTAS,
    TOKEN_QUOTAS,
    MinuteQuota,
    QuotaDefaults,
    Scope,
)
from embergate.gateway.usage.metrics import UsageMetrics
from embergate.web.limits import Charge, Claim, Limit, Limiter, Refusal
from embergate.web.metering import Demand

OVER_LIMIT: Final = {"x-ratelimit-over-limit": "yes"}
REQUESTS_KIND: Final = "requests"
TOKENS_KIND: Final = "tokens-prompt"
# What a window's message says it is for.
SUBJECTS: Final = {Scope.ACCOUNT: "the account", Scope.MODEL: "this model", Scope.KEY: "this API key"}
Quotas = Mapping[str, int]


class CallLimits:
    """Claims what a call needs of its account's limits."""

    def __init__(self, limiter: Limiter, defaults: QuotaDefaults, metrics: UsageMetrics) -> None:
        """Count by this limiter; an account without a quota of its own has the default."""
        self.limiter = limiter
        self._defaults = defaults
        self._metrics = metrics

    async def enter(self, quotas: Quotas, demand: Demand) -> tuple[Claim | None, dict[str, str]]:
        """Charge a request and take a place among the calls under way; return also what headers tell of it.

        Raises: RateLimitedError; InvalidRequestError if the account may make no request at all.
        """
        charges = [Charge(limit) for limit in self.limits(REQUEST_QUOTAS, quotas, demand)]
        # Counted where there is no limit too: the quota tells how many there are.
        places = Limit(CONCURRENT_REQUESTS, self._value(CONCURRENT_REQUESTS, quotas))
        outcome = await self._claim(quotas, demand, charges, places)
        return outcome, _told(REQUESTS_KIND, outcome)

    async def spend(self, quotas: Quotas, demand: Demand, num_tokens: int) -> tuple[Claim | None, dict[str, str]]:
        """Charge prompt tokens; return also what headers tell of them.

        Raises: RateLimitedError; InvalidRequestError for more than ever fits into a minute.
        """
        charges = [Charge(limit, num_tokens) for limit in self.limits(TOKEN_QUOTAS, quotas, demand)]
        outcome = await self._claim(quotas, demand, charges)
        return outcome, _told(TOKENS_KIND, outcome)

    def limits(self, kinds: Sequence[MinuteQuota], quotas: Quotas, demand: Demand) -> list[Limit]:
        """Return the windows of these kinds that a call is counted in."""
        found = []
        for quota in kinds:
            maximum = self._value(quota.id, quotas)
            if maximum != NO_LIMIT:
                found.append(Limit(quota.id, maximum, _subject(quota.scope, demand)))
        return found

    async def left(self, quotas: Quotas, demand: Demand) -> dict[str, str]:
        """Return what headers tell of limits that nothing is charged to."""
        headers: dict[str, str] = {}
        for kind, kinds in ((REQUESTS_KIND, REQUEST_QUOTAS), (TOKENS_KIND, TOKEN_QUOTAS)):
            limits = self.limits(kinds, quotas, demand)
            left = await self.limiter.left(demand.caller.account, limits) if limits else ()
            headers |= _headers(kind, limits, left)
        return headers

    async def would_refuse(self, quotas: Quotas, demand: Demand, num_tokens: int) -> EmbergateError | None:
        """Return what would keep so many tokens out of a minute's limits now; nothing is charged."""
        limits = self.limits(TOKEN_QUOTAS, quotas, demand)
        left = await self.limiter.left(demand.caller.account, limits) if limits else ()
        for limit, num_left in zip(limits, left, strict=True):
            if num_tokens > num_left:
                wait_s = 0.0 if num_tokens <= limit.maximum else None
                return refused(Refusal(limit, num_tokens, num_left, wait_s), {})
        return None

    async def _claim(
        self, quotas: Quotas, demand: Demand, charges: Sequence[Charge], places: Limit | None = None
    ) -> Claim | None:
        if not charges and places is None:
            return None
        outcome = await self.limiter.claim(demand.caller.account, charges, places=places)
        if isinstance(outcome, Refusal):
            self._metrics.note_limit(outcome.limit.name)
            # What is left is asked for a moment later, in which it may have become more.
            raise refused(outcome, {**await self.left(quotas, demand), **_refused_by(outcome)})
        return outcome

    def _value(self, quota_id: str, quotas: Quotas) -> int:
        value = quotas.get(quota_id)
        return self._defaults[quota_id] if value is None else value


def refused(refusal: Refusal, headers: Mapping[str, str]) -> RateLimitedError | InvalidRequestError:
    """Return the error that says which limit keeps a call out, what it is, and when to come again."""
    limit = refusal.limit
    what = _described(limit)
    if refusal.wait_s is None:
        return InvalidRequestError(
            f"this request needs {refusal.amount} of {what}: it never fits; send less at a time, or have the quota raised"
        )
    message = f"rate limit reached: {what}; {refusal.left} left, {refusal.amount} needed"
    error = RateLimitedError(message, retry_after_s=refusal.wait_s)
    error.headers = {**headers, **OVER_LIMIT}
    return error


def _described(limit: Limit) -> str:
    quota = MINUTE_QUOTAS.get(limit.name)
    if quota is None:
        return f"the {limit.maximum} requests at once that the quota {limit.name} lets the account make"
    return f"the {limit.maximum} {quota.unit} a minute that the quota {limit.name} gives {SUBJECTS[quota.scope]}"


def _subject(scope: Scope, demand: Demand) -> str:
    if scope is Scope.MODEL:
        return demand.model
    if scope is Scope.KEY:
        # A session without a key is counted by its user: another login is no way around.
        return demand.caller.key_id or f"users/{demand.caller.user}"
    return ""


def _told(kind: str, claim: Claim | None) -> dict[str, str]:
    return _headers(kind, [charge.limit for charge in claim.charges], claim.left) if claim is not None else {}


def _refused_by(refusal: Refusal) -> dict[str, str]:
    """Tell of the window that refuses."""
    quota = MINUTE_QUOTAS.get(refusal.limit.name)
    if quota is None:
        return {}
    return _headers(REQUESTS_KIND if quota in REQUEST_QUOTAS else TOKENS_KIND, [refusal.limit], [refusal.left])


def _headers(kind: str, limits: Sequence[Limit], left: Sequence[int]) -> dict[str, str]:
    """Tell of the window that has least left, the one that is reached first."""
    if not limits:
        return {}
    least, maximum = min((num, limit.maximum) for limit, num in zip(limits, left, strict=True))
    return {f"x-ratelimit-limit-{kind}": str(maximum), f"x-ratelimit-remaining-{kind}": str(least)}
