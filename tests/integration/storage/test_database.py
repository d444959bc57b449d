"""Units of work: what is committed, what is undone, who waits for whom, and what is said when the database is gone."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
import threading
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from sqlalchemy import func, select, text, update
from sqlalchemy.exc import IntegrityError, StatementError

from embergate.errors import ConfigurationError, InvalidRequestError, RequestTimeoutError, UnavailableError
from embergate.storage import failures
from embergate.storage.database import Database
from tests.databases import PostgresqlServer
from tests.integration.storage.sample import JobRow, insert


async def names(database: Database) -> list[str]:
    async with database.reading() as db:
        return list(await db.scalars(select(JobRow.name).order_by(JobRow.name)))


async def test_writes_are_committed_at_the_end_of_the_block(jobs: Database) -> None:
    async with jobs.writing() as db:
        db.add(JobRow(name="a"))
        await db.flush()
        assert await names(jobs) == []
    assert await names(jobs) == ["a"]


async def test_writes_are_undone_if_the_block_raises(jobs: Database) -> None:
    async def fail() -> None:
        async with jobs.writing() as db:
            db.add(JobRow(name="a"))
            await db.flush()
            raise LookupError("of the block itself")

    with pytest.raises(LookupError):
        await fail()
    await insert(jobs, JobRow(name="b"))
    assert await names(jobs) == ["b"]


async def test_writes_are_undone_if_the_block_is_cancelled(jobs: Database) -> None:
    written = asyncio.Event()

    async def write() -> None:
        async with jobs.writing() as db:
            db.add(JobRow(name="a"))
            await db.flush()
            written.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(write())
    await written.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await insert(jobs, JobRow(name="b"))
    assert await names(jobs) == ["b"]


@pytest.mark.parametrize("num_steps", range(12))
async def test_cancelled_at_any_step_a_unit_of_work_is_done_or_undone_and_the_next_one_runs(
    jobs: Database, num_steps: int
) -> None:
    async def write() -> None:
        async with jobs.writing() as db:
            db.add(JobRow(name="a", count=1))
            await db.flush()
            await db.execute(update(JobRow).values(count=2))

    task = asyncio.create_task(write())
    for _ in range(num_steps):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    await insert(jobs, JobRow(name="b", count=2))
    async with jobs.reading() as db:
        rows = (await db.execute(select(JobRow.name, JobRow.count).order_by(JobRow.name))).all()
    assert [tuple(row) for row in rows] in ([("b", 2)], [("a", 2), ("b", 2)])


async def test_reader_that_is_cancelled_at_any_step_is_not_told_that_the_database_is_gone(jobs: Database) -> None:
    assert await names(jobs) == []
    for num_turns in range(100):
        task = asyncio.create_task(names(jobs))
        for _ in range(num_turns):
            await asyncio.sleep(0)
        task.cancel()
        (outcome,) = await asyncio.gather(task, return_exceptions=True)
        assert outcome == [] or isinstance(outcome, asyncio.CancelledError)


@pytest.mark.parametrize("is_writing", [False, True])
async def test_cancelled_during_a_statement_it_is_cancelled_and_not_unavailable(
    jobs: Database, is_writing: bool
) -> None:
    if jobs.dialect == "sqlite":
        endless = (
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300000) SELECT max(i) FROM n"
        )
    else:
        endless = "SELECT pg_sleep(60)"

    async def ask() -> None:
        async with jobs.writing() if is_writing else jobs.reading() as db:
            await db.execute(text("SELECT 1"))
            asyncio.get_running_loop().call_soon(task.cancel)
            await db.execute(text(endless))

    task = asyncio.create_task(ask())
    await asyncio.wait([task])
    assert task.cancelled()
    await insert(jobs, JobRow(name="b"))


async def test_cancelled_during_the_commit_the_commit_runs_to_its_end(jobs: Database) -> None:
    committing = asyncio.Event()

    async def write() -> None:
        async with jobs.writing() as db:
            db.add(JobRow(name="a"))
            commit = db.commit

            async def slow_commit() -> None:
                committing.set()
                await asyncio.sleep(0.01)
                await commit()

            db.commit = slow_commit  # type: ignore[method-assign]

    task = asyncio.create_task(write())
    await committing.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await names(jobs) == ["a"]


async def test_rows_stay_readable_after_the_block(jobs: Database) -> None:
    row = JobRow(name="a", count=3)
    await insert(jobs, row)
    assert (row.name, row.count) == ("a", 3)


async def test_reader_sees_one_moment_and_holds_up_no_writer(jobs: Database) -> None:
    await insert(jobs, JobRow(name="a"))
    async with jobs.reading() as db:
        counting = select(func.count()).select_from(JobRow)
        before = await db.scalar(counting)
        async with asyncio.timeout(60):
            await insert(jobs, JobRow(name="b"))
        assert (before, await db.scalar(counting)) == (1, 1)
    assert await names(jobs) == ["a", "b"]


async def test_reader_cannot_write(jobs: Database) -> None:
    async with jobs.reading() as db:
        with pytest.raises(Exception, match=r"readonly|read-only"):
            await db.execute(text("DELETE FROM sample_jobs"))


async def test_no_lock_is_held_before_the_first_statement(jobs: Database) -> None:
    async with jobs.writing() as early, asyncio.timeout(60):
        await insert(jobs, JobRow(name="a"))
        early.add(JobRow(name="b"))
    assert await names(jobs) == ["a", "b"]


async def test_writers_of_one_process_lose_no_update(jobs: Database) -> None:
    await insert(jobs, JobRow(name="a", count=0))

    async def increment() -> None:
        async with jobs.writing() as db:
            row = (await db.scalars(select(JobRow).with_for_update())).one()
            row.count = (row.count or 0) + 1

    await asyncio.gather(*(increment() for _ in range(30)))
    async with jobs.reading() as db:
        assert await db.scalar(select(JobRow.count)) == 30


async def test_sqlite_writers_of_one_process_run_in_the_order_they_came(sqlite_url: str) -> None:
    database = Database.open(sqlite_url)
    ran: list[int] = []

    async def write(number: int) -> None:
        async with database.writing() as db:
            await db.execute(text("SELECT 1"))
            ran.append(number)
            await asyncio.sleep(0)

    await asyncio.gather(*(write(number) for number in range(20)))
    await database.close()
    assert ran == list(range(20))


async def test_broken_constraint_is_the_stores_to_explain(jobs: Database) -> None:
    await insert(jobs, JobRow(name="a"))
    with pytest.raises(IntegrityError):
        await insert(jobs, JobRow(name="a"))


async def test_moments_come_back_aware_in_utc_and_sort_rightly(jobs: Database) -> None:
    noon = datetime(2026, 8, 1, 12, tzinfo=UTC)
    offset = timezone(timedelta(hours=-11, minutes=-30))
    moments = {"a": noon, "b": (noon + timedelta(microseconds=1)).astimezone(offset), "c": noon - timedelta(days=1)}
    await insert(jobs, *(JobRow(name=name, create_time=moment) for name, moment in moments.items()))
    async with jobs.reading() as db:
        rows = (await db.scalars(select(JobRow).order_by(JobRow.create_time))).all()
    assert [row.name for row in rows] == ["c", "a", "b"]
    for row in rows:
        assert row.create_time == moments[row.name]
        assert row.create_time.tzinfo is UTC


async def test_naive_moment_is_refused(jobs: Database) -> None:
    with pytest.raises(StatementError, match="naive"):
        await insert(jobs, JobRow(name="a", create_time=datetime(2026, 8, 1)))


async def test_documents_and_spans_come_back_as_they_were(jobs: Database) -> None:
    document = {"ä\"'\\": ["😀", 1, 1.5, True, None], "": {}}
    await insert(jobs, JobRow(name="a", annotations=document, timeout=timedelta(days=-1, microseconds=1)))
    await insert(jobs, JobRow(name="b", annotations=None))
    async with jobs.reading() as db:
        rows = (await db.scalars(select(JobRow).order_by(JobRow.name))).all()
        unset = await db.scalar(select(JobRow.name).where(JobRow.annotations.is_(None)))
    assert (rows[0].annotations, rows[0].timeout) == (document, timedelta(days=-1, microseconds=1))
    assert unset == "b"


async def test_nan_is_no_json(jobs: Database) -> None:
    with pytest.raises(StatementError, match="JSON"):
        await insert(jobs, JobRow(name="a", annotations={"a": float("nan")}))


async def test_nul_that_postgresql_cannot_store_is_the_callers_error(postgresql_url: str) -> None:
    database = Database.open(postgresql_url)
    async with database.writing() as db:
        with pytest.raises(InvalidRequestError, match="NUL"):
            await db.scalar(select(func.length("a\0b")))
    await database.close()


async def test_sqlite_writer_is_durable_and_checks_references(sqlite_url: str) -> None:
    database = Database.open(sqlite_url)
    async with database.writing() as db:
        found = {
            name: await db.scalar(text(f"PRAGMA {name}")) for name in ("journal_mode", "synchronous", "foreign_keys")
        }
    await database.close()
    assert found == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}  # 2 is FULL


SECRET = "s3cret"
UNREACHABLE = [
    "sqlite:////nowhere/s3cret/embergate.db",
    "postgresql://user:s3cret@127.0.0.1:1/embergate",
    "postgresql:///embergate?host=/nowhere/s3cret",
]


@pytest.mark.parametrize("url", UNREACHABLE)
async def test_database_that_cannot_be_reached_is_unavailable_and_its_url_stays_secret(url: str) -> None:
    database = Database.open(url)
    for session in (database.reading, database.writing):
        with pytest.raises(UnavailableError) as caught:
            async with session() as db:
                await db.execute(text("SELECT 1"))
        assert caught.value.message == failures.UNREACHABLE
        assert caught.value.http_status == 503
        assert SECRET not in str(caught.value)
    await database.close()
    # NOTE: the driver's thread of a connection that failed reports its end to this loop, which must not be closed by then.
    async with asyncio.timeout(60):
        while any("_connection_worker_thread" in thread.name for thread in threading.enumerate()):  # noqa: ASYNC110
            await asyncio.sleep(0.001)


async def test_database_that_does_not_exist_on_the_server_is_unavailable(postgresql_url: str) -> None:
    database = Database.open(postgresql_url.replace("/embergate_", "/absent_"))
    with pytest.raises(UnavailableError):
        async with database.reading() as db:
            await db.execute(text("SELECT 1"))
    await database.close()


async def test_server_that_drops_its_connections_is_unavailable_once_and_then_there_again(
    postgresql_server: PostgresqlServer, postgresql_url: str
) -> None:
    database = Database.open(postgresql_url)
    ending = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'embergate'"
    with pytest.raises(UnavailableError):  # noqa: PT012
        async with database.writing() as db:
            await db.execute(text("SELECT 1"))
            await asyncio.to_thread(postgresql_server.execute, ending)
            await db.execute(text("SELECT 1"))
    async with database.reading() as db:
        assert await db.scalar(text("SELECT 1")) == 1
    await database.close()


async def test_sqlite_file_locked_by_another_for_too_long_is_unavailable(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("embergate.storage.engines.LOCK_TIMEOUT_S", 0.05)
    database = Database.open(sqlite_url)
    other = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(UnavailableError) as caught:
        async with database.writing() as db:
            await db.execute(text("SELECT 1"))
    assert caught.value.message == failures.LOCKED
    async with database.reading() as db:  # a reader does not care
        await db.execute(text("SELECT 1"))
    other.close()
    await database.close()


async def test_row_locked_by_another_for_too_long_is_unavailable(
    postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("embergate.storage.engines.LOCK_TIMEOUT_S", 0.05)
    database = Database.open(postgresql_url)
    async with database.writing() as first:
        await first.execute(text("CREATE TABLE t (a int)"))
    async with database.writing() as first:
        await first.execute(text("LOCK TABLE t"))
        with pytest.raises(UnavailableError) as caught:
            async with database.writing() as second:
                await second.execute(text("INSERT INTO t VALUES (1)"))
    assert caught.value.message == failures.LOCKED
    await database.close()


SLOW = {
    "sqlite": "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n",
    "postgresql": "SELECT count(*) FROM generate_series(1, 1000000000000) AS n",
}


async def test_statement_that_reads_for_too_long_is_broken_off_and_the_next_one_runs(database_url: str) -> None:
    database = Database.open(database_url, pool_size=1, statement_timeout_s=0.2)
    for _ in range(2):
        with pytest.raises(RequestTimeoutError) as caught:
            async with database.reading() as db:
                await db.execute(text(SLOW[database.dialect]))
        assert caught.value.message == failures.SLOW
        async with database.reading() as db:
            assert await db.scalar(text("SELECT 1")) == 1
    await database.close()


async def test_connections_all_in_use_for_too_long_are_unavailable(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("embergate.storage.engines.POOL_TIMEOUT_S", 0.05)
    database = Database.open(database_url, pool_size=1)
    async with database.writing() as first:
        await first.execute(text("SELECT 1"))
        with pytest.raises(UnavailableError) as caught:
            async with database.writing() as second:
                await second.execute(text("SELECT 1"))
    assert caught.value.message == failures.BUSY
    await database.close()


async def test_full_disk_is_unavailable_and_leaves_what_was(sqlite_url: str) -> None:
    database = Database.open(sqlite_url)
    async with database.writing() as db:
        await db.execute(text("CREATE TABLE t (a BLOB)"))
        await db.execute(text("INSERT INTO t VALUES (zeroblob(100))"))
        pages = await db.scalar(text("PRAGMA page_count"))
        await db.execute(
            text(f"PRAGMA max_page_count = {pages + 5}")
        )  # of this one connection, as a full disk would be
    with pytest.raises(UnavailableError) as caught:
        async with database.writing() as db:
            await db.execute(text("INSERT INTO t VALUES (zeroblob(1000000))"))
    assert caught.value.message == failures.FULL
    async with database.reading() as db:
        assert await db.scalar(text("SELECT count(*) FROM t")) == 1
    await database.close()


async def test_file_that_is_no_database_is_unavailable(tmp_path: Path) -> None:
    path = tmp_path / "embergate.db"
    path.write_bytes(b"no database at all" * 1000)
    database = Database.open(f"sqlite:///{path}")
    with pytest.raises(UnavailableError) as caught:
        async with database.writing() as db:
            await db.execute(text("SELECT 1"))
    assert caught.value.message == failures.DAMAGED
    await database.close()


async def test_sqlite_file_that_may_only_be_read_is_not_writable(sqlite_url: str) -> None:
    database = Database.open(sqlite_url)
    async with database.writing() as db:
        await db.execute(text("PRAGMA query_only = ON"))
    with pytest.raises(UnavailableError) as caught:
        async with database.writing() as db:
            await db.execute(text("CREATE TABLE t (a)"))
    assert caught.value.message == failures.NOT_WRITABLE
    await database.close()


BAD_URLS = [
    ("", "not valid"),
    ("s3cret", "not valid"),
    ("mysql://user:s3cret@host/name", "must be"),
    ("sqlite://", "must name a file"),
    ("sqlite:///:memory:", "must name a file"),
    ("sqlite:///s3cret?mode=ro", "must name a file"),
    ("postgresql://user:s3cret@host/name?colour=red", "colour"),
    ("postgresql://user:s3cret@host:port/name", "not valid"),
]


@pytest.mark.parametrize(("url", "part"), BAD_URLS)
def test_bad_url_is_explained_and_not_shown(url: str, part: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Database.open(url)
    assert part in caught.value.message
    assert SECRET not in caught.value.message


@pytest.mark.parametrize(
    "url", ["postgresql://a@b/c?sslmode=require", "postgresql+asyncpg://a@b/c", "postgres://a@b/c"]
)
async def test_every_spelling_of_postgresql_is_accepted(url: str) -> None:
    database = Database.open(url)
    assert database.dialect == "postgresql"
    await database.close()


def test_without_its_driver_postgresql_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "asyncpg", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'embergate\[postgres\]'"):
        Database.open("postgresql://user@host/name")
