"""How long chunks wait."""

from __future__ import annotations

from datetime import timedelta

import pytest

from embergate.jobs.rules import WorkerRules, block_after


def test_pause_doubles_with_each_attempt_up_to_a_bound() -> None:
    rules = WorkerRules(first_pause_s=2.0)
    assert [rules.pause_after(attempt).total_seconds() for attempt in (1, 2, 3, 4, 30, 10_000)] == [
        2.0, 4.0, 8.0, 16.0, 300.0, 300.0,
    ]  # fmt: skip


@pytest.mark.parametrize(("blocked_for_s", "wait_s"), [(0, 1), (5, 5), (3600, 60)])
def test_what_is_blocked_waits_as_long_as_it_was_blocked(blocked_for_s: float, wait_s: float) -> None:
    assert block_after(timedelta(seconds=blocked_for_s)) == timedelta(seconds=wait_s)
