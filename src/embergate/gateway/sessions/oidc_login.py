"""Logging in by way of an OpenID Connect provider. What binds its answer to the browser is kept in an encrypted cookie there.

The provider's verified address selects a user; none is ever made.
"""

from __future__ import annotations

import hmac
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import orjson

from embergate.aip.errors import InvalidArgumentError
from embergate.clock import now
from embergate.errors import FailedPreconditionError, ForbiddenError, NotFoundError, UnauthenticatedError
from embergate.gateway.call import Call
from embergate.gateway.sessions import service, store
from embergate.gateway.sessions.oidc_client import Attempt
from embergate.gateway.sessions.schemas import RefreshSessionTokenResponse
from embergate.gateway.users.service import email_key
from embergate.web.keyring import DecryptionError

if TYPE_CHECKING:
    from embergate.gateway.sessions.oidc import OidcProvider

# Somebody may have to find their second factor first.
ATTEMPT_LIFETIME: Final = timedelta(minutes=10)
PURPOSE: Final = "oidc-login"
MAX_CODE_CHARACTERS: Final = 4096
STALE: Final = "this login was begun elsewhere or too long ago; start again at /v1/auth/oidc/login"


async def begin(call: Call, account_id: str) -> tuple[str, str, bool]:
    """Return where to send the browser, the cookie it keeps meanwhile, and whether it comes back by https."""
    provider = _provider(call)
    url, attempt = await provider.begin()
    kept = {
        "for": PURPOSE,
        "ends": (now() + ATTEMPT_LIFETIME).timestamp(),
        "account": account_id,
        "attempt": [attempt.state, attempt.nonce, attempt.code_verifier],
    }
    return url, call.deps.keyring.encrypt(orjson.dumps(kept)).decode(), provider.returns_by_https


async def finish(call: Call, *, code: str, state: str, error: str, cookie: str) -> RefreshSessionTokenResponse:
    """Open a session for whom the provider vouches.

    Raises: UnauthenticatedError if it does not; ForbiddenError if there is no such user; FailedPreconditionError if there
        are several.
    """
    call.event.payload.pop("query", None)  # the code and the state are secrets
    provider = _provider(call)
    call.deps.sessions.attempts.admit(call.event.client_ip, None)
    kept = _opened(call, cookie)
    attempt = Attempt(*kept["attempt"])
    if not hmac.compare_digest(attempt.state.encode(), state.encode()):
        raise UnauthenticatedError(STALE)
    if error:
        raise UnauthenticatedError(f"the OIDC provider refused the login: {error[:100]}")
    if not 0 < len(code) <= MAX_CODE_CHARACTERS:
        raise InvalidArgumentError("code is required", field="code")
    email = await provider.verified_email(code, attempt)
    users = await store.find_by_email(call.db, email_key(email), kept["account"])
    if not users:
        raise ForbiddenError("no user has this address; ask an admin of the account to add one")
    if len(users) > 1:
        raise FailedPreconditionError(
            "the address is in several accounts; start again at /v1/auth/oidc/login?account=<the account>"
        )
    return await service.open_session(call, users[0], "oidc")


def _provider(call: Call) -> OidcProvider:
    if call.deps.sessions.oidc is None:
        raise NotFoundError("this server has no OIDC provider; its operator can set one by EMBERGATE_OIDC_ISSUER")
    return call.deps.sessions.oidc


def _opened(call: Call, cookie: str) -> dict[str, Any]:
    try:
        kept = orjson.loads(call.deps.keyring.decrypt(cookie.encode()))
    except (DecryptionError, orjson.JSONDecodeError):
        raise UnauthenticatedError(STALE) from None
    # Other things are encrypted with these keys as well.
    if not isinstance(kept, dict) or kept.get("for") != PURPOSE or kept["ends"] < now().timestamp():
        raise UnauthenticatedError(STALE)
    return kept
