"""How long what belongs to a session lives, and how often somebody may try to open one. Set by the operator."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class SessionRules:
    """The settings of sessions, with their defaults."""

    access_lifetime: timedelta = timedelta(minutes=15)
    # From the login on; no refresh makes it longer.
    session_lifetime: timedelta = timedelta(days=30)
    # For so long after its use a refresh token that is shown again is refused only, and its session goes on.
    refresh_leeway: timedelta = timedelta(seconds=10)
    # After so long a new key signs.
    signing_key_age: timedelta = timedelta(days=30)
    # Logins in five minutes, by one address from one client, and from one client whatever the address.
    attempts_per_address: int = 10
    attempts_per_client: int = 100
