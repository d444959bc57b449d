"""Migrations for whoever changes a table: `check` that there is one, or write a `new` one.

`python -m tools.migrations check` exits 1 where the tables in the code are not those that the migrations lead to.
`python -m tools.migrations new add_users` writes the next one, to be read and corrected before it is committed.
"""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from embergate.storage.database import Database
from embergate.storage.migrate import HISTORY, History, differences, upgrade

NAME: Final = re.compile(r"^[a-z][a-z0-9_]*$")


async def check(url: str, history: History = HISTORY) -> list[str]:
    """Return where the tables differ from what the migrations lead to; the database at `url` is migrated for it."""
    database = Database.open(url)
    await upgrade(database, history)
    found = await differences(database, history)
    await database.close()
    return [str(difference) for difference in found]


async def write(url: str, name: str, history: History = HISTORY) -> Path:
    """Write the migration from the last one to the tables in the code, and return its file."""
    database = Database.open(url)
    await upgrade(database, history)

    def revise(connection: Connection) -> Path:
        config = history.config(connection)
        number = len(list(ScriptDirectory.from_config(config).walk_revisions())) + 1
        config.set_main_option("file_template", "%%(rev)s_%%(slug)s")
        script = command.revision(config, name, autogenerate=True, rev_id=f"{number:04}")
        assert script is not None
        assert not isinstance(script, list)
        return Path(script.path)

    async with database.migrating() as connection:
        path = await connection.run_sync(revise)
    await database.close()
    return path


def main(arguments: list[str]) -> int:
    """Run one of the two."""
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/migrations.db"
        match arguments:
            case ["check"]:
                found = asyncio.run(check(url))
                print(
                    "\n".join([*found, "run `make migration NAME=what_changes`"]) if found else "migrations: complete"
                )
                return 1 if found else 0
            case ["new", name] if NAME.match(name):
                path = asyncio.run(write(url, name))
                for fix in (["check", "--fix", "--quiet"], ["format", "--quiet"]):
                    subprocess.run([Path(sys.executable).with_name("ruff"), *fix, path], check=False)
                print(path)
                return 0
    print("check, or new NAME with a name such as add_users", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
