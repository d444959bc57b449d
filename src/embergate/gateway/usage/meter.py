"""`AccountMeter`: lets calls of the inference plane begin, sets aside what they will cost, and charges them.

Credit is reserved in this process alone and at once, and charged in the database, where it is checked again. So it is never
spent twice, however many calls come together and however many servers there are. Limits are the limiter's to count.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Final

from embergate.clock import now
from embergate.errors import EmbergateError, SuspendedError
from embergate.gateway.accounts.schemas import SuspendState
from embergate.gateway.money import format_amount
from embergate.gateway.quotas.known import QuotaDefaults
from embergate.gateway.usage.annotations import AnnotationBounds
from embergate.gateway.usage.call_limits import CallLimits
from embergate.gateway.usage.charging import Charged
from embergate.gateway.usage.metrics import UsageMetrics
from embergate.gateway.usage.prices import Price, price_of
from embergate.gateway.usage.records import Dimensions, UsageRecord
from embergate.gateway.usage.repeats import Repeats, other_body
from embergate.gateway.usage.terms import Terms, TermsBook
from embergate.gateway.usage.writer import UsageWriter
from embergate.web.limits import Claim, Limiter
from embergate.web.metering import Demand, Quote, Tab

# What no credit and no other limit lifts.
BLOCKED: Final = frozenset({SuspendState.BLOCKED_BY_ABUSE_RULE, SuspendState.FAILED_PAYMENTS})
MENDS: Final = {
    SuspendState.CREDIT_DEPLETED: "its prepaid credit is used up; redeem a credit code",
    SuspendState.MONTHLY_SPEND_LIMIT_EXCEEDED: "its monthly spend limit is reached; raise the quota monthly-spend-usd, or "
    "wait for the next month",
    SuspendState.FAILED_PAYMENTS: "a payment failed; ask the operator",
    SuspendState.BLOCKED_BY_ABUSE_RULE: "the operator has blocked it",
}


class AccountMeter:
    """Meters calls by what the database says of their accounts."""

    def __init__(
        self,
        terms: TermsBook,
        repeats: Repeats,
        writer: UsageWriter,
        limiter: Limiter,
        defaults: QuotaDefaults,
        metrics: UsageMetrics,
        *,
        answers_first: bool = False,
    ) -> None:
        """Charge by this writer, count by this limiter.

        `answers_first` lets an answer leave before its charge is written: quicker, and a killed server forgets a few.
        """
        self._terms = terms
        self._repeats = repeats
        self._writer = writer
        self._limits = CallLimits(limiter, defaults, metrics)
        self._metrics = metrics
        self._annotations = AnnotationBounds()
        self._answers_first = answers_first

    @asynccontextmanager
    async def open(self, demand: Demand) -> AsyncIterator[Tab]:
        """See `Meter`."""
        account_id = demand.caller.account
        terms = await self._terms.get(account_id)
        demand = replace(demand, annotations=self._annotations.bound(account_id, demand.annotations))
        is_paid = await self._repeats.is_repeated(demand)
        state = terms.standing.computed_state
        needs_money = not (is_paid or demand.is_dry_run)
        if state is not SuspendState.UNSUSPENDED and (needs_money or state in BLOCKED):
            self._metrics.note_suspension(state)
            raise suspended(state)
        first = self._answers_first
        tab = _Tab(demand, terms, self._writer, self._limits, self._metrics, is_paid=is_paid, answers_first=first)
        await tab.enter()
        try:
            yield tab
        finally:
            tab.end()

    def forget(self) -> None:
        """Look every account's terms up again: one of them may have changed."""
        self._terms.forget()

    async def close(self) -> None:
        """Wait until every charge is written."""
        await self._writer.close()
        await self._limits.limiter.close()


class _Tab:
    """See `Tab`."""

    def __init__(
        self,
        demand: Demand,
        terms: Terms,
        writer: UsageWriter,
        limits: CallLimits,
        metrics: UsageMetrics,
        *,
        is_paid: bool,
        answers_first: bool,
    ) -> None:
        # What came before by the same key costs nothing; limits count it, since it is run again.
        self._is_paid = is_paid
        # What a key is good for is known only once it is written.
        self._answers_first = answers_first and demand.idempotency_key is None
        # From then on the reservation is the writer's to end, whether the client waits or not.
        self._is_charging = False
        self._demand = demand
        self._terms = terms
        self._writer = writer
        self._limits = limits
        self._metrics = metrics
        self._reserved_nanos = 0
        self._num_tokens: Sequence[int] = ()
        self._price = Price(0, 0)
        # What it took of the limits: a request and a place, and its tokens.
        self._request: Claim | None = None
        self._tokens: Claim | None = None
        self._headers: dict[str, str] = {}

    @property
    def headers(self) -> Mapping[str, str]:
        return self._headers

    async def enter(self) -> None:
        """Take a place. Raises: RateLimitedError."""
        self._request, self._headers = await self._limits.enter(self._terms.quotas, self._demand)

    async def reserve(self, num_tokens: Sequence[int]) -> None:
        terms, demand = self._terms, self._demand
        self._price = _price(demand, terms)
        self._num_tokens = num_tokens
        if not self._is_paid:
            self._set_aside(sum(num_tokens) * self._price.nanos)
        self._tokens, told = await self._limits.spend(terms.quotas, demand, sum(num_tokens))
        self._headers.update(told)

    async def quote(self, num_tokens: int) -> Quote:
        self._metrics.dry_runs.inc()
        terms, demand = self._terms, self._demand
        price = _price(demand, terms)
        cost_nanos = num_tokens * price.nanos
        headers = await self._limits.left(terms.quotas, demand)
        state = terms.standing.computed_state
        refusal: EmbergateError | None = None
        if self._is_paid:
            cost_nanos = 0
        elif state is not SuspendState.UNSUSPENDED:
            refusal = suspended(state)
        elif (shortfall := terms.standing.shortfall(terms.reserved_nanos + cost_nanos)) is not None:
            refusal = suspended(shortfall, cost_nanos)
        refusal = refusal or await self._limits.would_refuse(terms.quotas, demand, num_tokens)
        return Quote(price.nanos, cost_nanos, headers, refusal)

    def _set_aside(self, cost_nanos: int) -> None:
        refused = self._terms.standing.shortfall(self._terms.reserved_nanos + cost_nanos)
        if refused is not None:
            self._metrics.note_suspension(refused)
            raise suspended(refused, cost_nanos)
        self._reserved_nanos = cost_nanos
        self._metrics.reserved_nanos += cost_nanos
        self._terms.reserved_nanos += cost_nanos

    async def settle(self) -> None:
        tokens, self._tokens = self._tokens, None
        if self._is_paid:
            self._metrics.repeated_requests.inc()
            return
        self._terms.num_settling += 1
        self._is_charging = True
        charging = self._writer.submit(self._record(), partial(self._on_done, tokens))
        if self._answers_first:
            return
        charged = await asyncio.shield(charging)
        if charged.refused is not None:
            raise suspended(charged.refused)
        if charged.is_other_body:
            raise other_body()

    def _on_done(self, tokens: Claim | None, charged: Charged | None) -> None:
        """Let go of the reservation in the step in which the account's money is known to be less by it, never between."""
        self._release()
        self._terms.num_settling -= 1
        self._terms.num_settled += 1
        if charged is not None:
            self._terms.standing = charged.standing
        is_answered = charged is not None and charged.refused is None and not charged.is_other_body
        if tokens is not None and not is_answered:
            self._limits.limiter.give_back(tokens)

    def end(self) -> None:
        """Give back what is still reserved, and leave."""
        if not self._is_charging:
            self._release()
        if self._tokens is not None:
            self._limits.limiter.give_back(self._tokens)
        if self._request is not None:
            self._limits.limiter.leave(self._request)

    def _release(self) -> None:
        self._terms.reserved_nanos -= self._reserved_nanos
        self._metrics.reserved_nanos -= self._reserved_nanos
        self._reserved_nanos = 0

    def _record(self) -> UsageRecord:
        demand, caller, marks = self._demand, self._demand.caller, self._demand.annotations
        dimensions = Dimensions(
            account_id=caller.account,
            usage_type=demand.usage.value,
            model=demand.model,
            api_key_id=caller.key_id,
            team=marks.team,
            project=marks.project,
            environment=marks.environment,
            is_batch=False,
            price_nanos=self._price.nanos,
            cached_price_nanos=self._price.cached_nanos,
        )
        return UsageRecord(
            dimensions,
            request_id=demand.request_id,
            user_id=caller.user,
            num_inputs=len(self._num_tokens),
            prompt_tokens=sum(self._num_tokens),
            # What is tried again because nobody knows whether it was written must not be written twice. Callers' keys
            # have no spaces.
            idempotency_key=f"request {demand.request_id}" if self._answers_first else demand.idempotency_key,
            request_digest=demand.request_digest,
            is_answered=self._answers_first,
        )


def _price(demand: Demand, terms: Terms) -> Price:
    return price_of(demand.model, now(), list_nanos=demand.list_price_nanos, prices=terms.prices, plans=terms.plans)


def suspended(state: SuspendState, cost_nanos: int | None = None) -> SuspendedError:
    """Return the error that says why an account may not go on, or cannot pay what one call costs."""
    if cost_nanos is not None:
        cost = f"this request costs {format_amount(cost_nanos)} USD, more than is left: "
        return SuspendedError(f"the account is suspended ({state.value}) or would be: {cost}{MENDS[state]}")
    return SuspendedError(f"the account is suspended ({state.value}): {MENDS[state]}")
