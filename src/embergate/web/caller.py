"""Who calls: from the request's headers to a `Caller`, through an `Authenticator` that the composition root provides.

Every route declares what it asks for by a dependency; which one is never read off the URL.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Final, Protocol

from fastapi import Depends, Request
from starlette.datastructures import Headers

from embergate.errors import UnauthorizedError
from embergate.web.request_log import note

MAX_CREDENTIAL_CHARACTERS: Final = 4096


class Role(enum.StrEnum):
    """What a user may do in its account; each role may do what those after it may."""

    ADMIN = "admin"
    USER = "user"
    CONTRIBUTOR = "contributor"
    INFERENCE_USER = "inference-user"


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated caller: the account that pays and owns, the user who acts, and the credential that was shown."""

    account: str
    user: str
    email: str
    role: Role
    is_operator: bool = False
    key_id: str = ""
    session_id: str = ""
    # When the credential itself ends; None for never.
    expires_at: datetime | None = None


class Authenticator(Protocol):
    """Turns a credential into a caller."""

    async def authenticate(self, credential: str) -> Caller:
        """Return the caller. Raises: UnauthorizedError if the credential is unknown, revoked or expired."""
        ...


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
    caller = await authenticator.authenticate(credential_of(request.headers))
    note_caller(caller)
    return caller


def note_caller(caller: Caller) -> None:
    """Name the caller in what is logged of the request from now on."""
    note(key_id=caller.key_id, account_id=caller.account, user_id=caller.user)


async def public() -> None:
    """Mark a route that answers without a key; it must reveal nothing about any account."""


CurrentCaller = Annotated[Caller, Depends(require_caller)]
