"""A process that writes.

`count URL N` adds one to a counter N times; `append URL` writes rows for ever, and prints each one's number once it is safe.
"""

from __future__ import annotations

import asyncio
import sys

from sqlalchemy import select, text

from embergate.storage.database import Database
from tests.integration.storage.sample import JobRow


async def count(url: str, times: int) -> None:
    database = Database.open(url)
    for _ in range(times):
        async with database.writing() as db:
            row = (await db.scalars(select(JobRow).with_for_update())).one()
            row.count = (row.count or 0) + 1
    await database.close()


async def append(url: str) -> None:
    database = Database.open(url)
    number = 0
    while True:
        async with database.writing() as db:
            db.add(JobRow(name=f"{number:06}", display_name="x" * 100))
            await db.flush()
            await db.execute(text("UPDATE sample_jobs SET count = :number"), {"number": number})
        print(number, flush=True)  # noqa: T201 - the test reads it
        number += 1


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["count", url, times]:
            asyncio.run(count(url, int(times)))
        case ["append", url]:
            asyncio.run(append(url))
