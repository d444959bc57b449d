"""The outbox: what is to be told is written down in the transaction of what has happened, and sent afterwards.

A message may arrive twice, and in another order: its id tells.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

import orjson
from sqlalchemy import delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from embergate.aip.scalars import format_timestamp
from embergate.clock import now
from embergate.ids import new_id
from embergate.storage.tables.notices import WebhookDeliveryRow

GIVE_UP_AFTER: Final = timedelta(hours=24)
FIRST_WAIT: Final = timedelta(seconds=10)
LONGEST_WAIT: Final = timedelta(hours=1)
# While this lasts, no other server takes a message that one is sending.
CLAIM: Final = timedelta(seconds=60)


async def put(db: AsyncSession, kind: str, content: dict[str, Any]) -> None:
    """Write down a message in the caller's transaction; `kind` says what has happened, as `account.monthly_spend_warning`."""
    moment = now()
    id_ = new_id("msg_")
    body = {"id": id_, "type": kind, "createTime": format_timestamp(moment), **content}
    row = WebhookDeliveryRow(
        id=id_, body=orjson.dumps(body).decode(), num_attempts=0, next_attempt_time=moment, create_time=moment
    )
    db.add(row)
    await db.flush()


async def claim(db: AsyncSession) -> WebhookDeliveryRow | None:
    """Take the message that is due longest, so that no other server does; None if none is."""
    moment = now()
    due = (
        select(WebhookDeliveryRow)
        .where(WebhookDeliveryRow.next_attempt_time <= moment)
        .order_by(WebhookDeliveryRow.next_attempt_time)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    row = (await db.scalars(due)).one_or_none()
    if row is not None:
        row.num_attempts += 1
        row.next_attempt_time = moment + CLAIM
    return row


async def count(db: AsyncSession) -> int:
    """Return how many messages there are."""
    return await db.scalar(select(func.count()).select_from(WebhookDeliveryRow)) or 0


async def put_off(db: AsyncSession, row: WebhookDeliveryRow) -> None:
    """Have a message that was not taken sent again, later each time."""
    wait = min(LONGEST_WAIT, FIRST_WAIT * 2 ** min(row.num_attempts - 1, 10))
    chosen = update(WebhookDeliveryRow).where(WebhookDeliveryRow.id == row.id)
    await db.execute(chosen.values(next_attempt_time=now() + wait))


async def take_out(db: AsyncSession, row: WebhookDeliveryRow) -> None:
    """Be done with a message."""
    await db.execute(delete(WebhookDeliveryRow).where(WebhookDeliveryRow.id == row.id))


async def take_out_old(db: AsyncSession, before: datetime) -> list[str]:
    """Give up the messages of before a moment; return their ids."""
    chosen = delete(WebhookDeliveryRow).where(WebhookDeliveryRow.create_time < before)
    return list(await db.scalars(chosen.returning(WebhookDeliveryRow.id)))
