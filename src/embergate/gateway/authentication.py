"""From a credential to its caller: API keys by their digest, access tokens by their signature and their session.

Answers are kept for a second, so that a revoked credential is refused a second later at most, and at once by the process
that revoked it (`forget`).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import partial
from hashlib import sha256
from typing import Final

from embergate.clock import now
from embergate.errors import UnauthorizedError
from embergate.gateway.api_keys import store as api_keys
from embergate.gateway.ended_keys import EndedKeyError
from embergate.gateway.fresh_cache import FreshCache
from embergate.gateway.sessions import store as sessions
from embergate.gateway.sessions.tokens import AccessTokens, looks_like_access_token
from embergate.storage.database import Database
from embergate.storage.tables.accounts import UserRow
from embergate.web.caller import Caller, Role
from embergate.web.keyring import Keyring

DELETED: Final = "the key was deleted"
EXPIRED: Final = "the key has expired"


class DatabaseAuthenticator:
    """Looks callers up in the database, at most once a second for each credential."""

    def __init__(self, database: Database, keyring: Keyring, tokens: AccessTokens) -> None:
        """Start with an empty cache."""
        # When each API key was last used, to be written down by and by: see `take_used`.
        self._used: dict[str, datetime] = {}
        self._database = database
        self._keyring = keyring
        self._tokens = tokens
        # By the credential's hash, so that none lies about in memory.
        self._callers: FreshCache[bytes, Caller] = FreshCache()

    async def authenticate(self, credential: str) -> Caller:
        """Return the caller. Raises: UnauthorizedError if the credential is unknown, revoked or expired."""
        digest = sha256(credential.encode("utf-8", "surrogateescape")).digest()
        caller = await self._callers.get(digest, partial(self._look_up, credential))
        moment = now()
        if caller.expires_at is not None and caller.expires_at <= moment:
            expired = "the API key or session has expired"
            raise EndedKeyError(caller, EXPIRED, expired) if caller.key_id else UnauthorizedError(expired)
        if caller.key_id:
            self._used[caller.key_id] = moment
        return caller

    def forget(self) -> None:
        """Look every credential up again: one of them may have been revoked, or its user changed."""
        self._callers.forget()

    def take_used(self) -> dict[str, datetime]:
        """Return the keys used since the last call of this, each with the time of its last use."""
        used, self._used = self._used, {}
        return used

    def put_back_used(self, used: Mapping[str, datetime]) -> None:
        """Keep what could not be written down for the next time; later uses stand."""
        self._used = {**used, **self._used}

    async def _look_up(self, credential: str) -> Caller:
        if looks_like_access_token(credential):
            return await self._look_up_session(credential)
        async with self._database.reading() as db:
            found = await api_keys.find_by_digest(db, self._keyring.digests_of(credential))
        if found is None:
            raise UnauthorizedError
        key, user = found
        caller = caller_of(user, key_id=key.key_id, expires_at=key.expire_time)
        if key.delete_time is not None:
            raise EndedKeyError(caller, DELETED)
        return caller

    async def _look_up_session(self, token: str) -> Caller:
        async with self._database.reading() as db:
            claims = await self._tokens.verify(db, token)
            found = await sessions.find_live(db, claims.account_id, claims.session_id, now())
        if found is None:
            raise UnauthorizedError("the session has ended; log in again")
        return caller_of(found, session_id=claims.session_id, expires_at=claims.expires_at)


def caller_of(user: UserRow, *, key_id: str = "", session_id: str = "", expires_at: datetime | None = None) -> Caller:
    """Return a user as a caller."""
    return Caller(
        account=user.account_id,
        user=user.id,
        email=user.email,
        role=Role(user.role),
        is_operator=user.is_operator,
        key_id=key_id,
        session_id=session_id,
        expires_at=expires_at,
    )
