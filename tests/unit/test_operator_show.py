"""What the operator's commands print for people."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from embergate.cli.operator.show import parse_moment, print_facts, print_rows, readable
from embergate.errors import InvalidRequestError


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        ("", "-"),
        ([], "-"),
        ({}, "-"),
        (True, "yes"),
        (False, "no"),
        (7, "7"),
        ("Ada ß 中", "Ada ß 中"),
        ({"currencyCode": "USD", "units": "12", "nanos": 500_000_000}, "12.50 USD"),
        ({"currencyCode": "EUR", "units": "0", "nanos": -1}, "-0.000000001 EUR"),
        ({"code": "OK", "message": ""}, "code=OK, message=-"),
        (["a", "b"], "a, b"),
        ("\x1b[31mred\r\n\u202e", "\\x1b[31mred\\r\\n\\u202e"),
    ],
)
def test_value_is_shown_on_one_line_and_cannot_steer_the_terminal(value: Any, text: str) -> None:
    assert readable(value) == text


def test_table_has_a_row_a_line_however_long_and_takes_text_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    rows: list[dict[str, Any]] = [{"name": "x" * 300, "status": {"code": "[bold]OK[/bold]"}}, {"name": "y"}]
    print_rows(rows, ("name", "status.code"), as_json=False)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in (lines[0], *lines[2:])] == [
        ["name", "status.code"],
        ["x" * 300, "[bold]OK[/bold]"],
        ["y", "-"],
    ]


def test_empty_list_still_has_its_head(capsys: pytest.CaptureFixture[str]) -> None:
    print_rows([], ("name",), as_json=False)
    assert capsys.readouterr().out.split()[0] == "name"


def test_facts_are_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    print_facts({"name": "accounts/acme", "enabled": True}, as_json=False)
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        ["name", "accounts/acme"],
        ["enabled", "yes"],
    ]


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-01-31", datetime(2026, 1, 31, tzinfo=UTC)),
        ("2026-01-31T12:00:00+02:00", datetime(2026, 1, 31, 10, tzinfo=UTC)),
    ],
)
def test_time_is_a_timestamp_or_a_date(text: str, moment: datetime) -> None:
    assert parse_moment(text, "--ends") == moment


@pytest.mark.parametrize("text", ["", "tomorrow", "2026-02-30", "2026-01-31T12:00:00", "31.01.2026"])
def test_what_is_no_time_is_refused_by_its_option(text: str) -> None:
    with pytest.raises(InvalidRequestError, match="--ends: expected a time"):
        parse_moment(text, "--ends")
