"""The only places that make identifiers and secrets."""

from __future__ import annotations

import secrets
import uuid


def new_request_id() -> str:
    """Return the id of one request, a random UUID."""
    return str(uuid.uuid4())


def new_api_key() -> str:
    """Return a fresh API key of 256 random bits, recognisable by its prefix."""
    return f"eg_{secrets.token_urlsafe(32)}"
