"""How often somebody may try to log in."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from embergate.errors import TooManyRequestsError
from embergate.gateway.sessions.attempts import LoginAttempts
from embergate.gateway.sessions.rules import SessionRules
from tests.limiters import ManualClock


def refused(act: Callable[[], None]) -> float:
    with pytest.raises(TooManyRequestsError) as error:
        act()
    return error.value.retry_after_s


def test_client_is_counted_before_the_address(clock: ManualClock) -> None:
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
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("", "", True),
        ("somewhere", "elsewhere", False),
    ],
)
def test_network_of_an_ipv6_address_counts_as_one_client(
    clock: ManualClock, first: str, second: str, is_same: bool
) -> None:
    counted = LoginAttempts(SessionRules(attempts_per_client=1))
    counted.admit(first, None)
    if is_same:
        refused(lambda: counted.admit(second, None))
    else:
        counted.admit(second, None)


def test_address_is_locked_for_the_client_that_tries_it_and_not_for_its_owner(clock: ManualClock) -> None:
    counted = LoginAttempts(SessionRules(attempts_per_client=100, attempts_per_address=2))
    for _ in range(2):
        counted.admit("192.0.2.1", "ada")
    refused(lambda: counted.admit("192.0.2.1", "ada"))
    counted.admit("192.0.2.2", "ada")


def test_many_clients_together_get_no_further_than_ten_times_as_many(clock: ManualClock) -> None:
    counted = LoginAttempts(SessionRules(attempts_per_client=100, attempts_per_address=2))
    for number in range(20):
        counted.admit(f"192.0.2.{number}", "ada")
    assert refused(lambda: counted.admit("192.0.2.100", "ada")) == pytest.approx(300)
    counted.admit("192.0.2.100", "bob")
