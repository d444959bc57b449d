"""A copy of an SQLite database while it is in use. PostgreSQL has tools of its own for that: pg_dump and pg_restore."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from typing import Final

from sqlalchemy import make_url

from embergate.errors import ConfigurationError, UnavailableError

PARTIAL: Final = ".partial"


async def back_up(url: str, target: Path) -> None:
    """Write the SQLite database at `url`, as it is at one moment, to the new file `target`; others may write meanwhile.

    The file appears when it is complete and on the disk; it is the database: to restore, put it in the other's place.

    Raises: ConfigurationError if the database is none of SQLite's, is not there, or `target` is;
    UnavailableError if it cannot be read or the target cannot be written.
    """
    await asyncio.to_thread(_back_up, url, target)


def _back_up(url: str, target: Path) -> None:
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite" or not parsed.database:
        raise ConfigurationError("only SQLite is backed up like this; use pg_dump for PostgreSQL")
    source = Path(parsed.database)
    if not source.is_file():
        raise ConfigurationError(f"there is no database {source}")
    if target.exists():
        raise ConfigurationError(f"{target} exists; name a new file")
    partial = target.with_name(target.name + PARTIAL)
    try:
        # It holds secrets' digests and people's addresses: for its owner's eyes only.
        partial.unlink(missing_ok=True)
        partial.touch(mode=0o600, exist_ok=False)
        _copy(source, partial)
        _sync(partial)
        partial.rename(target)
        _sync(target.parent)
    except (OSError, sqlite3.Error) as error:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise UnavailableError(f"the backup to {target} failed: {error}") from error


def _copy(source: Path, target: Path) -> None:
    # All pages in one step, so that a busy writer cannot make it start again for ever. A reader holds up no writer.
    with closing(sqlite3.connect(source)) as reader, closing(sqlite3.connect(target)) as writer:
        reader.backup(writer, pages=-1)
        # One file, with no log beside it that somebody forgets to copy.
        writer.execute("PRAGMA journal_mode = DELETE")


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
