"""Files on their way to or from a server: looked at before they go, and how far they are."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from embergate.cli.bar import Bar
from embergate.errors import InvalidRequestError
from embergate.gateway.datasets.jsonl import RowCounter
from embergate.gateway.models.names import is_uploadable

PIECE_BYTES: Final = 1 << 20


def check_rows(files: Sequence[Path]) -> int:
    """Return how many rows files have. Raises: InvalidRequestError; RowError naming the first line that is none."""
    names = [file.name for file in files]
    if len(set(names)) < len(names):
        raise InvalidRequestError("two of the files are called alike; a dataset's files have names of their own")
    num_rows = 0
    for file in files:
        counter = RowCounter(file.name)
        try:
            with file.open("rb") as opened:
                while piece := opened.read(PIECE_BYTES):
                    counter.take(piece)
        except OSError as error:
            raise InvalidRequestError(f"{file} cannot be read: {error.strerror}") from error
        counter.finish()
        num_rows += counter.num_rows
    if num_rows == 0:
        raise InvalidRequestError("there are no rows in the files")
    return num_rows


def model_files(folder: Path) -> dict[str, Path]:
    """Return the files of a folder that a model may have, by their names below it; say on stderr which are left out.

    Raises: InvalidRequestError if it is no folder, or has none.
    """
    if not folder.is_dir():
        raise InvalidRequestError(f"{folder} is no folder")
    found = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    files = {name: path for name, path in found.items() if is_uploadable(name)}
    for name in found.keys() - files.keys():
        print(f"left out, as no model may have such a file: {name}", file=sys.stderr)
    if not files:
        raise InvalidRequestError(f"there is no file in {folder} that a model may have")
    return files


class Waiting(Bar):
    """How far a server is with something."""

    def __init__(self, what: str) -> None:
        """Nothing is known yet."""
        super().__init__(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), what=what)

    def show(self, num_done: int, num_all: int) -> None:
        """Show that so many of all are done; none is known to be while there are none."""
        self._progress.update(self._task, completed=num_done, total=num_all or None)


class Transfer(Bar):
    """How many bytes are through."""

    def __init__(self, what: str, num_bytes: int | None) -> None:
        """Expect so many bytes; None if nobody knows."""
        super().__init__(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            what=what,
            total=num_bytes,
        )

    def advance(self, num_bytes: int) -> None:
        """Show that so many more bytes are through."""
        self._progress.advance(self._task, num_bytes)
