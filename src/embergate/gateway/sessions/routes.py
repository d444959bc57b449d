"""Sessions: log in, refresh, log out, change the password; log in by an OpenID Connect provider.

All but the change of a password prove who calls by what they hold, and need no key.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request
from pydantic import Field
from starlette.responses import RedirectResponse, Response

from embergate.aip.message import require_fields
from embergate.gateway.access import Permission
from embergate.gateway.answers import Empty, answer, answer_secret
from embergate.gateway.body import body_of
from embergate.gateway.call import CurrentCall
from embergate.gateway.edge import Operation
from embergate.gateway.resource_type import QueryParameters
from embergate.gateway.sessions import oidc_login, service
from embergate.gateway.sessions.schemas import (
    ChangePasswordRequest,
    LoginRequest,
    LogoutRequest,
    RefreshSessionTokenRequest,
    RefreshSessionTokenResponse,
)

Pair = RefreshSessionTokenResponse
LOGIN: Final = Operation("Login", Pair, needs=None, takes=LoginRequest, writes=True)
REFRESH: Final = Operation("RefreshSessionToken", Pair, needs=None, takes=RefreshSessionTokenRequest, writes=True)
LOGOUT: Final = Operation("Logout", Empty, needs=None, takes=LogoutRequest, writes=True, takes_credential=True)
CHANGE_PASSWORD: Final = Operation(
    "ChangePassword", Empty, needs=Permission.ITSELF, takes=ChangePasswordRequest, writes=True
)
OIDC_LOGIN: Final = Operation("OidcLogin", Empty, needs=None)
OIDC_CALLBACK: Final = Operation("OidcCallback", Pair, needs=None, writes=True)
COOKIE: Final = "embergate_oidc"
COOKIE_PATH: Final = "/v1/auth/oidc"


class OidcLoginParameters(QueryParameters):
    """The query of OidcLogin."""

    account: str = Field("", max_length=63, description="The account to log in to, for an address that is in several.")


class OidcCallbackParameters(QueryParameters):
    """The query of OidcCallback, made by the provider."""

    code: str = Field("", description="What the provider gives for tokens.")
    state: str = Field("", description="What OidcLogin sent.")
    error: str = Field("", description="Why the provider refuses.")


router = APIRouter(prefix="/auth", tags=["sessions"])


@router.post("/login", **LOGIN.route("Open a session"))
async def login(call: CurrentCall, request: Annotated[LoginRequest, body_of(LoginRequest)]) -> Response:
    """Open a session by an address and a password, or by an API key."""
    return answer_secret(await service.login(call, request))


@router.post("/refresh", **REFRESH.route("Replace a session's tokens"))
async def refresh(
    call: CurrentCall, request: Annotated[RefreshSessionTokenRequest, body_of(RefreshSessionTokenRequest)]
) -> Response:
    """Return fresh tokens for a refresh token, which is used up by it."""
    return answer_secret(await service.refresh(call, request.refresh_token))


@router.post("/logout", **LOGOUT.route("End a session"))
async def logout(
    call: CurrentCall, request: Annotated[LogoutRequest, body_of(LogoutRequest)], http: Request
) -> Response:
    """End the session of the refresh token in the body, or else of the access token in the header."""
    await service.logout(call, request.refresh_token, http.headers)
    return answer(Empty())


@router.post("/password:change", **CHANGE_PASSWORD.route("Change one's own password"))
async def change_password(
    call: CurrentCall, request: Annotated[ChangePasswordRequest, body_of(ChangePasswordRequest)]
) -> Response:
    """Replace the caller's password, and end the caller's other sessions."""
    require_fields(request)
    await service.change_password(call, request.current_password, request.new_password)
    return answer(Empty())


def _redirect(route: dict[str, Any]) -> dict[str, Any]:
    responses = {code: response for code, response in route["responses"].items() if code != 200}
    return {**route, "status_code": 302, "responses": {302: {"description": "To the provider."}, **responses}}


@router.get("/oidc/login", **_redirect(OIDC_LOGIN.route("Log in by the OpenID Connect provider")))
async def oidc_begin(call: CurrentCall, query: Annotated[OidcLoginParameters, Query()]) -> Response:
    """Send the browser to the provider."""
    url, cookie, is_https = await oidc_login.begin(call, query.account)
    response = RedirectResponse(url, 302, {"cache-control": "no-store"})
    response.set_cookie(
        COOKIE,
        cookie,
        max_age=int(oidc_login.ATTEMPT_LIFETIME.total_seconds()),
        path=COOKIE_PATH,
        secure=is_https,
        httponly=True,
        samesite="lax",  # the provider's redirect back must carry it
    )
    return response


@router.get("/oidc/callback", **OIDC_CALLBACK.route("Come back from the OpenID Connect provider"))
async def oidc_callback(
    call: CurrentCall, query: Annotated[OidcCallbackParameters, Query()], http: Request
) -> Response:
    """Open a session for whom the provider vouches."""
    cookie = http.cookies.get(COOKIE, "")
    pair = await oidc_login.finish(call, code=query.code, state=query.state, error=query.error, cookie=cookie)
    response = answer_secret(pair)
    response.delete_cookie(COOKIE, COOKIE_PATH)
    return response
