"""`Webhook`: sends a message to the one URL that the operator set, signed, in bounded time.

Source: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import ipaddress
from typing import Final

import httpx2

from embergate.clock import now
from embergate.errors import ConfigurationError
from embergate.gateway.sessions.bounded_http import BoundedTransport

TIMEOUT_S: Final = 10.0
# For one message, however slowly the other side answers.
TOTAL_S: Final = 20.0
SECRET_PREFIX: Final = "whsec_"  # noqa: S105 - what secrets begin with
MIN_SECRET_BYTES: Final = 16
LOOPBACK: Final = "localhost"


class Webhook:
    """Where messages go, and the secret that signs them."""

    def __init__(self, url: str, secret: str) -> None:
        """Send nothing yet.

        Raises: ConfigurationError if the URL is neither https nor of this machine, or the secret is too short.
        """
        self._url = _checked_url(url)
        self._secret = _secret_bytes(secret)

    async def send(self, message_id: str, body: str) -> str:
        """Send a message; return why it was not taken, or nothing. Redirects are not followed."""
        content = body.encode()
        timestamp = str(int(now().timestamp()))
        headers = {
            "content-type": "application/json",
            "webhook-id": message_id,
            "webhook-timestamp": timestamp,
            "webhook-signature": sign(self._secret, message_id, timestamp, content),
        }
        try:
            async with (
                asyncio.timeout(TOTAL_S),
                httpx2.AsyncClient(transport=BoundedTransport(), timeout=TIMEOUT_S) as client,
            ):
                response = await client.post(self._url, content=content, headers=headers)
        except (httpx2.HTTPError, TimeoutError) as error:
            return type(error).__name__
        return "" if response.is_success else f"HTTP {response.status_code}"


def sign(secret: bytes, message_id: str, timestamp: str, content: bytes) -> str:
    """Return the signature's header: over the id, the moment of sending in seconds since 1970, and the body."""
    signed = f"{message_id}.{timestamp}.".encode() + content
    return "v1," + base64.b64encode(hmac.digest(secret, signed, "sha256")).decode()


def _checked_url(text: str) -> httpx2.URL:
    try:
        url = httpx2.URL(text)
    except httpx2.InvalidURL:
        url = httpx2.URL("")
    if not url.host or url.scheme not in {"http", "https"} or (url.scheme == "http" and not _is_loopback(url.host)):
        raise ConfigurationError("EMBERGATE_WEBHOOK_URL must begin with https://, or be of this machine")
    if url.userinfo:
        raise ConfigurationError("EMBERGATE_WEBHOOK_URL must hold no user and password; what is sent is signed")
    return url


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == LOOPBACK


def _secret_bytes(text: str) -> bytes:
    secret = text.strip().encode()
    if text.startswith(SECRET_PREFIX):
        try:
            secret = base64.b64decode(text.strip().removeprefix(SECRET_PREFIX), validate=True)
        except (binascii.Error, ValueError):
            secret = b""
    if len(secret) < MIN_SECRET_BYTES:
        raise ConfigurationError(
            f"EMBERGATE_WEBHOOK_SECRET must have {MIN_SECRET_BYTES} bytes or more; make one with `echo whsec_$(openssl rand "
            "-base64 32)`"
        )
    return secret
