"""What a worker counts, for whoever shows it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class WorkerCounts:
    """Since the worker was made. Each `num_` only grows; `num_running` and `is_database_away` are of now.

    `num_failed` counts attempts that used up one, `num_put_back` those that did not, `num_lost` chunks whose work counted
    for nothing. `num_states` counts the states that this worker brought jobs to, by kind and state.
    """

    num_claimed: int = 0
    num_done: int = 0
    num_failed: int = 0
    num_put_back: int = 0
    num_lost: int = 0
    num_running: int = 0
    is_database_away: bool = False
    num_states: Counter[tuple[str, str]] = field(default_factory=Counter)
