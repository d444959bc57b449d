"""Amounts: read, counted and written as integers, never as floats."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embergate.aip.errors import InvalidArgumentError
from embergate.aip.scalars import MAX_INT64
from embergate.gateway.money import NANOS_PER_UNIT, Money, format_amount, money_of, nanos_of, parse_amount

AMOUNTS = st.integers(-MAX_INT64, MAX_INT64)


@pytest.mark.parametrize(
    ("text", "nanos"),
    [
        ("0", 0),
        ("12.50", 12_500_000_000),
        ("0.1", 100_000_000),
        ("0.000000001", 1),
        ("007", 7_000_000_000),
        ("9223372036.854775807", MAX_INT64),
    ],
)
def test_amount_is_read_exactly(text: str, nanos: int) -> None:
    assert parse_amount(text) == nanos


@pytest.mark.parametrize(
    "text",
    ["", ".5", "5.", "-1", "+1", "1e3", "1,50", "1 ", "NaN", "Infinity", "0x10", "١", "0.0000000001", "12345678901"],
)
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgumentError, match=r"amount: expected a number such as 12\.50"):
        parse_amount(text)


def test_amount_beyond_64_bits_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="at most 9,223,372,036 units"):
        parse_amount("9223372036.854775808")
    with pytest.raises(InvalidArgumentError, match="price: an amount is at most"):
        nanos_of(Money(units=-9_223_372_037), field="price")


@pytest.mark.parametrize(("units", "nanos"), [(1, -1), (-1, 1)])
def test_money_whose_parts_contradict_each_other_is_refused(units: int, nanos: int) -> None:
    with pytest.raises(InvalidArgumentError, match="same sign"):
        nanos_of(Money(units=units, nanos=nanos))


@given(AMOUNTS)
def test_nanos_become_money_and_nanos_again(amount_nanos: int) -> None:
    money = money_of(amount_nanos, "USD")
    assert nanos_of(money) == amount_nanos
    assert money.units * money.nanos >= 0


@given(AMOUNTS)
def test_written_amount_says_exactly_what_it_is(amount_nanos: int) -> None:
    assert Decimal(format_amount(amount_nanos)) * NANOS_PER_UNIT == amount_nanos


@pytest.mark.parametrize(("nanos", "text"), [(0, "0.00"), (-1_750_000_000, "-1.75"), (1, "0.000000001")])
def test_amount_is_written_with_two_decimals_or_more(nanos: int, text: str) -> None:
    assert format_amount(nanos) == text
