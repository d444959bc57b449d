"""Who calls: from the request's headers to a `Caller`, through an `Authenticator` that the composition root provides.

Every route declares one of two dependencies, `require_caller` or `public`; which one is never read off the URL.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from hashlib import sha256
from typing import Annotated, Final, Protocol

from fastapi import Depends, Request
from starlette.datastructures import Headers

from embergate.errors import UnauthorizedError

MAX_CREDENTIAL_CHARACTERS: Final = 4096


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated caller: the account that pays and owns, and the key that was shown."""

    account: str
    key_id: str


class Authenticator(Protocol):
    """Turns a credential into a caller."""

    async def authenticate(self, credential: str) -> Caller:
        """Return the caller. Raises: UnauthorizedError if the credential is unknown, revoked or expired."""
        ...


class SingleKeyAuthenticator:
    """One API key, known by its SHA-256: the key of a server that has no control plane yet."""

    def __init__(self, key_digest: bytes, *, account: str) -> None:
        """Accept the key with this digest, for this account."""
        self._digest = key_digest
        self._caller = Caller(account=account, key_id="bootstrap")

    async def authenticate(self, credential: str) -> Caller:
        """Compare digests in constant time."""
        if not hmac.compare_digest(digest_of(credential), self._digest):
            raise UnauthorizedError
        return self._caller


def digest_of(credential: str) -> bytes:
    """Return a credential's SHA-256; enough for keys of 256 random bits, which no dictionary holds."""
    return sha256(credential.encode("utf-8", "surrogateescape")).digest()


def credential_of(headers: Headers) -> str:
    """Return the bearer token or the X-Api-Key of a request.

    Raises: UnauthorizedError saying which header to send.
    """
    scheme, _, token = headers.get("authorization", "").partition(" ")
    bearer = token.strip() if scheme.lower() == "bearer" else ""
    credential = bearer or headers.get("x-api-key", "").strip()
    if not credential:
        raise UnauthorizedError("no API key: send `Authorization: Bearer <key>` or `X-Api-Key: <key>`")
    if len(credential) > MAX_CREDENTIAL_CHARACTERS:
        raise UnauthorizedError
    return credential


async def require_caller(request: Request) -> Caller:
    """Authenticate the request; the dependency of every route that is not `public`."""
    authenticator: Authenticator = request.app.state.deps.authenticator
    return await authenticator.authenticate(credential_of(request.headers))


async def public() -> None:
    """Mark a route that answers without a key; it must reveal nothing about any account."""


CurrentCaller = Annotated[Caller, Depends(require_caller)]
