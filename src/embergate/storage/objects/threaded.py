"""An object's bytes as blocking code writes them, from parts that are fetched one at a time: neither is whole in memory."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import IO, TYPE_CHECKING, Any, Final, TypeVar, cast

from embergate.storage.objects.protocol import CHUNK_BYTES

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

P = TypeVar("P")
T = TypeVar("T")
Fetch = Callable[[P], Coroutine[Any, Any, T]]
Write = Callable[[Iterator[T], IO[bytes]], None]
END: Final = None


async def written_in_thread(parts: Iterable[P], fetch: Fetch[P, T], write: Write[T]) -> AsyncGenerator[bytes, None]:
    """Yield what `write`, in a thread of its own, writes of what `fetch`, here, makes of each part. Close what is not read out.

    Raises: what `fetch` and `write` raise.
    """
    line = _Line()
    # NOTE: not a thread of the loop's pool, whose threads `fetch` may need: all of them could wait here for one.
    with_thread = ThreadPoolExecutor(1, thread_name_prefix="object-writer")
    work = asyncio.get_running_loop().run_in_executor(with_thread, line.run, parts, fetch, write)
    try:
        while (piece := await line.pieces.get()) is not END:
            yield piece
        await work
    finally:
        line.close()
        await asyncio.wait([work])
        with_thread.shutdown(wait=False)
        if not work.cancelled():
            work.exception()  # has been raised above, or nobody wants to know any more


class _Line:
    """Between the loop, which it is made in, and a thread: parts go there, and pieces come back."""

    def __init__(self) -> None:
        self.pieces: asyncio.Queue[bytes | None] = asyncio.Queue(1)
        self._loop = asyncio.get_running_loop()
        self._is_closed = False
        self._error: BaseException | None = None

    def close(self) -> None:
        """Let the thread end: a piece that it waits to hand over goes nowhere, and it is given nothing more."""
        self._is_closed = True
        while not self.pieces.empty():
            self.pieces.get_nowait()

    def run(self, parts: Iterable[P], fetch: Fetch[P, T], write: Write[T]) -> None:
        """Write, in a thread. What goes wrong on the loop's side is raised as it is, whatever `write` makes of it."""
        try:
            with io.BufferedWriter(_Pieces(self), CHUNK_BYTES) as stream:
                write((self.ask(fetch(part)) for part in parts), cast("IO[bytes]", stream))
        except BaseException:
            if self._error is not None:
                raise self._error from None
            raise
        finally:
            if not self._is_closed:
                self.ask(self.pieces.put(END))

    def ask(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Return what a coroutine returns that runs in the loop, which the thread waits for."""
        if self._is_closed:
            coroutine.close()
            raise BrokenPipeError("nobody reads any more")
        try:
            return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()
        except BaseException as error:
            self._error = self._error or error
            raise


class _Pieces(io.RawIOBase):
    """Hands on what is written."""

    def __init__(self, line: _Line) -> None:
        super().__init__()
        self._line = line

    def writable(self) -> bool:
        return True

    def write(self, content: ReadableBuffer, /) -> int:
        piece = bytes(content)
        self._line.ask(self._line.pieces.put(piece))
        return len(piece)
