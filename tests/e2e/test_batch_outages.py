"""What a batch job needs goes away in the middle of it, and comes back: nothing is lost, and nothing is done twice."""

from __future__ import annotations

import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import asyncpg
import pytest

from tests.databases import PostgresqlServer, name_in
from tests.e2e.batch_kill import ACCOUNT, OPEN, begin, check_output, finished, state_of, told, wait_until_done
from tests.e2e.server import DEADLINE_S, Server, on_database

NUM_ROWS: Final = 20_000
DISK_MB: Final = 64
# Left on the disk when the job begins.
LEFT_BYTES: Final = 600_000


def wait_for(is_so: Callable[[], Any], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not is_so():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


@pytest.fixture
def small_disk(tmp_path: Path) -> tuple[str, ...]:
    """A command that runs another one with a small disk of its own at `tmp_path / "disk"`."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = f"mount -t tmpfs -o size={DISK_MB}m tmpfs {disk}"
    if subprocess.run(["unshare", "-rm", "sh", "-c", mount], capture_output=True).returncode:
        pytest.skip("NOT TESTED on a full disk: this machine lets nobody mount a small one")
    return "unshare", "-rm", "sh", "-c", f'{mount} && exec "$@"', "sh"


def fill(disk: Path) -> Path:
    """Fill a disk but for a little; return the file that does."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(1 << 20))
    with filler.open("r+b") as file:
        file.truncate(filler.stat().st_size - LEFT_BYTES)
    return filler


@pytest.mark.parametrize("with_database", [True, False], ids=["database too", "files alone"])
def test_job_waits_while_the_disk_is_full(
    tmp_path: Path, tiny_model: str, sqlite_url: str, small_disk: tuple[str, ...], with_database: bool
) -> None:
    settings = {"models": tiny_model, "self_check": "false"}
    if not with_database:
        settings = on_database(sqlite_url, **settings)
    with Server(tmp_path / "disk", within=small_disk, **settings) as server:
        server.ready()
        # As the server sees it.
        disk = Path(f"/proc/{server.process.pid}/root{tmp_path}/disk")
        with filled_at_half(server, disk):
            if with_database:
                wait_for(lambda: any("disk" in line and "full" in line for line in server.lines), "it noticed nothing")
                assert state_of(server)["state"] in OPEN
            else:
                wait_for(lambda: state_of(server)["status"]["code"] == "UNAVAILABLE", "it says nothing")
                assert state_of(server)["status"]["message"] == "waiting: The disk of the object store is full."
        job = finished(server)
        check_output(server, job, NUM_ROWS)
        assert job["status"] == {"code": "OK", "message": ""}


@contextmanager
def filled_at_half(server: Server, disk: Path) -> Iterator[None]:
    """Have a job done, and the disk filled when some of it is done, until the end of the context."""
    begin(server, NUM_ROWS)
    wait_until_done(server, 1)
    filler = fill(disk)
    yield
    filler.unlink()


@contextmanager
def sqlite_away(url: str) -> Iterator[None]:
    """Keep everybody from writing."""
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")


@contextmanager
def postgresql_away(server: PostgresqlServer, url: str) -> Iterator[None]:
    """Break every connection to a database, and let nobody connect."""
    name = name_in(url)

    def take_away() -> bool:
        server.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
        try:
            server.execute(f"ALTER DATABASE {name} RENAME TO {name}_away")
        except asyncpg.ObjectInUseError:
            return False
        return True

    wait_for(take_away, "somebody is always quicker")
    yield
    server.execute(f"ALTER DATABASE {name}_away RENAME TO {name}")


def test_job_goes_on_when_the_database_is_back(
    request: pytest.FixtureRequest, database_url: str, tmp_path: Path, tiny_model: str
) -> None:
    with ExitStack() as stack, Server(tmp_path, **on_database(database_url, models=tiny_model)) as server:
        begin(server.ready(), NUM_ROWS)
        wait_until_done(server, 1)
        if database_url.startswith("sqlite"):
            stack.enter_context(sqlite_away(database_url))
        else:
            stack.enter_context(postgresql_away(request.getfixturevalue("postgresql_server"), database_url))
        wait_for(lambda: any("jobs_database_away" in line for line in server.lines), "it noticed nothing")
        assert server.metric("embergate_job_database_away") == 1
        stack.close()
        job = finished(server)
        check_output(server, job, NUM_ROWS)
        with server.client() as client:
            assert told(client.get(f"{ACCOUNT}/batchInferenceJobs"))["totalSize"] == 1
