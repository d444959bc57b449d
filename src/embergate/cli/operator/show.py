"""What the operator's commands print: JSON for programs, tables for people."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from embergate.aip.scalars import parse_timestamp
from embergate.errors import InvalidRequestError
from embergate.gateway.money import NANOS_PER_UNIT, format_amount

DATE_CHARACTERS: Final = len("2026-01-31")
# Where nobody watches, lines are never broken: grep finds whole rows.
UNBROKEN: Final = 100_000


def print_json(value: Any) -> None:
    """Print a value as JSON."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def print_rows(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], *, as_json: bool) -> None:
    """Print resources: all of each as JSON, or its `columns`, which may be paths, as a table."""
    if as_json:
        print_json(rows)
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(readable(_at(row, column))) for column in columns))
    _console().print(table)


def print_facts(facts: Mapping[str, Any], *, as_json: bool) -> None:
    """Print one resource."""
    if as_json:
        print_json(facts)
        return
    grid = Table.grid(padding=(0, 2))
    for name, value in facts.items():
        grid.add_row(Text(name), Text(readable(value), overflow="fold"))
    _console().print(grid)


def readable(value: Any) -> str:
    """Return a JSON value as people read it, on one line and without what would steer a terminal."""
    if isinstance(value, Mapping):
        if {"currencyCode", "units", "nanos"} <= value.keys():
            nanos = int(value["units"]) * NANOS_PER_UNIT + value["nanos"]
            return f"{format_amount(nanos)} {value['currencyCode']}"
        return ", ".join(f"{readable(key)}={readable(item)}" for key, item in value.items()) or "-"
    if isinstance(value, list):
        return ", ".join(readable(item) for item in value) or "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = "" if value is None else str(value)
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text) or "-"


def parse_moment(text: str | None, option: str) -> datetime | None:
    """Read a timestamp, or a date as its midnight in UTC. Raises: InvalidRequestError naming the option."""
    if text is None:
        return None
    try:
        if len(text) == DATE_CHARACTERS:
            return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
        return parse_timestamp(text)
    except ValueError:
        raise InvalidRequestError(f"{option}: expected a time such as 2026-01-31T12:00:00Z or a date") from None


def _at(row: Mapping[str, Any], path: str) -> Any:
    value: Any = row
    for part in path.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _console() -> Console:
    return Console(width=None if sys.stdout.isatty() else UNBROKEN, highlight=False, soft_wrap=False)
