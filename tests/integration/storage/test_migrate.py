"""Migrations on both databases: to the newest, by several at once, failing without a trace, and told when they lack."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest
from sqlalchemy import Column, ForeignKey, Integer, MetaData, String, Table, inspect, text

from embergate.errors import ConfigurationError
from embergate.storage import migrate
from embergate.storage.database import Database
from embergate.storage.migrate import HISTORY, History, SchemaState
from embergate.storage.rows import NAMING_CONVENTION, Base, Duration, Json, UtcDateTime
from embergate.storage.rows import text as text_type
from tools import migrations

FIRST = """
    op.create_table("parents", sa.Column("id", sa.Integer(), primary_key=True))
    op.create_table(
        "children",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("parent_id", sa.Integer(), sa.ForeignKey("parents.id", name="fk", ondelete="CASCADE")),
    )
    op.execute("INSERT INTO parents VALUES (1)")
    op.execute("INSERT INTO children VALUES (1, 1)")
"""
REBUILD = """
    with op.batch_alter_table("parents", recreate="auto") as batch:
        batch.alter_column("id", type_=sa.BigInteger(), existing_type=sa.Integer())
    op.add_column("parents", sa.Column("name", sa.String(10), nullable=True))
"""
FAILING = """
    op.create_table("half_done", sa.Column("id", sa.Integer(), primary_key=True))
    op.execute("UPDATE parents SET name = 'changed'")
    op.execute("SELECT * FROM absent")
"""
DANGLING = """
    op.execute("DELETE FROM parents")
"""


class Migrations:
    """A history of a test's own."""

    def __init__(self, folder: Path, metadata: MetaData) -> None:
        self.history = History(folder / "migrations", metadata)
        shutil.copytree(HISTORY.folder, self.history.folder, ignore=shutil.ignore_patterns("0*.py", "__pycache__"))
        self._num = 0

    def add(self, body: str) -> None:
        self._num += 1
        previous = f'"{self._num - 1:04}"' if self._num > 1 else None
        source = f"import sqlalchemy as sa\nfrom alembic import op\nrevision = '{self._num:04}'\ndown_revision = {previous}\n"
        path = self.history.folder / "versions" / f"{self._num:04}_test.py"
        path.write_text(f"{source}\n\ndef upgrade():{body}")

    def remove_last(self) -> None:
        (self.history.folder / "versions" / f"{self._num:04}_test.py").unlink()
        self._num -= 1


@pytest.fixture
def own(tmp_path: Path) -> Migrations:
    own = Migrations(tmp_path, MetaData(naming_convention=NAMING_CONVENTION))
    own.add(FIRST)
    return own


@pytest.fixture
async def fresh(database: Database) -> Database:
    """A database that knows of no migration yet, and has no table."""
    async with database.migrating() as connection:
        await connection.run_sync(Base.metadata.drop_all)
        await connection.execute(text("DROP TABLE IF EXISTS alembic_version"))
    return database


async def rows(database: Database, query: str) -> list[tuple[object, ...]]:
    async with database.reading() as db:
        return [tuple(row) for row in await db.execute(text(query))]


async def tables(database: Database) -> set[str]:
    async with database.reading() as db:
        connection = await db.connection()
        return set(await connection.run_sync(lambda sync: inspect(sync).get_table_names()))


async def test_states_and_what_to_do_about_them(fresh: Database, own: Migrations) -> None:
    assert await migrate.state(fresh, own.history) is SchemaState.EMPTY
    with pytest.raises(ConfigurationError, match="run `embergate migrate`"):
        await migrate.require_current(fresh, own.history)
    await migrate.upgrade(fresh, own.history)
    assert await migrate.state(fresh, own.history) is SchemaState.CURRENT
    await migrate.require_current(fresh, own.history)
    own.add(REBUILD)
    assert await migrate.state(fresh, own.history) is SchemaState.OLD
    with pytest.raises(ConfigurationError, match="backup, then run `embergate migrate`"):
        await migrate.require_current(fresh, own.history)
    await migrate.upgrade(fresh, own.history)
    own.remove_last()
    assert await migrate.state(fresh, own.history) is SchemaState.NEWER
    for refuse in (migrate.require_current, migrate.upgrade):
        with pytest.raises(ConfigurationError, match="newer embergate"):
            await refuse(fresh, own.history)


async def test_table_is_rebuilt_with_its_rows_and_those_that_refer_to_it(fresh: Database, own: Migrations) -> None:
    await migrate.upgrade(fresh, own.history)
    own.add(REBUILD)
    await migrate.upgrade(fresh, own.history)
    assert await rows(fresh, "SELECT id, name FROM parents") == [(1, None)]
    assert await rows(fresh, "SELECT id, parent_id FROM children") == [(1, 1)]


async def test_failing_migration_leaves_the_database_as_it_was(fresh: Database, own: Migrations) -> None:
    await migrate.upgrade(fresh, own.history)
    before = await tables(fresh)
    own.add(REBUILD)
    own.add(FAILING)
    with pytest.raises(Exception, match="absent"):
        await migrate.upgrade(fresh, own.history)
    assert await tables(fresh) == before
    assert await rows(fresh, "SELECT * FROM parents") == [(1,)]
    assert await rows(fresh, "SELECT version_num FROM alembic_version") == [("0001",)]


async def test_sqlite_migration_that_breaks_a_reference_fails(sqlite_url: str, tmp_path: Path) -> None:
    own = Migrations(tmp_path, MetaData())
    own.add(FIRST)
    own.add(DANGLING)
    database = Database.open(sqlite_url)
    async with database.migrating() as connection:
        await connection.execute(text("DROP TABLE IF EXISTS alembic_version"))
    with pytest.raises(RuntimeError, match="children to parents"):
        await migrate.upgrade(database, own.history)
    assert "parents" not in await tables(database)
    await database.close()


async def test_several_that_migrate_at_once_do_it_once(fresh: Database, own: Migrations, database_url: str) -> None:
    own.add(REBUILD)
    others = [Database.open(database_url) for _ in range(4)]
    await asyncio.gather(*(migrate.upgrade(database, own.history) for database in others))
    for database in others:
        assert await migrate.state(database, own.history) is SchemaState.CURRENT
        await database.close()
    assert await rows(fresh, "SELECT id FROM parents") == [(1,)]


async def test_tables_of_the_program_are_what_its_migrations_lead_to(database: Database) -> None:
    assert await migrate.state(database) is SchemaState.CURRENT
    assert await migrate.differences(database) == []


async def test_new_migration_is_written_from_the_tables_and_leads_to_them(
    fresh: Database, tmp_path: Path, database_url: str
) -> None:
    metadata = MetaData(naming_convention=NAMING_CONVENTION)
    own = Migrations(tmp_path, metadata)
    Table(
        "things",
        metadata,
        Column("id", text_type(63), primary_key=True),
        Column("note", text_type(), index=True),
        Column("at", UtcDateTime(), nullable=False),
        Column("took", Duration()),
        Column("document", Json()),
        Column("parent", text_type(63), ForeignKey("things.id")),
    )
    assert await migrations.check(database_url, own.history) != []
    path = await migrations.write(f"sqlite:///{tmp_path}/new.db", "add_things", own.history)
    source = path.read_text()
    assert path.name == "0001_add_things.py"
    for part in ("rows.text(63)", "rows.text()", "rows.UtcDateTime()", "rows.Duration()", "rows.Json()"):
        assert part in source
    assert await migrations.check(database_url, own.history) == []
    Table("more", metadata, Column("id", Integer, primary_key=True), Column("name", String(5)))
    assert any("more" in difference for difference in await migrations.check(database_url, own.history))


def test_tool_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    assert migrations.main(["check"]) == 0
    assert migrations.main(["new", "Not a name"]) == 2
    assert "add_users" in capsys.readouterr().err


async def test_older_server_is_refused(postgresql_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migrate, "MIN_POSTGRESQL", 99)
    database = Database.open(postgresql_url)
    for refuse in (migrate.require_current, migrate.upgrade):
        with pytest.raises(ConfigurationError, match="PostgreSQL 99 or later"):
            await refuse(database)
    await database.close()
