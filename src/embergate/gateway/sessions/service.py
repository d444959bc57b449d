"""The rules of sessions: who may open one, how its tokens are replaced, and how it ends.

A refresh token is good for one use. Shown again later, one of the two who showed it is a thief, and the session ends. Shown
again within seconds it is refused only, so that a client that asked twice at once keeps the pair that the first answer held;
a thief who was those seconds ahead of the owner is found out when the owner shows the token once more.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.datastructures import Headers

from embergate.aip.errors import InvalidArgumentError
from embergate.clock import now
from embergate.errors import FailedPreconditionError, ForbiddenError, UnauthenticatedError, UnauthorizedError
from embergate.gateway.authentication import caller_of
from embergate.gateway.call import Call
from embergate.gateway.ended_keys import EndedKeyError
from embergate.gateway.sessions import store
from embergate.gateway.sessions.parts import SessionParts
from embergate.gateway.sessions.passwords import check_new_password
from embergate.gateway.sessions.schemas import LoginRequest, RefreshSessionTokenResponse
from embergate.gateway.users import store as users
from embergate.gateway.users.service import email_key, managed
from embergate.ids import new_id, new_token
from embergate.storage.database import Database
from embergate.storage.tables.accounts import UserRow
from embergate.storage.tables.credentials import RefreshTokenRow, SessionRow
from embergate.web.caller import Caller, credential_of

# The same for an unknown address and a wrong password; and it may help whoever is in several accounts.
WRONG_LOGIN: Final = (
    "the address or the password is wrong; if the address is in several accounts, name one in `account`"
)
WRONG_KEY: Final = "the API key is not valid"
WRONG_REFRESH_TOKEN: Final = "the refresh token is not valid; log in again"  # noqa: S105 - a message
ENDED: Final = "the session has ended; log in again"
# What has ended is kept this long, for whoever looks into a theft.
KEEP_ENDED: Final = timedelta(days=7)


async def login(call: Call, request: LoginRequest) -> RefreshSessionTokenResponse:
    """Open a session. Raises: UnauthenticatedError, TooManyRequestsError."""
    with_password = bool(request.email or request.password or request.account)
    if with_password == bool(request.api_key) or with_password != bool(request.email and request.password):
        raise InvalidArgumentError("send email and password, or apiKey alone")
    address = email_key(request.email) if with_password else None
    call.deps.sessions.attempts.admit(call.event.client_ip, address)
    if address is None:
        return await _login_by_key(call, request.api_key)
    return await _login_by_password(call, address, request)


async def _login_by_password(call: Call, address: str, request: LoginRequest) -> RefreshSessionTokenResponse:
    passwords = call.deps.sessions.passwords
    # Looked up apart from the call's own transaction, which would keep every writer waiting while the hash is computed.
    async with call.deps.database.reading() as db:
        candidates = [user for user in await store.find_by_email(db, address, request.account) if user.password_hash]
    user = candidates[0] if candidates else None
    fits = await passwords.fits(user.password_hash if user else None, request.password)
    if user is None or user.password_hash is None:
        raise UnauthenticatedError(WRONG_LOGIN)
    note_user(call, user)
    if not fits:
        call.event.message = "wrong password"
        raise UnauthenticatedError(WRONG_LOGIN)
    if len(candidates) > 1:
        raise InvalidArgumentError("the address is in several accounts; name one in `account`", field="account")
    fresh_hash = await passwords.hash(request.password) if passwords.is_outdated(user.password_hash) else None
    if not await store.has_password(call.db, user.account_id, user.id, user.password_hash):
        call.event.message = "the password was changed meanwhile"
        raise UnauthenticatedError(WRONG_LOGIN)
    if fresh_hash is not None:
        await store.set_password(call.db, user.account_id, user.id, fresh_hash, moment=user.update_time)
    return await open_session(call, user, "password")


async def _login_by_key(call: Call, key: str) -> RefreshSessionTokenResponse:
    try:
        caller = await call.deps.authenticator.authenticate(key)
    except UnauthorizedError as error:
        _note_ended_key(call, error)
        raise UnauthenticatedError(WRONG_KEY) from None
    if not caller.key_id:
        raise UnauthenticatedError(WRONG_KEY)  # an access token: its session has a refresh token for this
    user = await users.get(call.db, caller.account, caller.user)
    return await open_session(call, user, "api_key", key_id=caller.key_id, key_ends_at=caller.expires_at)


def note_user(call: Call, user: UserRow, session_id: str = "", key_id: str = "") -> None:
    """Say whose call it is, once that is known: from then on it is in the account's audit trail."""
    _note_caller(call, caller_of(user, key_id=key_id))
    if session_id:
        call.event.resource += f"/sessions/{session_id}"


def _note_caller(call: Call, caller: Caller) -> None:
    call.account_id = caller.account
    call.event.by(caller, caller.account)
    call.event.resource = f"accounts/{caller.account}/users/{caller.user}"


def _note_ended_key(call: Call, error: UnauthorizedError) -> None:
    """Let the audit trail tell of a key that was deleted or has expired, and is tried all the same."""
    if isinstance(error, EndedKeyError):
        _note_caller(call, error.caller)
        call.event.message = error.what_ended_it


async def open_session(
    call: Call, user: UserRow, login_method: str, *, key_id: str | None = None, key_ends_at: datetime | None = None
) -> RefreshSessionTokenResponse:
    """Open a session for a user who has proved to be one; it ends with the key that proved it."""
    moment = now()
    ends_at = moment + call.deps.sessions.rules.session_lifetime
    session = SessionRow(
        id=new_id("ses_"),
        account_id=user.account_id,
        user_id=user.id,
        login_method=login_method,
        key_id=key_id,
        create_time=moment,
        expire_time=min(ends_at, key_ends_at) if key_ends_at else ends_at,
        revoke_time=None,
    )
    call.db.add(session)
    await call.db.flush()
    note_user(call, user, session.id, key_id or "")
    return await _issue(call, session, moment)


async def _issue(call: Call, session: SessionRow, moment: datetime) -> RefreshSessionTokenResponse:
    refresh_token = new_token()
    call.db.add(
        RefreshTokenRow(
            digest=call.deps.keyring.refresh_digests_of(refresh_token)[0],
            session_id=session.id,
            create_time=moment,
            expire_time=session.expire_time,
            spend_time=None,
        )
    )
    await call.db.flush()
    access = await call.deps.sessions.tokens.mint(call.db, session)
    return RefreshSessionTokenResponse(
        token=access.token,
        expire_time=access.expires_at,
        refresh_token=refresh_token,
        refresh_expire_time=session.expire_time,
    )


async def refresh(call: Call, refresh_token: str) -> RefreshSessionTokenResponse:
    """Give a session a fresh pair for its refresh token. Raises: UnauthenticatedError, TooManyRequestsError."""
    if not refresh_token:
        raise InvalidArgumentError("refreshToken is required", field="refreshToken")
    moment = now()
    digests = call.deps.keyring.refresh_digests_of(refresh_token)
    async with call.deps.database.reading() as db:
        await _known(call, db, digests)  # first: who makes tokens up must not keep those waiting who write
    is_spent_now = await store.spend(call.db, digests, moment)
    token, session, user = await _known(call, call.db, digests)
    note_user(call, user, session.id)
    if await store.find_live(call.db, session.account_id, session.id, moment) is None:
        raise UnauthenticatedError(ENDED)
    if not is_spent_now:
        raise _used_before(call, token, session, moment)
    return await _issue(call, session, moment)


async def _known(call: Call, db: AsyncSession, digests: Sequence[bytes]) -> Row[RefreshTokenRow, SessionRow, UserRow]:
    """Return a refresh token that there is, or was. Raises: UnauthenticatedError; TooManyRequestsError for one more guess."""
    found = await store.find_by_refresh_token(db, digests)
    if found is None:
        call.deps.sessions.attempts.admit(call.event.client_ip, None)
        raise UnauthenticatedError(WRONG_REFRESH_TOKEN)
    return found


def _used_before(call: Call, token: RefreshTokenRow, session: SessionRow, moment: datetime) -> UnauthenticatedError:
    if token.spend_time is None:
        return UnauthenticatedError(ENDED)  # the token has expired this very moment, with its session
    if moment - token.spend_time <= call.deps.sessions.rules.refresh_leeway:
        call.event.message = "a refresh token was shown again right after its use"
        return UnauthenticatedError("the refresh token has just been used; use the one that came back")
    call.event.message = "a used refresh token was shown again: the session is revoked"
    call.on_failure.append(partial(_end, call, session.account_id, session.id))
    return UnauthenticatedError("the refresh token was used before, so the session has been ended; log in again")


async def logout(call: Call, refresh_token: str, headers: Headers) -> None:
    """End the session of a refresh token, or else that of the access token in the headers.

    Raises: UnauthenticatedError, TooManyRequestsError.
    """
    if refresh_token:
        async with call.deps.database.reading() as db:
            _, session, user = await _known(call, db, call.deps.keyring.refresh_digests_of(refresh_token))
        account_id, session_id = session.account_id, session.id
    else:
        try:
            caller = await call.deps.authenticator.authenticate(credential_of(headers))
        except UnauthorizedError as error:
            _note_ended_key(call, error)
            raise UnauthenticatedError(error.message) from None
        user = await users.get(call.db, caller.account, caller.user)
        account_id, session_id = caller.account, caller.session_id
    note_user(call, user, session_id)
    if not session_id:
        raise InvalidArgumentError("an API key has no session: delete the key, or send a session's token")
    await _end(call, account_id, session_id, call.db)


async def _end(call: Call, account_id: str, session_id: str, db: AsyncSession) -> None:
    await store.revoke(db, account_id, session_id, now())
    call.after_commit.append(call.deps.authenticator.forget)


async def end_all(call: Call, user_id: str) -> None:
    """End every session of a user: the caller's own, or of one whom the caller may manage.

    Raises: ForbiddenError, NotFoundError.
    """
    user = await managed(call, user_id, "sessions")
    await store.revoke_all(call.db, user.account_id, user.id, now())
    call.after_commit.append(call.deps.authenticator.forget)


async def change_password(call: Call, current: str, new: str) -> None:
    """Replace the caller's own password, and end its other sessions.

    Raises: ForbiddenError if the current one is wrong; FailedPreconditionError if there is none.
    """
    check_new_password(new, "newPassword")
    caller, passwords = call.caller, call.deps.sessions.passwords
    call.event.resource = f"accounts/{caller.account}/users/{caller.user}"
    call.deps.sessions.attempts.admit(call.event.client_ip, call.event.resource)
    async with call.deps.database.reading() as db:
        old_hash = (await users.get(db, caller.account, caller.user)).password_hash
    if old_hash is None:
        raise FailedPreconditionError("the user has no password yet; an operator sets the first one")
    fits = await passwords.fits(old_hash, current)
    new_hash = await passwords.hash(new) if fits else ""
    if not fits or not await store.has_password(call.db, caller.account, caller.user, old_hash):
        call.event.message = "wrong password"
        raise ForbiddenError("the current password is wrong", param="currentPassword")
    await replace_password(call.db, caller.account, caller.user, new_hash, keep_session=caller.session_id)
    call.after_commit.append(call.deps.authenticator.forget)


async def set_password(call: Call, user_id: str, password_hash: str) -> None:
    """Give a user of the account a password, whatever it was, and end the user's sessions. An operator's act.

    Raises: NotFoundError; FailedPreconditionError for a service account.
    """
    user = await users.get(call.db, call.account_id, user_id)
    if user.service_account:
        raise FailedPreconditionError("a service account has no password: make it an API key")
    call.event.resource = f"accounts/{call.account_id}/users/{user_id}"
    await replace_password(call.db, call.account_id, user_id, password_hash)
    call.after_commit.append(call.deps.authenticator.forget)


async def replace_password(
    db: AsyncSession, account_id: str, user_id: str, password_hash: str, *, keep_session: str = ""
) -> None:
    """Store a new hash, and end the user's sessions but one.

    NOTE: hash before the transaction begins; it takes a tenth of a second.
    """
    moment = now()
    await store.set_password(db, account_id, user_id, password_hash, moment=moment)
    await store.revoke_all(db, account_id, user_id, moment, besides=keep_session)


async def purge(database: Database, parts: SessionParts) -> int:
    """Delete sessions and signing keys that ended long ago; return how many sessions."""
    before = now() - KEEP_ENDED
    num_deleted = 0
    is_done = False
    while not is_done:
        async with database.writing() as db:
            num = await store.delete_ended(db, before)
        num_deleted += num
        is_done = num < store.PURGE_BATCH
    async with database.writing() as db:
        await parts.tokens.delete_retired(db)
    return num_deleted
