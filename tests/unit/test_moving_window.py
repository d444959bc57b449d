"""How often something may happen: a window that moves with each event, in bounded memory."""

from __future__ import annotations

import pytest

from embergate.gateway import moving_window
from embergate.gateway.moving_window import MovingWindow
from tests.limiters import ManualClock


def test_window_moves_with_each_event(clock: ManualClock) -> None:
    window = MovingWindow(2)
    assert window.admit("a") == 0.0
    clock.now_s += 100
    assert window.admit("a") == 0.0
    clock.now_s += 100
    assert window.admit("a") == pytest.approx(100.0)
    assert window.admit("b") == 0.0
    clock.now_s += 100  # the first event is out of the window, the second is not
    assert window.admit("a") == 0.0
    assert window.admit("a") == pytest.approx(100.0)


def test_refused_attempts_do_not_make_the_wait_longer(clock: ManualClock) -> None:
    window = MovingWindow(1)
    window.admit("a")
    for _ in range(299):
        clock.now_s += 1
        assert window.admit("a") > 0
    clock.now_s += 1
    assert window.admit("a") == 0.0


def test_memory_is_bounded_and_those_seen_lately_are_remembered(
    clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moving_window, "MAX_KEYS", 100)
    window = MovingWindow(1)
    window.admit("victim")
    for number in range(10_000):
        window.admit(str(number))
        assert window.admit("victim") > 0
    assert len(window._times) == 100


def test_window_may_be_of_another_length(clock: ManualClock) -> None:
    window = MovingWindow(1, window_s=60.0)
    assert window.admit("a") == 0.0
    clock.now_s += 59
    assert window.admit("a") == pytest.approx(1.0)
    clock.now_s += 1
    assert window.admit("a") == 0.0


def test_event_that_is_taken_back_is_not_counted(clock: ManualClock) -> None:
    window = MovingWindow(2)
    for _ in range(5):
        assert window.admit("a") == 0.0
        window.take_back("a")
    window.admit("a")
    window.admit("a")
    assert window.admit("a") > 0
    window.take_back("b")  # nothing is known of it
