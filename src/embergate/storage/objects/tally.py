"""Bytes as they come: counted against what is expected, and gathered into pieces worth a write."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator

from embergate.errors import InvalidRequestError, PayloadTooLargeError
from embergate.storage.objects.protocol import CHUNK_BYTES, Expected


class Tally:
    """Counts the bytes of one object, and hashes them where a sha256 is expected."""

    def __init__(self, expect: Expected) -> None:
        """Begin at none."""
        self.expect = expect
        self.num_bytes = 0
        self._digest = hashlib.sha256() if expect.sha256 is not None else None

    async def counted(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Pass on chunks as long as they are not more than expected. Raises: PayloadTooLargeError."""
        async for chunk in chunks:
            self.num_bytes += len(chunk)
            for bound in (self.expect.size, self.expect.max_bytes):
                if bound is not None and self.num_bytes > bound:
                    raise PayloadTooLargeError(f"the object is larger than the {bound} bytes that it may have")
            yield chunk

    def hash(self, chunk: bytes | bytearray) -> None:
        """Hash a chunk, if that is asked for. Takes a millisecond a megabyte."""
        if self._digest is not None:
            self._digest.update(chunk)

    def check(self) -> None:
        """Be sure that all of it came. Raises: InvalidRequestError."""
        if self.expect.size is not None and self.num_bytes != self.expect.size:
            raise InvalidRequestError(
                f"the object has {self.num_bytes} bytes, and was announced with {self.expect.size}: send all of it"
            )
        if self._digest is not None and self._digest.hexdigest() != self.expect.sha256:
            raise InvalidRequestError(
                f"the object's sha256 is {self._digest.hexdigest()}, and was announced as {self.expect.sha256}: it was changed "
                "on its way, or is another file"
            )


async def gathered(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytearray]:
    """Yield chunks together, a megabyte or more at once, and at the end what is left; also if they end by an error."""
    buffer = bytearray()
    try:
        async for chunk in chunks:
            buffer += chunk
            if len(buffer) >= CHUNK_BYTES:
                yield buffer
                buffer = bytearray()
    except Exception:
        if buffer:
            yield buffer
        raise
    if buffer:
        yield buffer
