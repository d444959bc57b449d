"""Limits in memory: never more than the maximum in any sliding minute, and not much less."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from fractions import Fraction
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embergate.web.limits import NUM_TICKS, TICK_MS, WINDOW_S, Charge, Claim, Limit, Limiter, Refusal
from embergate.web.memory_limits import MemoryLimiter
from tests.limiters import CHECKS, ManualClock, claimed, refused

T = TypeVar("T")
TICK_S = TICK_MS / 1000


def at_once(work: Coroutine[Any, Any, T]) -> T:
    """Return what a coroutine returns that waits for nothing."""
    try:
        work.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    raise AssertionError("it waits")


@pytest.mark.parametrize("check", CHECKS)
async def test_limiter_in_memory(check: Callable[[Limiter], Awaitable[None]]) -> None:
    await check(MemoryLimiter(ManualClock()))


# Pauses in milliseconds, short ones and long ones, and amounts.
STEPS = st.lists(
    st.tuples(st.one_of(st.integers(0, 200), st.integers(0, 70_000)), st.integers(1, 12), st.booleans()),
    max_size=60,
)


@given(STEPS, st.integers(1, 30))
def test_no_minute_holds_more_than_the_maximum(steps: list[tuple[int, int, bool]], maximum: int) -> None:
    clock = ManualClock()
    limiter, limit = MemoryLimiter(clock), Limit("tokens", maximum)
    now_ms, start_s = 0, clock.now_s
    charged: list[tuple[int, int]] = []
    for pause_ms, amount, is_given_back in steps:
        now_ms += pause_ms
        clock.now_s = start_s + now_ms / 1000
        before = at_once(limiter.left("a", [limit]))
        outcome = at_once(limiter.claim("a", [Charge(limit, amount)]))
        if isinstance(outcome, Claim):
            if is_given_back:
                limiter.give_back(outcome)
                assert at_once(limiter.left("a", [limit])) == before
            else:
                charged.append((now_ms, amount))
        else:
            # What is counted a tick longer than a minute is all that keeps it out.
            lately = sum(num for at_ms, num in charged if at_ms > now_ms - WINDOW_S * 1000 - 2 * TICK_MS)
            assert lately + amount > maximum
    for at_ms, _ in charged:
        assert sum(num for other_ms, num in charged if at_ms <= other_ms < at_ms + WINDOW_S * 1000) <= maximum


@given(STEPS, st.integers(1, 30))
def test_wait_is_as_long_as_it_must_be_and_no_longer(steps: list[tuple[int, int, bool]], maximum: int) -> None:
    clock = ManualClock()
    limiter, limit = MemoryLimiter(clock), Limit("tokens", maximum)
    for pause_ms, amount, _ in steps:
        clock.now_s += pause_ms / 1000
        outcome = at_once(limiter.claim("a", [Charge(limit, amount)]))
        if isinstance(outcome, Claim):
            continue
        assert (outcome.wait_s is None) == (amount > maximum)
        if outcome.wait_s is not None:
            asked_at_s = clock.now_s
            clock.now_s = asked_at_s + outcome.wait_s - 0.001
            assert isinstance(at_once(limiter.claim("a", [Charge(limit, amount)])), Refusal)
            clock.now_s = asked_at_s + outcome.wait_s + 0.001
            claimed(at_once(limiter.claim("a", [Charge(limit, amount)])))


def test_six_hundred_a_minute_are_six_hundred_in_any_minute() -> None:
    clock, limit = ManualClock(), Limit("requests", 600)
    limiter, admitted = MemoryLimiter(clock), []
    start_s = clock.now_s
    for number in range(200 * 100):  # ten times as many come, for 200 s
        clock.now_s = start_s + number * 0.01
        if isinstance(at_once(limiter.claim("a", [Charge(limit)])), Claim):
            admitted.append(Fraction(number, 100))
    for start in range(140):
        assert 594 <= sum(start <= at < start + 60 for at in admitted) <= 600


def test_a_window_keeps_a_bounded_number_of_charges() -> None:
    clock, limit = ManualClock(), Limit("tokens", 10**9)
    limiter = MemoryLimiter(clock)
    for _ in range(100_000):
        clock.now_s += 0.001
        claimed(at_once(limiter.claim("a", [Charge(limit)])))
    window = next(iter(limiter._windows.values()))
    assert len(window._entries) <= NUM_TICKS + 1


def test_idle_windows_are_forgotten() -> None:
    clock = ManualClock()
    limiter = MemoryLimiter(clock)
    for number in range(1_000):
        claimed(at_once(limiter.claim(f"account-{number}", [Charge(Limit("requests", 5))])))
    assert limiter.num_windows == 1_000
    clock.now_s += WINDOW_S + 2 * TICK_S
    for _ in range(125):
        claimed(at_once(limiter.claim("busy", [Charge(Limit("requests", 1_000))])))
    assert limiter.num_windows == 1


def test_a_lower_maximum_counts_at_once() -> None:
    limiter = MemoryLimiter(ManualClock())
    claimed(at_once(limiter.claim("a", [Charge(Limit("requests", 10), 8)])))
    refusal = refused(at_once(limiter.claim("a", [Charge(Limit("requests", 4))])))
    assert refusal.left == 0
    assert list(at_once(limiter.left("a", [Limit("requests", 4), Limit("requests", 9)]))) == [0, 1]


async def test_it_waits_for_nothing() -> None:
    limiter = MemoryLimiter(ManualClock())
    claims = await asyncio.gather(*(limiter.claim("a", [Charge(Limit("requests", 7))]) for _ in range(9)))
    assert sum(isinstance(claim, Claim) for claim in claims) == 7
