"""Bodies of any length, to and from clients that may be slow, but not for ever."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Final

from starlette.requests import ClientDisconnect, Request
from starlette.responses import StreamingResponse
from starlette.types import Message, Send

from embergate.clock import monotonic_s
from embergate.errors import RequestTimeoutError

# So many bytes of an upload must come within so many seconds of waiting: 2 KiB a second, and half a minute without any.
STEP_BYTES: Final = 64 << 10
IDLE_TIMEOUT_S: Final = 30.0
# A client may take so long over a megabyte of a download.
SEND_TIMEOUT_S: Final = 300.0


async def paced(request: Request, idle_timeout_s: float = IDLE_TIMEOUT_S) -> AsyncIterator[bytes]:
    """Yield a request's body as it comes. What the reader does meanwhile, as writing to a slow disk, does not count.

    Raises: RequestTimeoutError if it comes too slowly; ClientDisconnect.
    """
    stream = request.stream()
    num_bytes, waited_s = 0, 0.0
    while True:
        began_s = monotonic_s()
        try:
            async with asyncio.timeout(idle_timeout_s - waited_s):
                chunk = await anext(stream, None)
        except TimeoutError:
            raise RequestTimeoutError(
                f"less than {STEP_BYTES} bytes of the body came in {idle_timeout_s:g} s"
            ) from None
        if chunk is None:
            return
        waited_s += monotonic_s() - began_s
        num_bytes += len(chunk)
        if num_bytes >= STEP_BYTES:
            num_bytes, waited_s = 0, 0.0
        if chunk:
            yield chunk


class FileResponse(StreamingResponse):
    """An answer that is read from a store as fast as the client takes it; the store's handle is closed in any case."""

    def __init__(self, first: bytes, chunks: AsyncGenerator[bytes, None], status: int, headers: dict[str, str]) -> None:
        """Begin nothing yet."""
        super().__init__(self._all(), status, headers, media_type="application/octet-stream")
        self._first = first
        self._chunks = chunks

    async def _all(self) -> AsyncGenerator[bytes, None]:
        yield self._first
        async for chunk in self._chunks:
            yield chunk

    async def stream_response(self, send: Send) -> None:
        """Send all of it. Raises: ClientDisconnect if the client takes it too slowly."""

        async def send_in_time(message: Message) -> None:
            try:
                async with asyncio.timeout(SEND_TIMEOUT_S):
                    await send(message)
            except TimeoutError:
                raise ClientDisconnect from None

        async with aclosing(self._chunks):
            await super().stream_response(send_in_time)
