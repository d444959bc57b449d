"""What is looked up in the database at most once a second: a change by another process is noticed that much later."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Final, Generic, TypeVar

from embergate.clock import monotonic_s

TTL_S: Final = 1.0
MAX_CACHED: Final = 20_000

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class FreshCache(Generic[K, V]):
    """Remembers answers for a second, the latest 20,000 of them."""

    def __init__(self) -> None:
        """Remember nothing yet."""
        self._found: OrderedDict[K, tuple[float, V]] = OrderedDict()
        self._generation = 0

    async def get(self, key: K, look_up: Callable[[], Awaitable[V]]) -> V:
        """Return what `look_up` finds, or found a second ago at most. Raises: as it does; an error is not remembered."""
        kept = self._found.get(key)
        if kept is not None and monotonic_s() - kept[0] < TTL_S:
            return kept[1]
        generation, asked_at_s = self._generation, monotonic_s()
        value = await look_up()
        if generation == self._generation:  # what was looked up before a change must not outlive it
            self._found[key] = (asked_at_s, value)
            self._found.move_to_end(key)
            if len(self._found) > MAX_CACHED:
                self._found.popitem(last=False)
        return value

    def forget(self) -> None:
        """Look everything up again: something has changed."""
        self._generation += 1
        self._found.clear()
