"""`UrlSigner`: URLs by which a client uploads and downloads files, past the API.

Of a local store they lead to this server's file plane; of a bucket, to the bucket itself.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Literal, Protocol, runtime_checkable

from embergate.clock import now
from embergate.gateway.files.signing import PURPOSE, Grant
from embergate.ids import new_id
from embergate.storage.objects.keys import segments_of
from embergate.web.keyring import Keyring

FILES_PATH: Final = "/files/"
UNSAFE_IN_NAME: Final = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff\"'\\/:*?<>|;%]"
)
MAX_NAME_CHARACTERS: Final = 200


class FileUrls(Protocol):
    """URLs as one client reaches them."""

    async def upload_url(
        self, key: str, *, size: int, expires_in: timedelta, sha256: str | None = None, upload: str | None = None
    ) -> str:
        """Return a URL to PUT a file of exactly `size` bytes to.

        An upload that was cut off goes on by the same URL; by a later one too, if both were made for the same `upload`
        (letters, digits, `_`, `.` and `-`). A bucket checks neither size nor sha256: look at the object before you trust it.
        """
        ...

    async def download_url(self, key: str, *, filename: str, expires_in: timedelta) -> str:
        """Return a URL to GET a file by, to be saved as `filename`; from a bucket, under the key's last part."""
        ...


class UrlSigner(Protocol):
    """Makes URLs for any client."""

    def at(self, base_url: str) -> FileUrls:
        """Return the URLs for a client that reaches this server at `base_url`, as a request's own URL begins."""
        ...


@dataclass(frozen=True, slots=True)
class PlaneUrlSigner:
    """URLs of this server's own file plane. `public_url`, if there is one, goes before what a client calls the server."""

    keyring: Keyring
    public_url: str = ""

    def at(self, base_url: str) -> FileUrls:
        """Return the URLs for a client."""
        return PlaneUrls(self.keyring.keys(PURPOSE)[0], (self.public_url or base_url).rstrip("/"))


@dataclass(frozen=True, slots=True)
class PlaneUrls:
    """URLs below one base."""

    signing_key: bytes
    base_url: str

    async def upload_url(
        self, key: str, *, size: int, expires_in: timedelta, sha256: str | None = None, upload: str | None = None
    ) -> str:
        """Return a URL to PUT to."""
        grant = Grant("PUT", key, _end_of(expires_in), size=size, upload=upload or new_id(), sha256=sha256)
        return self._url_of(grant)

    async def download_url(self, key: str, *, filename: str, expires_in: timedelta) -> str:
        """Return a URL to GET by."""
        return self._url_of(
            Grant("GET", key, _end_of(expires_in), filename=safe_name(filename) or segments_of(key)[-1])
        )

    def _url_of(self, grant: Grant) -> str:
        segments_of(grant.key)
        return f"{self.base_url}{FILES_PATH}{grant.key}?{grant.query(self.signing_key)}"


@runtime_checkable
class Presigner(Protocol):
    """A store that signs URLs of its own."""

    async def presigned_url(self, method: Literal["GET", "PUT"], key: str, expires_in: timedelta) -> str:
        """Return a URL that allows one method on one object."""
        ...


@dataclass(frozen=True, slots=True)
class BucketUrls:
    """URLs of a bucket; it does not matter where this server is."""

    bucket: Presigner

    def at(self, base_url: str) -> FileUrls:  # noqa: ARG002
        """Return the URLs for a client."""
        return self

    async def upload_url(
        self,
        key: str,
        *,
        size: int,  # noqa: ARG002 - a bucket's signature does not bind it
        expires_in: timedelta,
        sha256: str | None = None,  # noqa: ARG002
        upload: str | None = None,  # noqa: ARG002
    ) -> str:
        """Return a URL to PUT to."""
        return await self.bucket.presigned_url("PUT", key, expires_in)

    async def download_url(self, key: str, *, filename: str, expires_in: timedelta) -> str:  # noqa: ARG002
        """Return a URL to GET by."""
        return await self.bucket.presigned_url("GET", key, expires_in)


def safe_name(filename: str) -> str:
    """Return a file's name without what a header or a file system could take for something else; it may be empty."""
    return UNSAFE_IN_NAME.sub("_", filename)[-MAX_NAME_CHARACTERS:].lstrip(".").strip()


def _end_of(expires_in: timedelta) -> int:
    return int((now() + expires_in).timestamp())
