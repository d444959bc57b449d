"""What a signed URL of the file plane allows, and whether its signature is ours.

The signature is HMAC-SHA256 over everything that the URL says and over the method that it is for. Whoever has the URL may
do that one thing until it expires; no key is asked for.
"""

from __future__ import annotations

import base64
import hmac
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, Literal
from urllib.parse import urlencode

import orjson

from embergate.clock import now
from embergate.errors import ForbiddenError, InvalidRequestError
from embergate.storage.objects.keys import segments_of

PURPOSE: Final = "file-url"
PATTERNS: Final = {
    "expires": "[0-9]{1,12}",
    "size": "[0-9]{1,16}",
    "sha256": "[0-9a-f]{64}",
    "upload": "[A-Za-z0-9_.-]{1,128}",
    "filename": r".{1,255}",
    "signature": ".{1,100}",
}
NOT_OURS: Final = "the URL's signature is not valid: use the URL as it was given, with the method that it was given for"


@dataclass(frozen=True, slots=True)
class Grant:
    """What a URL allows: one method on one key until a moment. HEAD goes with GET."""

    method: Literal["GET", "PUT"]
    key: str
    # Seconds since 1970.
    expires_at_s: int
    # Of what is uploaded: its exact size in bytes, which upload it is, and its sha256 in hex where that is known.
    size: int | None = None
    upload: str | None = None
    sha256: str | None = None
    # What a download is called where it is saved.
    filename: str | None = None

    def signed_by(self, key: bytes) -> bytes:
        """Return the signature by a key of the keyring."""
        said = [1, self.method, self.key, self.expires_at_s, self.size, self.upload, self.sha256, self.filename]
        return base64.urlsafe_b64encode(hmac.digest(key, orjson.dumps(said), sha256)).rstrip(b"=")

    def query(self, key: bytes) -> str:
        """Return the query of the URL: what is not in its path, and the signature."""
        said = {
            "expires": self.expires_at_s,
            "size": self.size,
            "upload": self.upload,
            "sha256": self.sha256,
            "filename": self.filename,
            "signature": self.signed_by(key).decode(),
        }
        query = {name: str(value) for name, value in said.items() if value is not None}
        assert all(re.fullmatch(PATTERNS[name], value) for name, value in query.items()), (
            "it allows nothing. This is a bug."
        )
        return urlencode(query)


def verify(keys: Sequence[bytes], method: str, key: str, query: Iterable[tuple[str, str]]) -> Grant:
    """Return what a URL allows, if one of the keys signed it. Raises: ForbiddenError; also once the URL has expired."""
    given = list(query)
    said = dict(given)
    fits = all(name in PATTERNS and re.fullmatch(PATTERNS[name], value) for name, value in given)
    if (
        method not in {"GET", "PUT"}
        or not fits
        or len(said) < len(given)
        or not {"expires", "signature"} <= said.keys()
    ):
        raise ForbiddenError(NOT_OURS)
    grant = Grant(
        "GET" if method == "GET" else "PUT",
        key,
        int(said["expires"]),
        int(said["size"]) if "size" in said else None,
        said.get("upload"),
        said.get("sha256"),
        said.get("filename"),
    )
    try:
        segments_of(key)
        signature = said["signature"].encode()
        # A list, not a generator: that one key is wrong takes as long as that another is.
        is_ours = any([hmac.compare_digest(grant.signed_by(ours), signature) for ours in keys])  # noqa: C419
    except (InvalidRequestError, UnicodeEncodeError, orjson.JSONEncodeError):
        is_ours = False
    if not is_ours:
        raise ForbiddenError(NOT_OURS)
    if grant.expires_at_s <= now().timestamp():
        raise ForbiddenError("the URL has expired; ask for a new one")
    return grant
