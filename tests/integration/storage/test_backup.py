"""Backups as the documentation says, and a restore from each."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from pathlib import Path

import pytest
from sqlalchemy import func, select

from embergate.errors import ConfigurationError, UnavailableError
from embergate.storage.backup import back_up
from embergate.storage.database import Database
from embergate.storage.migrate import SchemaState, state
from tests.databases import PostgresqlServer
from tests.integration.storage.sample import JobRow, create_tables, insert


async def counted(url: str) -> tuple[int, int | None]:
    """Return how many rows there are, and the least count: each transaction of the tests keeps them equal."""
    database = Database.open(url)
    async with database.reading() as db:
        row = (await db.execute(select(func.count(), func.min(JobRow.count)))).one()
    await database.close()
    return row[0], row[1]


def put_back(copy: Path, path: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)
    shutil.copyfile(copy, path)


async def write_on(database: Database, until: asyncio.Event) -> None:
    """Add a row and set every row's count to their number, in one transaction, again and again."""
    number = 1
    while not until.is_set():
        number += 1
        async with database.writing() as db:
            db.add(JobRow(name=f"{number:06}", display_name="x" * 100))
            await db.flush()
            await db.execute(JobRow.__table__.update().values(count=number))  # type: ignore[attr-defined]


async def test_sqlite_backup_is_one_moment_of_a_database_in_use_and_can_take_its_place(
    sqlite_url: str, tmp_path: Path
) -> None:
    database = Database.open(sqlite_url)
    await create_tables(database)
    await insert(database, JobRow(name="first", count=1))
    done = asyncio.Event()
    writing = asyncio.create_task(write_on(database, done))
    copies = [tmp_path / f"backup-{number}.db" for number in range(3)]
    for copy in copies:
        async with database.writing() as db:  # in the line behind the other writer
            await db.execute(select(1))
        await back_up(sqlite_url, copy)
    done.set()
    await writing
    await database.close()
    for copy in copies:
        num_rows, count = await counted(f"sqlite:///{copy}")
        assert num_rows == count
        assert copy.stat().st_mode & 0o077 == 0
    expected = await counted(f"sqlite:///{copies[0]}")
    put_back(copies[0], Path(sqlite_url.removeprefix("sqlite:///")))
    assert await counted(sqlite_url) == expected
    restored = Database.open(sqlite_url)
    assert await state(restored) is SchemaState.CURRENT
    await insert(restored, JobRow(name="after"))
    await restored.close()


async def test_backup_holds_what_is_only_in_the_log_yet(sqlite_url: str, tmp_path: Path) -> None:
    database = Database.open(sqlite_url)
    await create_tables(database)
    await insert(database, JobRow(name="a", count=1))
    await back_up(sqlite_url, tmp_path / "backup.db")
    await database.close()
    assert await counted(f"sqlite:///{tmp_path / 'backup.db'}") == (1, 1)


async def test_backup_never_overwrites(sqlite_url: str, tmp_path: Path) -> None:
    target = tmp_path / "backup.db"
    target.write_text("precious")
    with pytest.raises(ConfigurationError, match="exists"):
        await back_up(sqlite_url, target)
    assert target.read_text() == "precious"


def test_backup_that_cannot_be_written_says_so_and_leaves_nothing(sqlite_url: str, tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match=r"absent/backup\.db"):
        asyncio.run(back_up(sqlite_url, tmp_path / "absent" / "backup.db"))
    Path(sqlite_url.removeprefix("sqlite:///")).write_bytes(b"no database" * 1000)
    with pytest.raises(UnavailableError):
        asyncio.run(back_up(sqlite_url, tmp_path / "backup.db"))
    assert [path.name for path in tmp_path.glob("backup*")] == []


@pytest.mark.parametrize("url", ["postgresql://user:s3cret@host/name", "sqlite:////nowhere/embergate.db"])
async def test_what_cannot_be_backed_up_like_this_is_explained(url: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        await back_up(url, tmp_path / "backup.db")
    assert "s3cret" not in caught.value.message


async def test_postgresql_is_dumped_and_restored_by_its_own_tools(
    postgresql_server: PostgresqlServer, postgresql_url: str, tmp_path: Path
) -> None:
    database = Database.open(postgresql_url)
    await create_tables(database)
    row = JobRow(name="ä", count=1, annotations={"k": "v"})
    await insert(database, row)
    dump = tmp_path / "embergate.dump"
    programs = postgresql_server.bin
    arguments: list[str | Path] = [programs / "pg_dump", "--format=custom", f"--file={dump}", postgresql_url]
    await asyncio.to_thread(subprocess.run, arguments, check=True)
    await database.close()
    empty = await asyncio.to_thread(postgresql_server.create, template="template0")
    arguments = [programs / "pg_restore", "--exit-on-error", "--no-owner", f"--dbname={empty}", dump]
    await asyncio.to_thread(subprocess.run, arguments, check=True)
    restored = Database.open(empty)
    assert await state(restored) is SchemaState.CURRENT
    async with restored.reading() as db:
        found = (await db.scalars(select(JobRow))).one()
    assert (found.name, found.count, found.annotations) == (row.name, row.count, row.annotations)
    await restored.close()
    await asyncio.to_thread(postgresql_server.drop, empty)
