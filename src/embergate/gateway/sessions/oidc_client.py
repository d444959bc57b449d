"""What is known of logins by OpenID Connect before the provider is asked. What asks it is imported where one is set."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class OidcClient:
    """What the provider knows this server as. The secret is empty for a public client."""

    issuer: str
    client_id: str
    redirect_url: str
    client_secret: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Attempt:
    """A login that has begun: what binds the provider's answer to the browser that asked."""

    state: str = field(repr=False)
    nonce: str = field(repr=False)
    code_verifier: str = field(repr=False)
