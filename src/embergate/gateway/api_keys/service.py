"""The rules of API keys. A key acts as its user, with the user's role of the moment, and never exceeds who made it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import ColumnElement
from sqlalchemy.ext.asyncio import AsyncSession

from embergate.aip.errors import InvalidArgumentError
from embergate.aip.message import require_fields
from embergate.clock import now
from embergate.gateway.api_keys import store
from embergate.gateway.api_keys.schemas import ApiKey, CreateApiKeyRequest
from embergate.gateway.api_keys.store import API_KEYS
from embergate.gateway.call import Call
from embergate.gateway.sessions import store as sessions
from embergate.gateway.users import service as users
from embergate.ids import new_api_key, new_id
from embergate.storage.tables.accounts import UserRow
from embergate.storage.tables.credentials import ApiKeyRow
from embergate.web.keyring import Keyring

DEFAULT_NAME: Final = "default"
PREFIX_CHARACTERS: Final = 8
DEFAULT_GRACE: Final = timedelta(days=1)
MAX_GRACE: Final = timedelta(days=30)


async def owner(call: Call, user_id: str) -> UserRow:
    """Return the user whose keys a call is about. Raises: ForbiddenError if they are not the caller's to manage."""
    return await users.managed(call, user_id, "API keys")


def live_keys(account_id: str, user_id: str) -> tuple[ColumnElement[bool], ...]:
    """Return the conditions of a user's keys that are not deleted."""
    return (ApiKeyRow.account_id == account_id, ApiKeyRow.user_id == user_id, ApiKeyRow.delete_time.is_(None))


async def create(call: Call, user_id: str, request: CreateApiKeyRequest) -> ApiKey:
    """Make a key; the answer is the only place where it is ever shown."""
    require_fields(request)
    assert request.api_key is not None, "require_fields has seen to it. This is a bug."
    user = await owner(call, user_id)
    await _check_expiry(call, request.api_key.expire_time)
    row, key = await add(call.db, call.deps.keyring, user, request.api_key)
    call.event.resource = name_of(row)
    return shown(row, user, key)


async def add(
    db: AsyncSession, keyring: Keyring, user: UserRow, draft: ApiKey, *, key: str | None = None
) -> tuple[ApiKeyRow, str]:
    """Insert a key for a user; the command line and the first start come here too."""
    key = key or new_api_key()
    row = ApiKeyRow(
        key_id=new_id("key_"),
        account_id=user.account_id,
        user_id=user.id,
        display_name=draft.display_name or DEFAULT_NAME,
        digest=keyring.digests_of(key)[0],
        prefix=key[:PREFIX_CHARACTERS],
        annotations=draft.annotations,
        create_time=now(),
        expire_time=draft.expire_time,
        last_used=None,
        delete_time=None,
    )
    db.add(row)
    await db.flush()
    return row, key


def shown(row: ApiKeyRow, user: UserRow, key: str = "") -> ApiKey:
    """Return a key as its owner sees it."""
    return API_KEYS.message_of(row).model_copy(update={"email": user.email, "key": key})


def name_of(row: ApiKeyRow) -> str:
    """Return what the audit trail calls a key: keys have no name on the wire."""
    return f"accounts/{row.account_id}/users/{row.user_id}/apiKeys/{row.key_id}"


async def delete(call: Call, user_id: str, key_id: str) -> None:
    """End a key at once. Raises: NotFoundError."""
    await owner(call, user_id)
    row = await store.get(call.db, call.account_id, user_id, key_id, for_update=True)
    row.delete_time = now()
    call.event.resource = name_of(row)
    call.after_commit.append(call.deps.authenticator.forget)


async def rotate(call: Call, user_id: str, key_id: str, grace: timedelta | None) -> ApiKey:
    """Make a key like an old one, which then works for a grace period more, and not longer than it would have."""
    grace = DEFAULT_GRACE if grace is None else grace
    if not timedelta(0) <= grace <= MAX_GRACE:
        raise InvalidArgumentError("gracePeriod must be from 0s to 2592000s (30 days)", field="gracePeriod")
    user = await owner(call, user_id)
    # NOTE: locked, so that a key which is deleted at this moment has no successor that outlives it.
    old = await store.get(call.db, call.account_id, user_id, key_id, for_update=True)
    draft = ApiKey(display_name=old.display_name, annotations=old.annotations, expire_time=old.expire_time)
    await _check_expiry(call, draft.expire_time)
    row, key = await add(call.db, call.deps.keyring, user, draft)
    ends = now() + grace
    old.expire_time = min(old.expire_time, ends) if old.expire_time else ends
    call.event.message = f"replaced by {row.key_id}"
    call.after_commit.append(call.deps.authenticator.forget)
    return shown(row, user, key)


async def _check_expiry(call: Call, expire_time: datetime | None) -> None:
    if expire_time is not None and expire_time <= now():
        raise InvalidArgumentError("apiKey.expireTime is in the past", field="apiKey.expireTime")
    caller = call.caller
    limit = caller.expires_at if caller.key_id else None
    if caller.session_id:
        limit = await sessions.find_end_of_key(call.db, caller.account, caller.session_id)
    if limit is not None and (expire_time is None or expire_time > limit):
        raise InvalidArgumentError(
            f"apiKey.expireTime must not be after {limit.isoformat()}, when the key that makes it ends",
            field="apiKey.expireTime",
        )
