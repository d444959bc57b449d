"""`FilePlace`: where a resource's files lie, and how they come there: announced, uploaded by URLs, then taken over.

What is uploaded arrives beside the place, where whoever has a URL may write until it expires. It is moved before it is looked
at: what was checked is what is kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from sqlalchemy.ext.asyncio import AsyncSession

from embergate.aip.errors import InvalidArgumentError
from embergate.errors import FailedPreconditionError, NotFoundError
from embergate.gateway.files.doomed import doom
from embergate.gateway.files.urls import FileUrls
from embergate.storage.objects.protocol import ObjectInfo, Objects

FIELD: Final = "filenameToSize"
# What begins the keys that files are uploaded to.
ARRIVALS: Final = "arrivals"
UPLOAD_EXPIRES_IN: Final = timedelta(hours=1)
DOWNLOAD_EXPIRES_IN: Final = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class FilePlace:
    """The files of one resource of a collection; another one of the same name has another uid, and so other files."""

    collection: str
    account_id: str
    uid: str

    @property
    def folder(self) -> str:
        """The prefix of the files' keys."""
        return f"{self.collection}/{self.account_id}/{self.uid}"

    @property
    def arrivals(self) -> str:
        """The prefix of the keys that files are uploaded to."""
        return f"{ARRIVALS}/{self.account_id}/{self.uid}"

    def key(self, filename: str) -> str:
        """Return the key of a file."""
        return f"{self.folder}/{filename}"

    def arrival(self, filename: str) -> str:
        """Return the key that a file is uploaded to."""
        return f"{self.arrivals}/{filename}"

    async def upload_urls(self, urls: FileUrls, sizes: Mapping[str, int]) -> dict[str, str]:
        """Return a URL for each file, good for an hour; with one that is asked for again, an upload goes on."""
        return {
            name: await urls.upload_url(
                self.arrival(name), size=size, expires_in=UPLOAD_EXPIRES_IN, upload=f"{self.uid}-{size}"
            )
            for name, size in sizes.items()
        }

    async def download_url(self, urls: FileUrls, filename: str) -> str:
        """Return a URL for a file, good for ten minutes, to be saved under the last part of its name."""
        saved_as = filename.rpartition("/")[2]
        return await urls.download_url(self.key(filename), filename=saved_as, expires_in=DOWNLOAD_EXPIRES_IN)

    async def take_over(self, objects: Objects, filename: str, size: int) -> ObjectInfo | None:
        """Move a file to where no upload reaches it, if it arrived; return what is there, now or since before.

        Raises: FailedPreconditionError if it is not as large as was said; UnavailableError.
        """
        if await objects.find(self.arrival(filename)) is not None:
            with suppress(NotFoundError):  # another call has just done so
                await objects.move(self.arrival(filename), self.key(filename))
        found = await objects.find(self.key(filename))
        if found is not None and found.size != size:
            raise FailedPreconditionError(f"{filename} has {found.size} bytes, {size} were announced", param=filename)
        return found

    async def give_up(self, db: AsyncSession) -> None:
        """Have the files deleted, and what is still to arrive, once the caller's transaction is committed."""
        for prefix in (self.folder, self.arrivals):
            await doom(db, prefix)


@asynccontextmanager
async def taken_back_unless_kept(objects: Objects, places: Sequence[FilePlace]) -> AsyncIterator[None]:
    """Delete what was written to new places if the block fails."""
    try:
        yield
    except BaseException:
        for place in places:
            await asyncio.shield(objects.delete_prefix(place.folder))
        raise


def require_sizes(sizes: Mapping[str, int]) -> None:
    """Raise InvalidArgumentError where no file is announced."""
    if not sizes:
        raise InvalidArgumentError(f"{FIELD} is required", field=FIELD)


def check_sizes(sizes: Mapping[str, int], *, what: str, max_bytes: int) -> None:
    """Raise InvalidArgumentError for sizes that no file has, or `what` has not together."""
    for name, size in sizes.items():
        if size < 0:
            raise InvalidArgumentError(f"{FIELD}: {name} cannot have {size} bytes", field=FIELD)
    if sum(sizes.values()) > max_bytes:
        raise InvalidArgumentError(f"{FIELD}: a {what} has at most {max_bytes} bytes", field=FIELD)
