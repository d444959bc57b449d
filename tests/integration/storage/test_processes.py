"""Several processes on one database, and a process that is killed in the middle of its work."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import func, select

from embergate.storage.database import Database
from tests.integration.storage.sample import JobRow, insert

ROOT = Path(__file__).parents[3]


def start(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.integration.storage.writer", *arguments]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


async def test_writers_of_two_processes_lose_no_update(jobs: Database, database_url: str) -> None:
    await insert(jobs, JobRow(name="a", count=0))
    writers = [start("count", database_url, "40") for _ in range(2)]
    for writer in writers:
        writer.communicate(timeout=120)
        assert writer.returncode == 0
    async with jobs.reading() as db:
        assert await db.scalar(select(JobRow.count)) == 80


@pytest.mark.parametrize("num_acknowledged", [1, 2, 7, 30])
async def test_killed_process_loses_nothing_that_it_acknowledged(
    jobs: Database, database_url: str, num_acknowledged: int
) -> None:
    with start("append", database_url) as writer:
        assert writer.stdout is not None
        for _ in range(num_acknowledged):
            writer.stdout.readline()
        writer.send_signal(signal.SIGKILL)
        # It may have acknowledged more before the signal came.
        last = max((int(line) for line in writer.stdout.read().splitlines()), default=num_acknowledged - 1)
    async with jobs.reading() as db:
        names = (await db.scalars(select(JobRow.name).order_by(JobRow.name))).all()
        counts = (await db.scalars(select(func.max(JobRow.count)))).all()
    # One more may be committed and not yet acknowledged; a transaction is there as a whole.
    assert len(names) in (last + 1, last + 2)
    assert list(names) == [f"{number:06}" for number in range(len(names))]
    assert counts == [len(names) - 1]
    if jobs.dialect == "sqlite":
        with sqlite3.connect(database_url.removeprefix("sqlite:///")) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        connection.close()
    await insert(jobs, JobRow(name="next"))
