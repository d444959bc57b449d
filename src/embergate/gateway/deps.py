"""What the gateway is handed by the composition root."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from fastapi import Request

from embergate.aip.paging import PageTokens
from embergate.gateway.authentication import DatabaseAuthenticator
from embergate.storage.database import Database
from embergate.web.keyring import Keyring


@dataclass(frozen=True, slots=True)
class GatewayDeps:
    """The parts that gateway rooms use."""

    database: Database
    keyring: Keyring
    page_tokens: PageTokens
    authenticator: DatabaseAuthenticator


def gateway_of(request: Request) -> GatewayDeps:
    """Return the parts of the application that handles the request."""
    return cast(GatewayDeps, request.app.state.gateway)
