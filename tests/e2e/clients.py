"""Clients of a server, each in a thread of its own: what fails in one of them fails whoever waits for them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait

# How often it is looked whether clients have come so far.
POLL_S = 0.001


class Clients:
    """Runs each client's work in a thread.

    No wait here has a deadline of its own, since each request has one (`Server.client`): work that only asks a server ends.
    """

    def __init__(self, works: Iterable[Callable[[], None]]) -> None:
        """Start all of them."""
        wanted = list(works)
        pool = ThreadPoolExecutor(len(wanted))
        self._running = [pool.submit(work) for work in wanted]
        pool.shutdown(wait=False)

    def wait_until(self, is_reached: Callable[[], bool]) -> None:
        """Wait until they have come so far.

        Raises: what a client raised; AssertionError if all of them ended without it.
        """
        while not is_reached():
            done, running = wait(self._running, timeout=POLL_S, return_when=FIRST_EXCEPTION)
            for one in done:
                one.result()
            assert running or is_reached(), "the clients ended too early"

    def join(self) -> None:
        """Wait until all have ended, or one has failed. Raises: what a client raised."""
        for one in wait(self._running, return_when=FIRST_EXCEPTION).done:
            one.result()
