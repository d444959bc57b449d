"""How long workers wait, and how often they try."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

# A job fails whose chunk was put back for so long, be it for what is away or because its handler asked for it.
BLOCKED_AT_MOST: Final = timedelta(hours=24)
LONGEST_BLOCK: Final = timedelta(minutes=1)
SHORTEST_BLOCK: Final = timedelta(seconds=1)
LONGEST_PAUSE: Final = timedelta(minutes=5)
LONGEST_RETRY: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class WorkerRules:
    """How a worker behaves. Units: seconds.

    A chunk whose worker is not heard of for `lease_s` is another's. `max_attempts` is how often a chunk may fail,
    `max_deaths` how often it may take its process with it: servers are killed for many reasons that are none of a chunk's.
    A worker that stops leaves its chunks `grace_s` to end.
    """

    lease_s: float = 30.0
    heartbeat_s: float = 5.0
    poll_s: float = 1.0
    grace_s: float = 20.0
    max_attempts: int = 5
    max_deaths: int = 10
    first_pause_s: float = 2.0
    # How long a result waits for a database that is away before the chunk is given back.
    hold_result_s: float = 60.0

    def pause_after(self, attempt: int) -> timedelta:
        """Return how long a chunk waits after its n-th attempt has failed: twice as long each time."""
        return min(LONGEST_PAUSE, timedelta(seconds=self.first_pause_s * 2.0 ** min(attempt - 1, 20)))


def block_after(blocked_for: timedelta) -> timedelta:
    """Return how long a chunk waits that has been blocked for so long already: as long again, within bounds."""
    return max(SHORTEST_BLOCK, min(LONGEST_BLOCK, blocked_for))
