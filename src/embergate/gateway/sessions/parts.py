"""What the rooms need of sessions, made by the composition root."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from embergate.gateway.sessions.attempts import LoginAttempts
from embergate.gateway.sessions.passwords import Passwords
from embergate.gateway.sessions.rules import SessionRules
from embergate.gateway.sessions.tokens import AccessTokens

if TYPE_CHECKING:
    from embergate.gateway.sessions.oidc import OidcProvider


@dataclass(frozen=True, slots=True)
class SessionParts:
    """The parts of sessions; `oidc` is None on a server that is not set up for it."""

    rules: SessionRules
    tokens: AccessTokens
    passwords: Passwords
    attempts: LoginAttempts
    oidc: OidcProvider | None = None
