"""The SQL of quotas: every known one as a row, whether it has one in the table or not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import BigInteger, Float, String, cast, column, null, select, values
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from embergate.gateway.quotas.known import KNOWN, QuotaDefaults
from embergate.gateway.quotas.schemas import Quota
from embergate.gateway.resource_type import ResourceType
from embergate.storage.insertion import dialect_insert
from embergate.storage.rows import UtcDateTime, text
from embergate.storage.tables.accounts import QuotaRow

PATTERN = "accounts/{account}/quotas/{quota}"


async def quotas_of(db: AsyncSession, account_id: str, defaults: QuotaDefaults) -> dict[str, Quota]:
    """Return every quota of an account by its id, without what is used of it."""
    found = await db.scalars(select(QuotaRow).where(QuotaRow.account_id == account_id))
    rows = {row.id: row for row in found}
    quotas = {}
    for quota_id in KNOWN:
        name, row = f"accounts/{account_id}/quotas/{quota_id}", rows.get(quota_id)
        if row is None:
            quotas[quota_id] = Quota(name=name, value=defaults[quota_id], max_value=defaults[quota_id])
        else:
            quotas[quota_id] = Quota(name=name, value=row.value, max_value=row.max_value, update_time=row.update_time)
    return quotas


async def put(db: AsyncSession, account_id: str, quota_id: str, quota: Quota) -> None:
    """Write an account's own quota down, the first or another."""
    changed = {"value": quota.value, "max_value": quota.max_value, "update_time": quota.update_time}
    insert = dialect_insert(db, QuotaRow).values(account_id=account_id, id=quota_id, **changed)
    await db.execute(insert.on_conflict_do_update(index_elements=["account_id", "id"], set_=changed))


def as_resources(account_id: str, quotas: Mapping[str, Quota]) -> ResourceType[QuotaRow, Quota]:
    """Return quotas, with what is used of them, as resources to filter, order and page through.

    They are rows of the statement itself: the database filters and orders them like every other list.
    """
    listed = values(
        column("account_id", String),
        column("id", text(63)),
        column("value", BigInteger),
        column("max_value", BigInteger),
        column("update_time", UtcDateTime),
        column("usage", Float),
        name="listed_quotas",
    ).data(
        # A column of nothing but NULL has no type, but for what it is cast to.
        [
            (account_id, id_, one.value, one.max_value, one.update_time or cast(null(), UtcDateTime), one.usage)
            for id_, one in quotas.items()
        ]
    )
    rows = listed.cte("every_quota")
    entity: Any = aliased(QuotaRow, rows, adapt_on_names=True)
    return ResourceType(
        entity,
        Quota,
        pattern=PATTERN,
        columns={"usage": rows.c.usage},
        extra=lambda row: {"usage": quotas[row.id].usage},
    )
