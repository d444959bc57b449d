"""A small run of what `tests/e2e/exactly_once.py` does with 20,000 requests and ten kills."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.exactly_once import run


def test_every_answer_is_billed_once_whenever_the_server_is_killed(database_url: str, tmp_path: Path) -> None:
    outcome = run(database_url, tmp_path, num_requests=600, num_clients=8, num_kills=2)
    assert outcome.num_answered + outcome.num_lost == 600
    assert outcome.num_lost > 0
    assert outcome.bill_nanos > 0
