"""The SQL of sessions, of their refresh tokens, and of the keys that sign access tokens."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Row, and_, delete, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from embergate.storage.insertion import insert_if_absent
from embergate.storage.tables.accounts import UserRow
from embergate.storage.tables.credentials import ApiKeyRow, RefreshTokenRow, SessionRow, SigningKeyRow

USER_OF_SESSION: Final = and_(UserRow.account_id == SessionRow.account_id, UserRow.id == SessionRow.user_id)
# A purge deletes so many sessions a transaction, so that it keeps no writer waiting for long.
PURGE_BATCH: Final = 500


async def find_live(db: AsyncSession, account_id: str, session_id: str, moment: datetime) -> UserRow | None:
    """Return the user of a session, or None if the session is revoked or expired, or the key that opened it is gone."""
    statement = (
        select(UserRow)
        .join(SessionRow, USER_OF_SESSION)
        .outerjoin(ApiKeyRow, ApiKeyRow.key_id == SessionRow.key_id)
        .where(SessionRow.id == session_id, SessionRow.account_id == account_id)
        .where(SessionRow.revoke_time.is_(None), SessionRow.expire_time > moment)
        .where(or_(SessionRow.key_id.is_(None), _key_lives(moment)))
    )
    return (await db.execute(statement)).scalar_one_or_none()


def _key_lives(moment: datetime) -> ColumnElement[bool]:
    return and_(ApiKeyRow.delete_time.is_(None), or_(ApiKeyRow.expire_time.is_(None), ApiKeyRow.expire_time > moment))


async def find_end_of_key(db: AsyncSession, account_id: str, session_id: str) -> datetime | None:
    """Return when the key ends that a session was opened with; None without such a key, or if it does not end."""
    statement = (
        select(ApiKeyRow.expire_time)
        .join(SessionRow, SessionRow.key_id == ApiKeyRow.key_id)
        .where(SessionRow.id == session_id, SessionRow.account_id == account_id)
    )
    return (await db.execute(statement)).scalar_one_or_none()


async def find_by_email(db: AsyncSession, email_key: str, account_id: str = "") -> Sequence[UserRow]:
    """Return the people with this address, in every account unless one is named; service accounts log in by key only.

    NOTE: takes no account, since whoever logs in may not name one.
    """
    statement = select(UserRow).where(UserRow.email_key == email_key, UserRow.service_account.is_(False))
    if account_id:
        statement = statement.where(UserRow.account_id == account_id)
    return (await db.execute(statement.order_by(UserRow.account_id, UserRow.id))).scalars().all()


async def has_password(db: AsyncSession, account_id: str, user_id: str, password_hash: str) -> bool:
    """Tell whether this is still the user's hash, and keep it so until the transaction ends."""
    statement = (
        select(UserRow.id)
        .where(UserRow.account_id == account_id, UserRow.id == user_id, UserRow.password_hash == password_hash)
        .with_for_update()
    )
    return (await db.execute(statement)).first() is not None


async def set_password(
    db: AsyncSession, account_id: str, user_id: str, password_hash: str, *, moment: datetime
) -> None:
    """Replace a user's hash."""
    where = (UserRow.account_id == account_id, UserRow.id == user_id)
    await db.execute(update(UserRow).where(*where).values(password_hash=password_hash, update_time=moment))


async def revoke(db: AsyncSession, account_id: str, session_id: str, moment: datetime) -> None:
    """End a session, unless it has ended."""
    await _revoke(db, moment, SessionRow.account_id == account_id, SessionRow.id == session_id)


async def revoke_all(db: AsyncSession, account_id: str, user_id: str, moment: datetime, *, besides: str = "") -> None:
    """End every session of a user, but one."""
    await _revoke(
        db, moment, SessionRow.account_id == account_id, SessionRow.user_id == user_id, SessionRow.id != besides
    )


async def _revoke(db: AsyncSession, moment: datetime, *where: ColumnElement[bool]) -> None:
    await db.execute(update(SessionRow).where(*where, SessionRow.revoke_time.is_(None)).values(revoke_time=moment))


async def spend(db: AsyncSession, digests: Sequence[bytes], moment: datetime) -> bool:
    """Use up a refresh token; False if it is unknown, expired, or used already.

    Of many that try at the same time one succeeds: the others see its row as it is then, on either database.
    """
    statement = (
        update(RefreshTokenRow)
        .where(RefreshTokenRow.digest.in_(digests), RefreshTokenRow.spend_time.is_(None))
        .where(RefreshTokenRow.expire_time > moment)
        .values(spend_time=moment)
        .returning(RefreshTokenRow.session_id)
    )
    return (await db.execute(statement)).first() is not None


async def find_by_refresh_token(
    db: AsyncSession, digests: Sequence[bytes]
) -> Row[tuple[RefreshTokenRow, SessionRow, UserRow]] | None:
    """Return a refresh token with its session and user, in whatever state it is.

    NOTE: takes no account: the token is what tells it.
    """
    statement: Any = (
        select(RefreshTokenRow, SessionRow, UserRow)
        .join(SessionRow, SessionRow.id == RefreshTokenRow.session_id)
        .join(UserRow, USER_OF_SESSION)
        .where(RefreshTokenRow.digest.in_(digests))
    )
    found: Row[tuple[RefreshTokenRow, SessionRow, UserRow]] | None = (await db.execute(statement)).one_or_none()
    return found


async def delete_ended(db: AsyncSession, before: datetime) -> int:
    """Delete sessions that ended before this moment, and their refresh tokens; return how many, of `PURGE_BATCH` at most."""
    ended = or_(SessionRow.expire_time < before, SessionRow.revoke_time < before)
    ids = (await db.execute(select(SessionRow.id).where(ended).limit(PURGE_BATCH))).scalars().all()
    await db.execute(delete(RefreshTokenRow).where(RefreshTokenRow.session_id.in_(ids)))
    await db.execute(delete(SessionRow).where(SessionRow.id.in_(ids)))
    return len(ids)


async def list_signing_keys(db: AsyncSession) -> Sequence[SigningKeyRow]:
    """Return the keys, oldest first."""
    statement = select(SigningKeyRow).order_by(SigningKeyRow.create_time, SigningKeyRow.id)
    return (await db.execute(statement)).scalars().all()


async def insert_signing_key(db: AsyncSession, key_id: str, encrypted_key: bytes, moment: datetime) -> None:
    """Insert a key, unless another process has made the one with this number."""
    values = {"id": key_id, "encrypted_key": encrypted_key, "create_time": moment}
    await insert_if_absent(db, SigningKeyRow, values)


async def delete_signing_keys(db: AsyncSession, key_ids: Sequence[str]) -> None:
    """Delete keys."""
    await db.execute(delete(SigningKeyRow).where(SigningKeyRow.id.in_(key_ids)))
