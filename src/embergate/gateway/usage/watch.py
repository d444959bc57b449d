"""`AccountWatch`: after a charge, has an account reviewed whose charge calls for it, beside the calls and not in their way.

What a process that dies leaves undone is found by the upkeep.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextvars import Context

import structlog

from embergate.errors import UnavailableError
from embergate.gateway.usage.charging import Charged
from embergate.gateway.usage.suspension import Reviews, is_state_due

log: structlog.stdlib.BoundLogger = structlog.get_logger()


class AccountWatch:
    """Looks at what was charged. At most one review is under way, and each account waits once."""

    def __init__(self, reviews: Reviews) -> None:
        """Have seen nothing yet."""
        self._reviews = reviews
        self._due: dict[str, None] = {}
        self._task: asyncio.Task[None] | None = None

    def notice(self, outcomes: Iterable[Charged]) -> None:
        """Look at what a group of charges, which are committed, has made of their accounts; return at once."""
        for charged in outcomes:
            if charged.is_to_be_warned or is_state_due(charged.standing):
                self._due[charged.standing.account_id] = None
        if self._due and (self._task is None or self._task.done()):
            self._task = asyncio.create_task(self._run(), context=Context())  # whoever caused it, it is no call's

    async def close(self) -> None:
        """Wait until what was noticed is written down."""
        if self._task is not None:
            await self._task

    async def _run(self) -> None:
        while self._due:
            account_id = next(iter(self._due))
            del self._due[account_id]
            try:
                await self._reviews.review_one(account_id)
            except UnavailableError:
                log.warning("review_put_off", account=account_id)
            except Exception:
                log.exception("review_failed", account=account_id)  # a bug; the upkeep tries again
