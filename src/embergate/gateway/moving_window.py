"""`MovingWindow`: how often something may happen, for each of many keys, counted in this process's bounded memory.

NOTE: not `limits`' own memory storage: it never drops a key, and anybody can make some up.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Hashable
from typing import Final

from embergate.clock import monotonic_s

WINDOW_S: Final = 300.0
MAX_KEYS: Final = 10_000


class MovingWindow:
    """At most `limit` events of a key in any `window_s` seconds; of too many keys, those longest unseen are forgotten."""

    def __init__(self, limit: int, window_s: float = WINDOW_S) -> None:
        """Start with nothing counted."""
        self._limit = limit
        self._window_s = window_s
        self._times: OrderedDict[Hashable, deque[float]] = OrderedDict()

    def admit(self, key: Hashable) -> float:
        """Count an event and return 0.0; or return the seconds until one would be admitted, and count nothing."""
        moment_s = monotonic_s()
        times = self._times.setdefault(key, deque(maxlen=self._limit))
        self._times.move_to_end(key)
        if len(self._times) > MAX_KEYS:
            self._times.popitem(last=False)
        if len(times) == self._limit and moment_s - times[0] < self._window_s:
            return self._window_s - (moment_s - times[0])
        times.append(moment_s)
        return 0.0

    def take_back(self, key: Hashable) -> None:
        """Count an event no more that was admitted just now: it turned out to be none."""
        times = self._times.get(key)
        if times:
            times.pop()
