"""`MemoryLimiter`: limits counted in this process's memory, for a server that is alone. See `limits`."""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from embergate.clock import monotonic_s
from embergate.web.limits import NUM_TICKS, PLACE_WAIT_S, TICK_MS, Charge, Claim, Limit, Refusal, longest

TICK_US: Final = TICK_MS * 1000
MICROSECONDS: Final = 1_000_000
# Windows that have been idle for a minute are dropped, so many at most with each claim: more than it can add.
MAX_DROPPED: Final = 8
TAKEN: Final = "taken"
# The account, the limit's name and its subject.
WindowKey = tuple[str, str, str]


class MemoryLimiter:
    """Counts by itself. Nothing is waited for: its coroutines run to their end at once, which makes them atomic."""

    def __init__(self, clock: Callable[[], float] = monotonic_s) -> None:
        """Start with nothing counted; `clock` gives seconds that never run backwards."""
        self._clock = clock
        # The one that was charged last comes last.
        self._windows: OrderedDict[WindowKey, _Window] = OrderedDict()
        self._places: Counter[str] = Counter()

    async def claim(self, account: str, charges: Sequence[Charge], *, places: Limit | None = None) -> Claim | Refusal:
        """See `Limiter`."""
        now_us = int(self._clock() * MICROSECONDS)
        tick = now_us // TICK_US
        used = [self._used(account, charge.limit, tick) for charge in charges]
        refusals = [*self._refusals(account, charges, used, now_us), *self._without_place(account, places)]
        if refusals:
            return longest(refusals)
        for charge in charges:
            key = (account, charge.limit.name, charge.limit.subject)
            self._windows.setdefault(key, _Window()).add(tick, charge.amount)
            self._windows.move_to_end(key)
        if places is not None:
            self._places[account] += 1
        self._drop_idle(tick)
        left = [charge.limit.maximum - num - charge.amount for charge, num in zip(charges, used, strict=True)]
        return Claim(account, charges, left, tick, TAKEN if places is not None else "")

    def give_back(self, claim: Claim) -> None:
        """See `Limiter`."""
        for charge in claim.charges:
            window = self._windows.get((claim.account, charge.limit.name, charge.limit.subject))
            if window is not None:
                window.take_back(claim.tick, charge.amount)

    def leave(self, claim: Claim) -> None:
        """See `Limiter`."""
        if claim.place:
            self._places[claim.account] -= 1
            if not self._places[claim.account]:
                del self._places[claim.account]

    async def left(self, account: str, limits: Sequence[Limit]) -> Sequence[int]:
        """See `Limiter`."""
        tick = int(self._clock() * MICROSECONDS) // TICK_US
        return [max(0, limit.maximum - self._used(account, limit, tick)) for limit in limits]

    async def num_places(self, account: str) -> int:
        """See `Limiter`."""
        return self._places[account]

    async def close(self) -> None:
        """See `Limiter`; nothing is under way."""

    @property
    def num_windows(self) -> int:
        """How many windows are remembered."""
        return len(self._windows)

    def _used(self, account: str, limit: Limit, tick: int) -> int:
        window = self._windows.get((account, limit.name, limit.subject))
        return window.used(tick) if window is not None else 0

    def _refusals(self, account: str, charges: Sequence[Charge], used: Sequence[int], now_us: int) -> Iterator[Refusal]:
        for charge, num in zip(charges, used, strict=True):
            limit = charge.limit
            missing = num + charge.amount - limit.maximum
            if missing <= 0:
                continue
            wait_s = None
            if charge.amount <= limit.maximum:
                window = self._windows[account, limit.name, limit.subject]
                wait_s = (window.free_at_us(missing) - now_us) / MICROSECONDS
            yield Refusal(limit, charge.amount, max(0, limit.maximum - num), wait_s)

    def _without_place(self, account: str, places: Limit | None) -> Iterator[Refusal]:
        if places is not None and self._places[account] >= places.maximum:
            yield Refusal(places, 1, 0, PLACE_WAIT_S if places.maximum else None)

    def _drop_idle(self, tick: int) -> None:
        for _ in range(MAX_DROPPED):
            key = next(iter(self._windows), None)
            if key is None or self._windows[key].used(tick):
                return
            del self._windows[key]


class _Window:
    """The charges of the last minute, by tick; oldest first."""

    __slots__ = ("_entries", "_total")

    def __init__(self) -> None:
        self._entries: deque[list[int]] = deque()
        self._total = 0

    def used(self, tick: int) -> int:
        """Forget what is a minute old; return the sum of the rest."""
        entries = self._entries
        while entries and entries[0][0] < tick - NUM_TICKS:
            self._total -= entries.popleft()[1]
        return self._total

    def add(self, tick: int, amount: int) -> None:
        """Charge."""
        if self._entries and self._entries[-1][0] == tick:
            self._entries[-1][1] += amount
        else:
            self._entries.append([tick, amount])
        self._total += amount

    def take_back(self, tick: int, amount: int) -> None:
        """Undo a charge, unless it is forgotten already."""
        for entry in reversed(self._entries):  # most often it is one of the last
            if entry[0] == tick:
                entry[1] -= amount
                self._total -= amount
                return
            if entry[0] < tick:
                return

    def free_at_us(self, missing: int) -> int:
        """Return the moment, in microseconds, from which so much less will be charged."""
        for tick, amount in self._entries:
            missing -= amount
            if missing <= 0:
                return (tick + NUM_TICKS + 1) * TICK_US
        raise AssertionError("a window holds what is charged to it. This is a bug.")
