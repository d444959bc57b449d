"""The only places that make identifiers and secrets."""

from __future__ import annotations

import secrets
import string
import time
import uuid
from typing import Final

ID_CHARACTERS: Final = string.ascii_lowercase + string.digits


def new_request_id() -> str:
    """Return the id of one request, a random UUID."""
    return str(uuid.uuid4())


def new_api_key() -> str:
    """Return a fresh API key of 256 random bits, recognisable by its prefix."""
    return f"eg_{secrets.token_urlsafe(32)}"


def new_token() -> str:
    """Return a fresh secret of 256 random bits."""
    return secrets.token_urlsafe(32)


def new_secret_bytes() -> bytes:
    """Return 32 random bytes, for a key."""
    return secrets.token_bytes(32)


def new_id(prefix: str = "") -> str:
    """Return a fresh id that sorts by the time it was made: UUIDv7's 48 bits of milliseconds and 74 random ones, in hex.

    Source: https://www.rfc-editor.org/rfc/rfc9562#name-uuid-version-7
    """
    milliseconds = time.time_ns() // 1_000_000
    return f"{prefix}{milliseconds:012x}{secrets.randbits(74):019x}"


def new_short_id(prefix: str) -> str:
    """Return `prefix` and 10 random letters and digits, for the end of a resource name."""
    return prefix + "".join(secrets.choice(ID_CHARACTERS) for _ in range(10))
