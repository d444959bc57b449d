"""What sessions are on the wire."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field

from embergate.aip.message import INPUT_ONLY, REQUIRED, Message
from embergate.aip.scalars import Timestamp
from embergate.gateway.sessions.passwords import MAX_CHARACTERS

MAX_CREDENTIAL: Final = Field(max_length=4096)
PASSWORD: Final = Field(max_length=MAX_CHARACTERS)


class LoginRequest(Message):
    """The body of Login: an address and a password, or an API key."""

    email: Annotated[str, Field(max_length=320)] = ""
    password: Annotated[str, INPUT_ONLY, PASSWORD] = ""
    account: Annotated[
        str, Field(max_length=63, description="The account to log in to, for an address that is in several.")
    ] = ""
    api_key: Annotated[str, INPUT_ONLY, MAX_CREDENTIAL] = ""


class RefreshSessionTokenRequest(Message):
    """The body of RefreshSessionToken."""

    refresh_token: Annotated[str, INPUT_ONLY, MAX_CREDENTIAL] = ""


class RefreshSessionTokenResponse(Message):
    """A session's tokens: one to send with calls, and one that is good for the next pair, once."""

    token: str = ""
    expire_time: Timestamp | None = None
    refresh_token: str = ""
    refresh_expire_time: Timestamp | None = None


class LogoutRequest(Message):
    """The body of Logout; without a refresh token the session of the call's own access token ends."""

    refresh_token: Annotated[str, INPUT_ONLY, MAX_CREDENTIAL] = ""


class EndSessionsRequest(Message):
    """The body of EndSessions: nothing."""


class ChangePasswordRequest(Message):
    """The body of ChangePassword."""

    current_password: Annotated[str, REQUIRED, INPUT_ONLY, PASSWORD] = ""
    new_password: Annotated[str, REQUIRED, INPUT_ONLY, PASSWORD] = ""
