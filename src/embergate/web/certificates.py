"""Whom this server trusts when it calls others by TLS."""

from __future__ import annotations

import ssl
from functools import cache

import httpx2


@cache
def trusted_certificates() -> ssl.SSLContext:
    """Return whom to trust: read once, since reading holds up the event loop."""
    return httpx2.create_ssl_context()
