"""Sending what is in the outbox: each message until it is taken, or a day old."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import structlog

from embergate.clock import now
from embergate.gateway.webhooks import outbox
from embergate.gateway.webhooks.metrics import WebhookMetrics
from embergate.gateway.webhooks.outbox import GIVE_UP_AFTER
from embergate.storage.database import Database

if TYPE_CHECKING:
    from embergate.gateway.webhooks.webhook import Webhook

# So many in one go; what is left is sent in the next.
MAX_AT_ONCE: Final = 50
log: structlog.stdlib.BoundLogger = structlog.get_logger()


async def deliver(database: Database, webhook: Webhook | None, metrics: WebhookMetrics) -> int:
    """Send what is due, if there is anywhere to send it, and give up what is too old; return how many were taken.

    Raises: UnavailableError if the database cannot be reached.
    """
    async with database.writing() as db:
        lost = await outbox.take_out_old(db, now() - GIVE_UP_AFTER)
    metrics.given_up.inc(len(lost))
    for message_id in lost:
        log.error("webhook_given_up", message=message_id)
    num_taken = 0
    for _ in range(MAX_AT_ONCE if webhook is not None else 0):
        assert webhook is not None, "there is nowhere to send it. This is a bug."
        async with database.writing() as db:
            row = await outbox.claim(db)
        if row is None:
            break
        problem = await webhook.send(row.id, row.body)
        async with database.writing() as db:
            await (outbox.put_off if problem else outbox.take_out)(db, row)
        if problem:
            metrics.failed.inc()
            log.warning("webhook_not_taken", message=row.id, num_attempts=row.num_attempts, problem=problem)
        num_taken += not problem
    metrics.delivered.inc(num_taken)
    async with database.reading() as db:
        metrics.waiting.set(await outbox.count(db))
    return num_taken
