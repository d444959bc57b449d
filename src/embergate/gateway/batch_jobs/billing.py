"""What a batch job's rows cost, charged in the transaction in which their chunk is done: once, or not at all."""

from __future__ import annotations

from functools import partial
from typing import Final

from sqlalchemy.ext.asyncio import AsyncSession

from embergate.clock import now
from embergate.engine.loading.catalog import ModelKind
from embergate.gateway.accounts.schemas import SuspendState
from embergate.gateway.batch_jobs.results import Results
from embergate.gateway.batch_jobs.run import Order
from embergate.gateway.usage.charging import charge
from embergate.gateway.usage.prices import Price, price_of
from embergate.gateway.usage.records import Dimensions, UsageRecord
from embergate.gateway.usage.terms import TermsBook
from embergate.jobs.errors import RetryLater
from embergate.jobs.handler import Context
from embergate.storage.database import Database
from embergate.web.metering import UsageKind
from embergate.web.own_models import NamedModel

USAGE_OF: Final = {ModelKind.EMBEDDING_MODEL: UsageKind.EMBEDDING, ModelKind.RERANKER: UsageKind.RERANK}


class Billing:
    """Prices, and what accounts can pay, both known to a second; charges, which are exact."""

    def __init__(self, database: Database) -> None:
        """Know nothing yet."""
        self._terms = TermsBook(database)

    async def price_of(self, account_id: str, model: NamedModel) -> Price:
        """Return what a token costs the account in a batch. Raises: UnavailableError."""
        terms = await self._terms.get(account_id)
        price = price_of(model.id, now(), list_nanos=model.list_price_nanos, prices=terms.prices, plans=terms.plans)
        return price.for_batch()

    async def shortfall(self, account_id: str, cost_nanos: int) -> SuspendState | None:
        """Return what keeps the account from paying so much more. Raises: UnavailableError."""
        found = (await self._terms.get(account_id)).standing.shortfall(cost_nanos)
        if found is not None:  # which may be a second old: it may have paid since
            self._terms.forget()
            found = (await self._terms.get(account_id)).standing.shortfall(cost_nanos)
        return found

    def record(self, context: Context, order: Order, model: NamedModel, price: Price, results: Results) -> UsageRecord:
        """Return the record of a chunk."""
        dimensions = Dimensions(
            account_id=context.job.account_id,
            usage_type=USAGE_OF[model.kind].value,
            model=model.id,
            api_key_id=order.key_id,
            team="",
            project="",
            environment="",
            is_batch=True,
            price_nanos=price.nanos,
            cached_price_nanos=price.cached_nanos,
        )
        return UsageRecord(
            dimensions,
            request_id=context.job.id,
            user_id=order.user_id,
            num_inputs=results.num_inputs,
            prompt_tokens=results.num_tokens,
            # Callers' keys have no spaces.
            idempotency_key=f"batch {context.job.id}/{context.number}",
        )

    async def charge(self, db: AsyncSession, record: UsageRecord) -> None:
        """Charge a chunk in the caller's transaction. Raises: RetryLater if the account cannot pay it any more."""
        if not record.num_inputs:
            return
        work = partial(charge, records=[record], moment=now(), known=frozenset())
        (charged,) = await (await db.connection()).run_sync(work)
        if charged.refused is not None:
            self._terms.forget()
            raise RetryLater(0.5, f"the account is suspended ({charged.refused.value}) or would be")
