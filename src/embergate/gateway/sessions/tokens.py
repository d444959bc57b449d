"""Access tokens: short-lived signed JWTs that name a session, and the keys that sign them, which all processes share.

HS256, because whoever verifies a token also signs tokens: every process of one server, and nobody else. A public key would
have no reader, since a token is worth nothing without its session's row, and an EdDSA check costs five times as much. This
one algorithm is accepted, whatever a token says of itself.

Keys lie in the database, encrypted. They are numbered, so that of several processes that make the next one all but one find
it made; a number's key signs from a few seconds after it was made, when every process can have read it, until the next one
does; it verifies until no token that it signed can live.

Source: https://www.rfc-editor.org/rfc/rfc7519, https://www.rfc-editor.org/rfc/rfc8725
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import jwt
import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from embergate.clock import monotonic_s, now
from embergate.errors import UnauthorizedError
from embergate.gateway.sessions import store
from embergate.gateway.sessions.rules import SessionRules
from embergate.ids import new_id, new_secret_bytes
from embergate.storage.tables.credentials import SessionRow, SigningKeyRow
from embergate.web.keyring import DecryptionError, Keyring

ALGORITHM: Final = "HS256"
ISSUER: Final = "embergate"
REQUIRED: Final = ["iss", "sub", "account", "sid", "iat", "exp", "jti"]
# Every JWT begins with these characters, `{"` in base64; an API key begins with `eg_`.
JWT_START: Final = "eyJ"
# What the clocks of two processes may differ by.
LEEWAY: Final = timedelta(seconds=5)
# A new key is in the database this long before it signs.
SETTLING: Final = timedelta(seconds=5)
# An unknown key is looked for once in this time at most; keys are read again after the longer one in any case.
RELOAD_S: Final = 1.0
STALE_S: Final = 60.0
# A retired key's row is kept for the longest life that the settings allow a token: processes may differ in theirs.
KEEP_RETIRED: Final = timedelta(days=1)
NOT_VALID: Final = "the access token is not valid"
log: structlog.stdlib.BoundLogger = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Claims:
    """What a valid access token says."""

    account_id: str
    user_id: str
    session_id: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class AccessToken:
    """A fresh access token, and when it ends."""

    token: str = field(repr=False)
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key that can be read; `ends_at` is when it stops verifying, None for the one that signs."""

    id: str
    secret: bytes = field(repr=False)
    create_time: datetime
    ends_at: datetime | None


def looks_like_access_token(credential: str) -> bool:
    """Tell an access token from an API key, without checking either."""
    return credential.startswith(JWT_START) and credential.count(".") == 2 and credential.isascii()


class AccessTokens:
    """Signs access tokens and verifies them."""

    def __init__(self, keyring: Keyring, rules: SessionRules | None = None) -> None:
        """Start knowing no key: they are read when the first token comes."""
        self._keyring = keyring
        self._rules = rules or SessionRules()
        self._keys: dict[str, SigningKey] = {}
        self._loaded_at_s: float | None = None
        self._loading = asyncio.Lock()

    async def mint(self, db: AsyncSession, session: SessionRow) -> AccessToken:
        """Return a token for a session; it ends with the session at the latest. `db` is a transaction that writes.

        NOTE: the key is read from the transaction each time: one that was kept here could be of a transaction undone since.
        """
        moment = now()
        key = await self._key_to_sign_with(db, moment)
        if key.id not in self._keys:
            self._loaded_at_s = None  # to be read again for the token's first use, however lately they were
        expires_at = min(moment + self._rules.access_lifetime, session.expire_time).replace(microsecond=0)
        claims = {
            "iss": ISSUER,
            "sub": f"accounts/{session.account_id}/users/{session.user_id}",
            "account": session.account_id,
            "sid": session.id,
            "iat": int(moment.timestamp()),
            "exp": int(expires_at.timestamp()),
            "jti": new_id(),
        }
        return AccessToken(jwt.encode(claims, key.secret, ALGORITHM, headers={"kid": key.id}), expires_at)

    async def verify(self, db: AsyncSession, token: str) -> Claims:
        """Return what a token says. Whether its session lives is for the caller to ask; `db` only reads.

        Raises: UnauthorizedError if it is expired, or not signed by a key of this server.
        """
        try:
            key = await self._find_key(db, jwt.get_unverified_header(token).get("kid"))
            claims: dict[str, Any] = jwt.decode(
                token, key.secret, algorithms=[ALGORITHM], issuer=ISSUER, leeway=LEEWAY, options={"require": REQUIRED}
            )
        except jwt.ExpiredSignatureError:
            raise UnauthorizedError("the access token has expired; refresh it") from None
        except jwt.PyJWTError:
            raise UnauthorizedError(NOT_VALID) from None
        return Claims(
            account_id=claims["account"],
            user_id=claims["sub"].rpartition("/")[2],
            session_id=claims["sid"],
            expires_at=datetime.fromtimestamp(claims["exp"], UTC),
        )

    async def delete_retired(self, db: AsyncSession) -> None:
        """Delete the keys that verify nothing any more."""
        limit = now() - KEEP_RETIRED
        keys = await self._stored_keys(db)
        await store.delete_signing_keys(db, [key.id for key in keys if key.ends_at and key.ends_at < limit])

    async def _find_key(self, db: AsyncSession, key_id: object) -> SigningKey:
        async with self._loading:  # whoever comes while the keys are read waits for them
            age_s = STALE_S if self._loaded_at_s is None else monotonic_s() - self._loaded_at_s
            if age_s >= STALE_S or (key_id not in self._keys and age_s >= RELOAD_S):
                loaded_at_s = monotonic_s()
                self._keys = {key.id: key for key in await self._stored_keys(db)}
                self._loaded_at_s = loaded_at_s
        key = self._keys.get(key_id) if isinstance(key_id, str) else None
        if key is None or (key.ends_at is not None and key.ends_at <= now()):
            raise UnauthorizedError(NOT_VALID)
        return key

    async def _key_to_sign_with(self, db: AsyncSession, moment: datetime) -> SigningKey:
        rows = await store.list_signing_keys(db)
        keys = self._readable(rows)
        if not keys or moment - keys[-1].create_time >= self._rules.signing_key_age:
            await self._make_key(db, rows, moment)
            keys = await self._stored_keys(db)
        settled = [key for key in keys if key.create_time <= moment - SETTLING]
        return settled[-1] if settled else keys[0]

    async def _make_key(self, db: AsyncSession, rows: Sequence[SigningKeyRow], moment: datetime) -> None:
        """Make the key after those of `rows`.

        NOTE: the number follows from the very rows that a key was found missing among. Read again, they could hold the key
        that another process has just made, and this would make one more.
        """
        number = max((int(row.id) for row in rows), default=0) + 1
        await store.insert_signing_key(db, str(number), self._keyring.encrypt(new_secret_bytes()), moment)

    async def _stored_keys(self, db: AsyncSession) -> list[SigningKey]:
        return self._readable(await store.list_signing_keys(db))

    def _readable(self, rows: Sequence[SigningKeyRow]) -> list[SigningKey]:
        """Return the keys that this process can read, oldest first."""
        readable: list[tuple[SigningKeyRow, bytes]] = []
        for row in rows:
            try:
                readable.append((row, self._keyring.decrypt(row.encrypted_key)))
            except DecryptionError:
                log.warning("signing_key_unreadable", key_id=row.id)
        return [
            SigningKey(row.id, secret, row.create_time, self._end_of(readable[number + 1 :]))
            for number, (row, secret) in enumerate(readable)
        ]

    def _end_of(self, newer: Sequence[tuple[SigningKeyRow, bytes]]) -> datetime | None:
        if not newer:
            return None
        return newer[0][0].create_time + SETTLING + self._rules.access_lifetime + 2 * LEEWAY
