"""Threads for what blocks on a disk, apart from those that others wait for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, ParamSpec, TypeVar

from embergate.storage.objects.failures import of_disk

# A slow disk holds up these, and no thread that others wait for.
NUM_THREADS: Final = 8
P = ParamSpec("P")
T = TypeVar("T")


class DiskThreads:
    """Threads that do what blocks, one call after the other for whoever waits for them."""

    def __init__(self) -> None:
        """Start none yet."""
        self._threads = ThreadPoolExecutor(NUM_THREADS, thread_name_prefix="objects")

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `work` in a thread; return once it has ended, even where the caller is cancelled meanwhile: no file is closed
        while it is written.

        Raises: UnavailableError in place of an OSError.
        """
        running = asyncio.get_running_loop().run_in_executor(self._threads, lambda: work(*args, **kwargs))
        is_cancelled = False
        while not running.done():
            try:
                await asyncio.wait([running])
            except asyncio.CancelledError:
                is_cancelled = True
        if is_cancelled:
            running.exception()  # nobody asks for it any more
            raise asyncio.CancelledError
        try:
            return running.result()
        except OSError as error:
            raise of_disk(error) from error

    async def close(self) -> None:
        """Wait for what is under way."""
        await asyncio.to_thread(self._threads.shutdown)
