"""The only places that ask for the time."""

from __future__ import annotations

import time
from datetime import UTC, datetime


def now() -> datetime:
    """Return the present moment, aware, in UTC."""
    return datetime.now(UTC)


def monotonic_s() -> float:
    """Return seconds that never run backwards, for durations and deadlines."""
    return time.monotonic()
