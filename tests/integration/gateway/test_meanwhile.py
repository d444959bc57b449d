"""Calls that meet another transaction, which has taken away what they are about and is not committed yet."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import httpx2
from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncSession

from embergate.clock import now
from embergate.gateway.secrets import store as secrets
from embergate.storage.tables.credentials import ApiKeyRow
from tests.integration.gateway.platform import Platform, on_postgresql_only

SECRETS = "/v1/accounts/mine/secrets"
KEYS = "/v1/accounts/mine/users/admin/apiKeys"


async def meets(
    platform: Platform, delete: Callable[[AsyncSession], Awaitable[None]], call: Awaitable[httpx2.Response]
) -> httpx2.Response:
    """Return the answer of a call that has begun before a deletion is committed."""
    async with platform.database.writing() as db:
        await delete(db)
        answer = asyncio.ensure_future(call)
        await asyncio.sleep(0.3)
        assert not answer.done()
    return await answer


@on_postgresql_only
async def test_change_of_a_secret_that_is_deleted_meanwhile_is_a_404(platform: Platform) -> None:
    admin = await platform.add_account("mine")
    body = {"name": "accounts/mine/secrets/s3", "keyName": "K", "value": "V"}
    assert (await platform.call(admin, "POST", SECRETS, json=body)).status_code == 200
    change = platform.call(admin, "PATCH", f"{SECRETS}/s3", json={"keyName": "L"})
    answer = await meets(platform, lambda db: secrets.delete(db, "mine", "s3"), change)
    assert (answer.status_code, answer.json()["code"]) == (404, 5)


@on_postgresql_only
async def test_key_that_is_deleted_meanwhile_gets_no_successor(platform: Platform) -> None:
    admin = await platform.add_account("mine")
    made = (await platform.call(admin, "POST", KEYS, json={"apiKey": {}})).json()

    async def delete(db: AsyncSession) -> None:
        await db.execute(update(ApiKeyRow).where(ApiKeyRow.key_id == made["keyId"]).values(delete_time=now()))

    answer = await meets(platform, delete, platform.call(admin, "POST", f"{KEYS}/{made['keyId']}:rotate", json={}))
    assert (answer.status_code, answer.json()["code"]) == (404, 5)
    assert len((await platform.call(admin, "GET", KEYS)).json()["apiKeys"]) == 1
