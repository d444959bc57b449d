"""How often somebody may try to log in."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from embergate.errors import TooManyRequestsError
from embergate.gateway.sessions import attempts
from embergate.gateway.sessions.attempts import LoginAttempts, MovingWindow
from embergate.gateway.sessions.rules import SessionRules


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(attempts, "monotonic_s", made)
    return made


def refused(act: Callable[[], None]) -> float:
    with pytest.raises(TooManyRequestsError) as error:
        act()
    return error.value.retry_after_s


def test_window_moves_with_each_event(clock: Clock) -> None:
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


def test_refused_attempts_do_not_make_the_wait_longer(clock: Clock) -> None:
    window = MovingWindow(1)
    window.admit("a")
    for _ in range(299):
        clock.now_s += 1
        assert window.admit("a") > 0
    clock.now_s += 1
    assert window.admit("a") == 0.0


def test_memory_is_bounded_and_those_seen_lately_are_remembered(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "MAX_KEYS", 100)
    window = MovingWindow(1)
    window.admit("victim")
    for number in range(10_000):
        window.admit(str(number))
        assert window.admit("victim") > 0
    assert len(window._times) == 100


def test_client_is_counted_before_the_address(clock: Clock) -> None:
    counted = LoginAttempts(SessionRules(attempts_per_client=2, attempts_per_address=1))
    counted.admit("192.0.2.1", "ada")
    assert refused(lambda: counted.admit("192.0.2.1", "ada")) == pytest.approx(300)
    # That attempt used up the client's second place, whose third does not count against any address.
    assert refused(lambda: counted.admit("192.0.2.1", "bob")) == pytest.approx(300)
    counted.admit("192.0.2.2", "bob")
    counted.admit("192.0.2.2", None)


@pytest.mark.parametrize(
    ("first", "second", "is_same"),
    [
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("fe80::1%eth0", "fe80::2%eth0", True),
        ("", "", True),
        ("somewhere", "elsewhere", False),
    ],
)
def test_network_of_an_ipv6_address_counts_as_one_client(clock: Clock, first: str, second: str, is_same: bool) -> None:
    counted = LoginAttempts(SessionRules(attempts_per_client=1))
    counted.admit(first, None)
    if is_same:
        refused(lambda: counted.admit(second, None))
    else:
        counted.admit(second, None)
