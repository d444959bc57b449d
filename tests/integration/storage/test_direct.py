"""`Database.write`: the same work on either database, as a whole or not at all, in turn with units of work."""

from __future__ import annotations

import asyncio
import sqlite3
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import ForeignKey, delete, insert, select, text, update
from sqlalchemy.orm import Mapped, mapped_column

from embergate.errors import UnavailableError
from embergate.storage import failures
from embergate.storage.database import Database
from embergate.storage.direct import WorkConnection
from embergate.storage.rows import table_of
from embergate.storage.value_lists import is_one_of, length_for, values_for
from tests.integration.storage.sample import JobRow, SampleBase, create_tables

JOBS = table_of(JobRow)
INSERT = insert(JOBS)
# Some tenths of a second.
ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000) SELECT count(*) FROM n"
EVERY_KIND = {
    "name": "a",
    "enabled": True,
    "count": 1 << 60,
    "temperature": 0.5,
    "create_time": datetime(2026, 3, 29, 1, 30, 0, 7, tzinfo=UTC),
    "timeout": timedelta(microseconds=3),
    "progress": {"percent": 5},
    "sizes": [1, "b"],
    "state": None,
}


def write_names(connection: WorkConnection, *names: str) -> None:
    connection.execute(INSERT, [{"name": name} for name in names])


class NoteRow(SampleBase):
    __tablename__ = "sample_notes"

    id: Mapped[int] = mapped_column(primary_key=True)
    job: Mapped[str] = mapped_column(ForeignKey("sample_jobs.name"))


NOTES = table_of(NoteRow)


async def names(database: Database) -> list[str]:
    async with database.reading() as db:
        return list(await db.scalars(select(JobRow.name).order_by(JobRow.name)))


async def test_values_of_every_kind_come_back_as_they_were_and_as_a_session_reads_them(jobs: Database) -> None:
    columns = [JOBS.c[name] for name in EVERY_KIND]

    def work(connection: WorkConnection) -> list[tuple[object, ...]]:
        connection.execute(INSERT, [EVERY_KIND])
        return [tuple(row) for row in connection.execute(select(*columns)).all()]

    written = await jobs.write(work)
    async with jobs.reading() as db:
        read = (await db.execute(select(*columns))).all()
    assert written == [tuple(row) for row in read] == [tuple(EVERY_KIND.values())]


async def test_statement_that_is_run_again_takes_the_new_values(jobs: Database) -> None:
    found = select(JOBS.c.name).where(is_one_of(JOBS.c.name, 2))

    def work(connection: WorkConnection) -> list[list[str]]:
        write_names(connection, "a", "b", "c")
        write_names(connection, "d")
        asked = [["a", "c"], ["d", "e"]]
        return [
            sorted(row[0] for row in connection.execute(found, values_for(JOBS.c.name, asking)).all())
            for asking in asked
        ]

    assert await jobs.write(work) == [["a", "c"], ["d"]]


@pytest.mark.parametrize("num", [1, 2, 3, 5, 8])
async def test_list_that_was_filled_up_finds_what_is_in_it_and_nothing_else(jobs: Database, num: int) -> None:
    asked = [f"name-{number}" for number in range(num)]

    def work(connection: WorkConnection) -> list[str]:
        write_names(connection, *asked, "other")
        found = select(JOBS.c.name).where(is_one_of(JOBS.c.name, length_for(asked)))
        return [row[0] for row in connection.execute(found, values_for(JOBS.c.name, asked)).all()]

    assert sorted(await jobs.write(work)) == asked


async def test_changes_tell_how_many_rows_they_changed(jobs: Database) -> None:
    def work(connection: WorkConnection) -> list[int]:
        write_names(connection, "a", "b", "c")
        changed = connection.execute(update(JOBS).where(JOBS.c.name != "a").values(count=2)).rowcount
        return [changed, connection.execute(delete(JOBS)).rowcount]

    assert await jobs.write(work) == [2, 3]


async def test_work_that_raises_is_undone_and_the_next_is_done(jobs: Database) -> None:
    def fail(connection: WorkConnection) -> None:
        write_names(connection, "a")
        raise LookupError("of the work itself")

    with pytest.raises(LookupError):
        await jobs.write(fail)
    await jobs.write(lambda connection: write_names(connection, "b"))
    assert await names(jobs) == ["b"]


@pytest.mark.parametrize("num_steps", range(10))
async def test_cancelled_at_any_step_work_is_done_or_undone_and_all_others_run(jobs: Database, num_steps: int) -> None:
    async def in_session() -> None:
        async with jobs.writing() as db:
            db.add(JobRow(name="of the session"))

    cancelled = [
        asyncio.create_task(jobs.write(lambda connection: write_names(connection, "direct"))),
        asyncio.create_task(in_session()),
    ]
    for _ in range(num_steps):
        await asyncio.sleep(0)
    for task in cancelled:
        task.cancel()
    await asyncio.wait(cancelled)
    await jobs.write(lambda connection: write_names(connection, "next direct"))
    async with jobs.writing() as db:
        db.add(JobRow(name="next of a session"))
    assert {"next direct", "next of a session"} <= set(await names(jobs))


async def test_connection_that_a_cancelled_statement_has_closed_is_made_again(sqlite_url: str) -> None:
    database = Database.open(sqlite_url)
    await create_tables(database)
    await database.write(lambda connection: write_names(connection, "a"))
    for _ in range(3):
        began = asyncio.Event()

        async def endless(began: asyncio.Event = began) -> None:
            async with database.writing() as db:
                began.set()
                await db.execute(text(ENDLESS))

        task = asyncio.create_task(endless())
        await began.wait()
        await asyncio.sleep(0.02)
        waiting = asyncio.create_task(database.write(lambda connection: write_names(connection, "b")))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await waiting
        await database.write(lambda connection: connection.execute(delete(JOBS).where(JOBS.c.name == "b")))
        with pytest.raises(sqlite3.IntegrityError):  # it was made ready like the first
            await database.write(lambda connection: connection.execute(insert(NOTES), [{"job": "none"}]))
    assert await names(database) == ["a"]
    await database.close()


async def test_work_and_sessions_take_turns_and_lose_no_update(jobs: Database) -> None:
    await jobs.write(lambda connection: connection.execute(INSERT, [{"name": "a", "count": 0}]))

    def increment(connection: WorkConnection) -> None:
        ((count,),) = connection.execute(select(JOBS.c.count).with_for_update()).all()
        connection.execute(update(JOBS).values(count=count + 1))

    async def increment_in_session() -> None:
        async with jobs.writing() as db:
            row = (await db.scalars(select(JobRow).with_for_update())).one()
            await asyncio.sleep(0)
            row.count = (row.count or 0) + 1

    ways = [lambda: jobs.write(increment), increment_in_session]
    await asyncio.gather(*(way() for _ in range(20) for way in ways))
    async with jobs.reading() as db:
        assert await db.scalar(select(JobRow.count)) == 40


async def test_turn_that_is_not_to_be_had_is_unavailable_and_the_next_one_is(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("embergate.storage.engines.POOL_TIMEOUT_S", 0.05)
    database = Database.open(database_url, pool_size=1)
    async with database.writing() as db:
        await db.execute(text("SELECT 1"))
        with pytest.raises(UnavailableError) as caught:
            await database.write(lambda _: None)
    assert caught.value.message == failures.BUSY
    await database.write(lambda _: None)
    await database.close()


async def test_file_locked_by_another_is_unavailable_until_it_is_not(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("embergate.storage.engines.LOCK_TIMEOUT_S", 0.05)
    database = Database.open(sqlite_url)
    other = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(UnavailableError) as caught:
        await database.write(lambda _: None)
    assert caught.value.message == failures.LOCKED
    other.execute("ROLLBACK")
    await database.write(lambda _: None)
    other.close()
    await database.close()


async def test_full_disk_is_unavailable_and_leaves_what_was(sqlite_url: str) -> None:
    database = Database.open(sqlite_url)
    await create_tables(database)
    async with database.writing() as db:
        pages = await db.scalar(text("PRAGMA page_count"))
        await db.execute(text(f"PRAGMA max_page_count = {pages + 5}"))  # as a full disk would be
    with pytest.raises(UnavailableError) as caught:
        await database.write(lambda connection: write_names(connection, "x" * 100_000))
    assert caught.value.message == failures.FULL
    await database.write(lambda connection: write_names(connection, "a"))
    assert await names(database) == ["a"]
    await database.close()


async def test_readers_see_nothing_of_work_under_way(jobs: Database) -> None:
    seen: list[list[str]] = []
    loop = asyncio.get_running_loop()

    def work(connection: WorkConnection) -> None:
        write_names(connection, "a")
        if jobs.dialect == "sqlite":  # on its own thread; a server's work is on the loop's
            seen.append(asyncio.run_coroutine_threadsafe(names(jobs), loop).result(5))

    await jobs.write(work)
    assert seen in ([], [[]])
    assert await names(jobs) == ["a"]
