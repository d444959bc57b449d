"""Writing the rows of a bill to a CSV file: all of it is there, or the file is as it was."""

from __future__ import annotations

import csv
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import TextIO

from sqlalchemy.ext.asyncio import AsyncSession

from embergate.errors import InvalidRequestError
from embergate.gateway.billing.focus import COLUMNS, focus_rows
from embergate.storage.tables.accounts import AccountRow


async def write_focus(db: AsyncSession, account: AccountRow, days: tuple[datetime, datetime], path: Path) -> int:
    """Write the rows of the days between two midnights, for its owner's eyes; return how many.

    It blocks the event loop while it writes: it is for a command. Raises: InvalidRequestError if the file cannot be written.
    """
    num_rows = 0
    with _replacing(path) as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        async for row in focus_rows(db, account, *days):
            writer.writerow(row)
            num_rows += 1
    return num_rows


@contextmanager
def _replacing(path: Path) -> Iterator[TextIO]:
    """Hand out a file that becomes the one at `path` once the block has ended well, and is gone if it has not."""
    try:
        handle, made = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
        try:
            with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            Path(made).replace(path)
        except BaseException:
            with suppress(FileNotFoundError):
                Path(made).unlink()
            raise
    except OSError as error:
        raise InvalidRequestError(f"--output: {path} cannot be written: {error.strerror}") from error
