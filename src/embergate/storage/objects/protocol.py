"""What every object store does, whatever it keeps its objects in. Knows no HTTP."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, Protocol

# Objects are read and written in pieces of about this many bytes; none is ever whole in memory.
CHUNK_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Expected:
    """What is known of an object before its bytes have come; None for what is not."""

    # The exact size, in bytes.
    size: int | None = None
    # A bound on it.
    max_bytes: int | None = None
    # Of all its bytes, in lower-case hex.
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """What a store tells of an object."""

    key: str
    size: int
    modified_at: datetime
    # Changes with every write of the key.
    etag: str
    # In lower-case hex; of an object that has just been written and was expected to have it, else None.
    sha256: str | None = None


class Objects(Protocol):
    """Objects under keys.

    A write is seen whole or not at all; of two writes of one key, the one that ends last stays. Every method raises
    InvalidRequestError for what is no key (see `keys.py`), and UnavailableError if the store cannot do it now: it is full,
    gone, or cannot be reached. No key may be a folder of another, as `a` is of `a/b`: a local store refuses the second.
    """

    async def write(self, key: str, chunks: AsyncIterator[bytes], *, expect: Expected) -> ObjectInfo:
        """Write an object; it is durable when this returns. Nothing is left of a write that fails.

        Raises: InvalidRequestError if it is smaller than expected, or has another sha256; PayloadTooLargeError if it is larger;
            whatever `chunks` raises.
        """
        ...

    def read(
        self, key: str, start: int = 0, length: int | None = None, *, etag: str | None = None
    ) -> AsyncGenerator[bytes, None]:
        """Yield an object's bytes from `start` on, `length` of them at most; all of one version. Close what is not read out.

        Raises: NotFoundError if there is none, or none of this `etag` any more; InvalidRequestError if it ends before `start`.
        """
        ...

    async def find(self, key: str) -> ObjectInfo | None:
        """Return what is known of an object, None if there is none."""
        ...

    def list(self, prefix: str = "") -> AsyncIterator[ObjectInfo]:
        """Yield the objects of a folder and of those in it, in no particular order. A prefix ends at a whole segment."""
        ...

    async def copy(self, source: str, target: str) -> ObjectInfo:
        """Copy an object. Raises: NotFoundError if there is none."""
        ...

    async def move(self, source: str, target: str) -> ObjectInfo:
        """Give an object another key. Raises: NotFoundError if there is none."""
        ...

    async def compose(self, key: str, parts: Sequence[str]) -> ObjectInfo:
        """Write the objects `parts` one behind the other as one; they stay. Raises: NotFoundError if one is not there."""
        ...

    async def delete(self, key: str) -> None:
        """Delete an object, if there is one."""
        ...

    async def delete_prefix(self, prefix: str) -> None:
        """Delete the objects of a folder and of those in it. Raises: InvalidRequestError if the prefix is empty."""
        ...

    async def local_path(self, key: str) -> Path | None:
        """Return where an object lies, to be read and never written; None if there is none, or not on this machine."""
        ...

    async def sweep(self, older_than: timedelta) -> int:
        """Remove what writes left that were killed so long ago; return how many."""
        ...

    async def close(self) -> None:
        """Let go of threads and connections."""
        ...
