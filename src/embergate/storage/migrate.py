"""Bring a database's schema to what this program expects, and tell whether it is."""

from __future__ import annotations

import enum
from collections.abc import Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, MetaData, text
from sqlalchemy.ext.asyncio import AsyncConnection

from embergate.errors import ConfigurationError
from embergate.storage import (
    locks,
    tables,  # noqa: F401 - completes Base.metadata
)
from embergate.storage.database import Database
from embergate.storage.rows import Base

# The first with a collation that lower-cases alike on every machine; filters need it.
MIN_POSTGRESQL: Final = 17


class SchemaState(enum.Enum):
    """How a database's schema stands to the program."""

    EMPTY = "empty"
    OLD = "old"
    CURRENT = "current"
    NEWER = "newer"


@dataclass(frozen=True, slots=True)
class History:
    """A folder of migrations, and the tables that they lead to."""

    folder: Path
    metadata: MetaData

    def config(self, connection: Connection | None = None) -> Config:
        """Return alembic's configuration, for a connection where it needs one."""
        config = Config(attributes={"connection": connection, "metadata": self.metadata})
        config.set_main_option("script_location", str(self.folder).replace("%", "%%"))
        config.set_main_option("path_separator", "os")
        return config


HISTORY: Final = History(Path(__file__).parent / "migrations", Base.metadata)


async def upgrade(database: Database, history: History = HISTORY) -> None:
    """Run the migrations that the database lacks, all or none. Of several processes one runs them, the others wait for it.

    Raises: ConfigurationError if the database is newer than this program, or the server is none that it can use.
    """
    async with database.migrating() as connection:
        await _check_server(connection, database)
        await locks.lock(connection, locks.MIGRATION)
        # Only now: another process may have run them while this one waited.
        found = _state(await connection.run_sync(_revisions), history)
        if found is SchemaState.NEWER:
            raise _not_current(found)
        if found is not SchemaState.CURRENT:
            await connection.run_sync(_run, history)
            if database.dialect == "sqlite":
                await connection.run_sync(_check_references)


async def state(database: Database, history: History = HISTORY) -> SchemaState:
    """Return how the database's schema stands to this program.

    Raises: ConfigurationError if the server is none that the program can use.
    """
    async with database.reading() as db:
        connection = await db.connection()
        await _check_server(connection, database)
        return _state(await connection.run_sync(_revisions), history)


async def require_current(database: Database, history: History = HISTORY) -> None:
    """Do nothing if the schema is the one this program expects.

    Raises: ConfigurationError that says what to do otherwise.
    """
    found = await state(database, history)
    if found is not SchemaState.CURRENT:
        raise _not_current(found)


async def differences(database: Database, history: History = HISTORY) -> list[Any]:
    """Return where the tables in the database are not those in the code, in alembic's words; empty if they agree."""

    def compare(connection: Connection) -> list[Any]:
        context = MigrationContext.configure(connection)
        return list(compare_metadata(context, history.metadata))

    async with database.reading() as db:
        connection = await db.connection()
        return await connection.run_sync(compare)


async def _check_server(connection: AsyncConnection, database: Database) -> None:
    if database.dialect != "postgresql":
        return
    version, encoding = (
        await connection.execute(
            text("SELECT current_setting('server_version_num')::int, current_setting('server_encoding')")
        )
    ).one()
    if version < MIN_POSTGRESQL * 10_000:
        raise ConfigurationError(f"PostgreSQL {MIN_POSTGRESQL} or later is needed, the server is {version // 10_000}")
    if encoding != "UTF8":
        raise ConfigurationError(f"the database's encoding must be UTF8, and is {encoding}")


def _revisions(connection: Connection) -> set[str]:
    return set(MigrationContext.configure(connection).get_current_heads())


def _state(revisions: Set[str], history: History) -> SchemaState:
    scripts = ScriptDirectory.from_config(history.config())
    if revisions - {script.revision for script in scripts.walk_revisions()}:
        return SchemaState.NEWER
    if revisions == set(scripts.get_heads()):
        return SchemaState.CURRENT
    return SchemaState.OLD if revisions else SchemaState.EMPTY


def _not_current(found: SchemaState) -> ConfigurationError:
    return ConfigurationError(
        {
            SchemaState.EMPTY: "the database has no tables yet; run `embergate migrate`",
            SchemaState.OLD: "the database's tables are of an older embergate; make a backup, then run `embergate migrate`",
            SchemaState.NEWER: "the database's tables are of a newer embergate than this one; "
            "run that one, or restore the backup made before it was installed",
        }[found]
    )


def _run(connection: Connection, history: History) -> None:
    command.upgrade(history.config(connection), "head")


def _check_references(connection: Connection) -> None:
    """Find rows whose references lead nowhere, since SQLite's own check is off while tables are built anew."""
    broken = connection.execute(text("PRAGMA foreign_key_check")).fetchall()
    if broken:
        names = sorted({f"{row[0]} to {row[2]}" for row in broken})
        raise RuntimeError(f"a migration leaves {len(broken)} rows with broken references: {', '.join(names)}")
