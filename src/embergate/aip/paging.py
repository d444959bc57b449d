"""Page sizes, and page tokens that say behind which row a page starts.

A token is signed, so that nobody can make one up, and bound to the request it was given out for, so that it cannot
continue another list. It holds the last row's sort values and no row number: rows may come and go between pages.

Source: https://google.aip.dev/158
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

from embergate.aip.errors import InvalidArgumentError

VERSION: Final = b"\x01"
SIGNATURE_BYTES: Final = 16
DIGEST_BYTES: Final = 16
MIN_KEY_BYTES: Final = 16
# A request line has room for it; eight sort values of a few hundred letters have room in it.
MAX_TOKEN_CHARACTERS: Final = 8_192
ALPHABET: Final = re.compile(r"[A-Za-z0-9_-]+")
# How a time looks among the JSON values: {"t": "2026-01-31T12:00:00+00:00"}.
TIME_MARK: Final = "t"

# A value that rows are sorted by.
SortValue = str | int | float | bool | datetime | None


def page_size_of(asked: int | None, default: int, maximum: int) -> int:
    """Return how many rows a page has: `default` if none or 0 is asked for, never more than `maximum`.

    Raises: InvalidArgumentError(field="pageSize") if it is negative.
    """
    if asked is not None and asked < 0:
        raise InvalidArgumentError(f"pageSize: {asked} is negative; leave it out for {default}", field="pageSize")
    return min(asked or default, maximum)


def request_digest(parts: Mapping[str, str]) -> bytes:
    """Return what stands for the parts of a request that must stay the same from page to page."""
    canonical = json.dumps(dict(parts), sort_keys=True)
    return hashlib.sha256(canonical.encode()).digest()[:DIGEST_BYTES]


class PageTokens:
    """Makes page tokens and reads them.

    A token is base64url of: version (1 byte), signature (16), request digest (16), the position as JSON.
    """

    def __init__(self, keys: Sequence[bytes]) -> None:
        """Take the signing keys: the first signs, all verify, so that a new one can be put before an old one.

        Raises: ValueError if there is none, or one is shorter than 16 bytes.
        """
        if not keys or min(map(len, keys)) < MIN_KEY_BYTES:
            raise ValueError(f"page tokens need at least one key, of at least {MIN_KEY_BYTES} bytes each")
        self._keys = tuple(keys)

    def encode(self, position: Sequence[SortValue], digest: bytes) -> str:
        """Return the token of the page behind `position`, the last row's sort values, for the request of `digest`.

        Raises: ValueError if a value is a float that is not finite or a time without a zone, or all are too long.
        """
        assert len(digest) == DIGEST_BYTES, "digests come from request_digest"
        values = [_marked(value) for value in position]
        body = digest + json.dumps(values, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
        token = _to_text(VERSION + self._sign(self._keys[0], body) + body)
        if len(token) > MAX_TOKEN_CHARACTERS:
            raise ValueError(f"the sort values make a page token of {len(token)} characters")
        return token

    def decode(self, token: str, digest: bytes) -> tuple[SortValue, ...]:
        """Return the position that `encode` was given.

        Raises: InvalidArgumentError(field="pageToken") if the token is none of ours, is changed, or was given out for
            a request of another digest: another filter, order or parent.
        """
        content = _to_bytes(token)
        if content[:1] != VERSION:
            raise _error("it was made by another version of this server; start again at the first page")
        signature, body = content[1 : 1 + SIGNATURE_BYTES], content[1 + SIGNATURE_BYTES :]
        if not any(hmac.compare_digest(signature, self._sign(key, body)) for key in self._keys):
            raise _error("its signature is not valid; pass nextPageToken on as it is, or start again at the first page")
        if not hmac.compare_digest(body[:DIGEST_BYTES], digest):
            raise _error("it belongs to another request; filter, orderBy and parent must be those of the first page")
        return tuple(_unmarked(value) for value in json.loads(body[DIGEST_BYTES:]))

    @staticmethod
    def _sign(key: bytes, body: bytes) -> bytes:
        return hmac.digest(key, VERSION + body, "sha256")[:SIGNATURE_BYTES]


def _marked(value: SortValue) -> str | int | float | bool | dict[str, str] | None:
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError("a time without a zone has no place in an order")
        return {TIME_MARK: value.astimezone(UTC).isoformat()}
    return value


def _unmarked(value: str | int | float | bool | dict[str, str] | None) -> SortValue:
    return datetime.fromisoformat(value[TIME_MARK]) if isinstance(value, dict) else value


def _to_text(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _to_bytes(token: str) -> bytes:
    malformed = _error("it is not a page token; pass nextPageToken on as it is, or start again at the first page")
    # base64 of 4n + 1 characters has no meaning.
    if len(token) > MAX_TOKEN_CHARACTERS or not ALPHABET.fullmatch(token) or len(token) % 4 == 1:
        raise malformed
    content = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    # NOTE: the last character may have bits that decode to nothing: without this, two texts would be one token.
    if _to_text(content) != token:
        raise malformed
    return content


def _error(message: str) -> InvalidArgumentError:
    return InvalidArgumentError(f"pageToken: {message}", field="pageToken")
