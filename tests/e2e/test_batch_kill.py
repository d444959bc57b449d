"""`kill -9` of servers that do a batch job: every row is answered exactly once, and billed exactly once."""

from __future__ import annotations

from pathlib import Path

from tests.e2e import batch_kill


def test_every_row_is_answered_and_billed_once_whichever_server_is_killed(
    database_url: str, tmp_path: Path, tiny_model: str
) -> None:
    outcome = batch_kill.run(database_url, tmp_path, num_rows=20_000, num_kills=1, model=tiny_model)
    assert outcome.num_compared == 1_000
