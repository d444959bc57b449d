"""The server's own secrets: from one or several master keys to a key for each purpose.

The first master key signs and encrypts; the others still verify and decrypt, so that a new one can be put in front without
a break. A purpose's key says nothing about another's.

Source: HKDF, https://www.rfc-editor.org/rfc/rfc5869
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Sequence
from hashlib import sha256
from typing import Final

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

MIN_MASTER_BYTES: Final = 32


class DecryptionError(Exception):
    """What was stored was not encrypted by any of the server's master keys."""


class Keyring:
    """Keys derived from master keys, newest first."""

    def __init__(self, master_keys: Sequence[bytes]) -> None:
        """Derive the keys; each master key has at least 32 bytes of randomness."""
        assert master_keys, "a keyring needs a master key. This is a bug."
        self._master_keys = tuple(master_keys)
        self._derived: dict[str, tuple[bytes, ...]] = {}
        self._api_key_peppers = self.keys("api-key")
        self._refresh_peppers = self.keys("refresh-token")
        self._fernet = MultiFernet([Fernet(base64.urlsafe_b64encode(key)) for key in self.keys("at-rest")])

    def keys(self, purpose: str) -> tuple[bytes, ...]:
        """Return one 32-byte key for each master key, newest first."""
        if purpose not in self._derived:
            info = f"embergate/{purpose}".encode()
            self._derived[purpose] = tuple(
                HKDF(SHA256(), 32, salt=None, info=info).derive(master) for master in self._master_keys
            )
        return self._derived[purpose]

    def digests_of(self, api_key: str) -> list[bytes]:
        """Return an API key's digests, the one to store first."""
        return [_mac(pepper, api_key) for pepper in self._api_key_peppers]

    def refresh_digests_of(self, token: str) -> list[bytes]:
        """Return a refresh token's digests, the one to store first."""
        return [_mac(pepper, token) for pepper in self._refresh_peppers]

    def encrypt(self, plain: bytes) -> bytes:
        """Encrypt what is stored."""
        return self._fernet.encrypt(plain)

    def decrypt(self, encrypted: bytes) -> bytes:
        """Decrypt what was stored. Raises: DecryptionError if none of the master keys encrypted it."""
        try:
            return self._fernet.decrypt(encrypted)
        except InvalidToken:
            raise DecryptionError from None

    def rotate(self, encrypted: bytes) -> bytes:
        """Encrypt again with the newest key what any of the keys encrypted. Raises: DecryptionError."""
        try:
            return self._fernet.rotate(encrypted)
        except InvalidToken:
            raise DecryptionError from None


def _mac(pepper: bytes, secret: str) -> bytes:
    return hmac.new(pepper, secret.encode("utf-8", "surrogateescape"), sha256).digest()
