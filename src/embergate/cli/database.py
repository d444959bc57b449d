"""`embergate migrate` and `embergate backup`."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer


def migrate() -> None:
    """Bring the database's tables to what this version expects; do nothing if they are. Make a backup first."""
    from embergate.app.gateway import database_url
    from embergate.settings import load_settings

    asyncio.run(_migrate(database_url(load_settings())))


async def _migrate(url: str) -> None:
    from embergate.storage.database import Database
    from embergate.storage.migrate import SchemaState, state, upgrade

    database = Database.open(url)
    try:
        before = await state(database)
        await upgrade(database)
    finally:
        await database.close()
    typer.echo("nothing to do" if before is SchemaState.CURRENT else "migrated")


def backup(file: Annotated[Path, typer.Argument(help="The file to write; it must not exist.")]) -> None:
    """Copy the SQLite database into a file, also while the server runs. For PostgreSQL use pg_dump."""
    from embergate.app.gateway import database_url
    from embergate.settings import load_settings
    from embergate.storage.backup import back_up

    asyncio.run(back_up(database_url(load_settings(), is_made=False), file))
    typer.echo(f"{file}: {file.stat().st_size:,} bytes")
