"""`CloudObjects`: objects in a bucket of S3, Google Cloud Storage or Azure.

Credentials and endpoints come from the environment, as obstore reads them.

Source: https://developmentseed.org/obstore/latest/
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, cast

import obstore
import structlog
from obstore import store as stores
from obstore.exceptions import BaseError, PermissionDeniedError, PreconditionError, UnauthenticatedError

from embergate.errors import ConfigurationError, InvalidRequestError, NotFoundError, UnavailableError
from embergate.storage.objects.keys import folder_of, segments_of
from embergate.storage.objects.protocol import CHUNK_BYTES, Expected, ObjectInfo
from embergate.storage.objects.tally import Tally, gathered

if TYPE_CHECKING:
    from collections.abc import Iterator

    from obstore import GetOptions, ObjectMeta, SignCapableStore
    from obstore.store import ClientConfig

# Parts of one upload: S3 takes 10,000, so objects of up to 156 GB. So many are in memory at once.
PART_BYTES: Final = 16 << 20
NUM_PARTS_AT_ONCE: Final = 2
# What S3 copies by itself.
MAX_COPY_BYTES: Final = 5 << 30
# A bucket that fails is asked again for so long; then the call fails.
RETRY_FOR: Final = timedelta(seconds=20)
CONNECT_TIMEOUT: Final = timedelta(seconds=5)
# Without a byte; as long as they come, a request may take hours.
READ_TIMEOUT: Final = timedelta(seconds=60)
REQUEST_TIMEOUT: Final = timedelta(hours=6)
REFUSED: Final = "The bucket of the object store refuses the server's credentials."
UNREACHABLE: Final = "The bucket of the object store cannot be reached."
log: structlog.stdlib.BoundLogger = structlog.get_logger()


class CloudObjects:
    """Objects below a prefix of a bucket. What others put there under names that are no keys is not there.

    NOTE: a process that is killed while it writes leaves parts that no list shows; a lifecycle rule of the bucket removes them.
    """

    def __init__(self, url: str) -> None:
        """Connect to nothing yet. Raises: ConfigurationError if the URL, or the environment, names no bucket."""
        options = {
            "connect_timeout": CONNECT_TIMEOUT,
            "read_timeout": READ_TIMEOUT,
            "timeout": REQUEST_TIMEOUT,
            "allow_http": True,  # whoever sets an endpoint without TLS wants it; no provider's own has none
        }
        try:
            self._store = stores.from_url(
                url,
                client_options=cast("ClientConfig", options),
                retry_config={"max_retries": 5, "retry_timeout": RETRY_FOR},
            )
        except (BaseError, ValueError) as error:
            raise ConfigurationError(f"EMBERGATE_OBJECTS_URL: {url} cannot be used: {error}") from error

    async def write(self, key: str, chunks: AsyncIterator[bytes], *, expect: Expected) -> ObjectInfo:
        """Write an object; see `Objects`."""
        segments_of(key)
        parts = _Parts(chunks, expect)
        first = await parts.next()
        with _failures(key, parts):
            # A small object goes in one request; the end of a larger one is known only when all of it is on its way.
            content = bytes(first) if parts.is_over else parts.all(first)
            await obstore.put_async(
                self._store,
                key,
                content,
                chunk_size=PART_BYTES,
                max_concurrency=NUM_PARTS_AT_ONCE,
                use_multipart=not parts.is_over,
            )
        return replace(await self._get(key), sha256=expect.sha256)

    async def read(
        self, key: str, start: int = 0, length: int | None = None, *, etag: str | None = None
    ) -> AsyncGenerator[bytes, None]:
        """Yield an object's bytes; see `Objects`."""
        info = await self._get(key)
        if etag not in {None, info.etag}:
            raise NotFoundError(f"the object {key} is another by now")
        if start > info.size:
            raise InvalidRequestError(f"{key} has {info.size} bytes, and none at {start}")
        end = info.size if length is None else min(info.size, start + length)
        if start == end:
            return
        options: GetOptions = {"if_match": info.etag, "range": (start, end)}
        with _failures(key):
            found = await obstore.get_async(self._store, key, options=options)
            async for chunk in found.stream(min_chunk_size=CHUNK_BYTES):
                yield bytes(chunk)

    async def find(self, key: str) -> ObjectInfo | None:
        """Return what is known of an object, None if there is none."""
        try:
            return await self._get(key)
        except NotFoundError:
            return None

    async def _get(self, key: str) -> ObjectInfo:
        segments_of(key)
        with _failures(key):
            return _info_of(await obstore.head_async(self._store, key))

    async def list(self, prefix: str = "") -> AsyncIterator[ObjectInfo]:
        """Yield the objects of a folder and of those in it."""
        folder = "/".join(folder_of(prefix))
        with _failures(folder):
            async for batch in obstore.list(self._store, folder or None):
                for meta in batch:
                    with suppress(InvalidRequestError):
                        segments_of(meta["path"])
                        yield _info_of(meta)

    async def copy(self, source: str, target: str) -> ObjectInfo:
        """Copy an object, within the bucket where it can. Raises: NotFoundError."""
        segments_of(target)
        if (await self._get(source)).size > MAX_COPY_BYTES:
            return await self.compose(target, [source])
        with _failures(source):
            await obstore.copy_async(self._store, source, target)
        return await self._get(target)

    async def move(self, source: str, target: str) -> ObjectInfo:
        """Give an object another key; for a moment it has both. Raises: NotFoundError."""
        info = await self.copy(source, target)
        if source != target:
            await self.delete(source)
        return info

    async def compose(self, key: str, parts: Sequence[str]) -> ObjectInfo:
        """Write objects one behind the other as one. Raises: NotFoundError."""
        for part in (key, *parts):
            segments_of(part)
        return await self.write(key, self._concatenated(parts), expect=Expected())

    async def _concatenated(self, parts: Sequence[str]) -> AsyncIterator[bytes]:
        for part in parts:
            async with aclosing(self.read(part)) as chunks:
                async for chunk in chunks:
                    yield chunk

    async def delete(self, key: str) -> None:
        """Delete an object, if there is one."""
        segments_of(key)
        with suppress(NotFoundError), _failures(key):
            await obstore.delete_async(self._store, key)

    async def delete_prefix(self, prefix: str) -> None:
        """Delete the objects of a folder and of those in it."""
        folder = "/".join(folder_of(prefix) or segments_of(prefix))
        with suppress(NotFoundError), _failures(folder):
            async for batch in obstore.list(self._store, folder):
                await obstore.delete_async(self._store, [meta["path"] for meta in batch])

    async def local_path(self, key: str) -> Path | None:
        """Return None: no object is on this machine."""
        segments_of(key)
        return None

    async def presigned_url(self, method: Literal["GET", "PUT"], key: str, expires_in: timedelta) -> str:
        """Return a URL of the bucket that allows one method on one object; it binds neither size nor content."""
        segments_of(key)
        with _failures(key):
            return await obstore.sign_async(cast("SignCapableStore", self._store), method, key, expires_in)

    async def sweep(self, older_than: timedelta) -> int:  # noqa: ARG002
        """Do nothing: what is unfinished in a bucket is its lifecycle rule's."""
        return 0

    async def close(self) -> None:
        """Do nothing: connections end by themselves."""


class _Parts:
    """An object's bytes in parts, checked; and what went wrong with them, which obstore would hide in an error of its own."""

    def __init__(self, chunks: AsyncIterator[bytes], expect: Expected) -> None:
        self._tally = Tally(expect)
        self._chunks = gathered(self._tally.counted(chunks))
        self.is_over = False
        self.error: Exception | None = None

    async def next(self) -> bytearray:
        """Return the next part; once all have come, `is_over`, and the last part is all there is of it."""
        part = bytearray()
        while len(part) < PART_BYTES and not self.is_over:
            chunk = await anext(self._chunks, None)
            if chunk is None:
                self.is_over = True
                self._tally.check()
            elif self._tally.expect.sha256 is None:
                part += chunk
            else:
                await asyncio.to_thread(self._tally.hash, chunk)
                part += chunk
        return part

    async def all(self, first: bytearray) -> AsyncIterator[bytes]:
        """Yield every part."""
        yield bytes(first)
        try:
            while not self.is_over:
                yield bytes(await self.next())
        except Exception as error:
            self.error = error
            raise


@contextmanager
def _failures(key: str, parts: _Parts | None = None) -> Iterator[None]:
    """Raise an error of our own in place of obstore's."""
    try:
        yield
    except FileNotFoundError as error:
        if parts is not None:  # nothing can be missing but the bucket
            log.warning("bucket_failed", error=str(error).partition("\n")[0])
            raise parts.error or UnavailableError(UNREACHABLE) from error
        raise NotFoundError(f"there is no object {key}") from None
    except PreconditionError:
        raise NotFoundError(f"the object {key} is another by now") from None
    except Exception as error:
        if parts is not None and parts.error is not None:
            raise parts.error from None
        if not isinstance(error, (BaseError, OSError)):
            raise
        log.warning("bucket_failed", error=str(error).partition("\n")[0])
        is_refused = isinstance(error, (PermissionDeniedError, UnauthenticatedError))
        raise UnavailableError(REFUSED if is_refused else UNREACHABLE) from error


def _info_of(meta: ObjectMeta) -> ObjectInfo:
    modified_at = meta["last_modified"]
    etag = meta["e_tag"] or meta["version"] or modified_at.isoformat()
    return ObjectInfo(meta["path"], meta["size"], modified_at, etag)
