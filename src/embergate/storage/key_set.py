"""`KeySet`: which of any number of texts were there before, in memory that does not grow with them.

Its calls block; one runs at a time, in any thread, and none may run any more when the context ends.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from hashlib import blake2b
from types import TracebackType
from typing import Final, Self

from embergate.errors import UnavailableError

KEY_BYTES: Final = 16
NO_ROOM: Final = "The disk of temporary files is full, or fails."


class KeySet:
    """Hashes of texts, in a table of an unnamed file that is gone with it."""

    def __init__(self) -> None:
        """Make an empty one."""
        # No name: SQLite keeps it in its cache, and beyond that in a temporary file that nobody else sees.
        self._connection = sqlite3.connect("", check_same_thread=False, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode = OFF")
        self._connection.execute("CREATE TABLE keys (key BLOB PRIMARY KEY) WITHOUT ROWID")

    def add(self, text: str) -> bool:
        """Add a text; return whether it is new. Raises: UnavailableError where there is no room for it."""
        statement = "INSERT INTO keys VALUES (?) ON CONFLICT DO NOTHING"
        try:
            return self._connection.execute(statement, (_key_of(text),)).rowcount == 1
        except sqlite3.OperationalError as error:
            raise UnavailableError(NO_ROOM) from error

    def add_all(self, texts: Iterable[str]) -> None:
        """Add many texts, new or not."""
        for text in texts:
            self.add(text)

    def __contains__(self, text: str) -> bool:
        """Tell whether a text was added."""
        found = self._connection.execute("SELECT 1 FROM keys WHERE key = ?", (_key_of(text),))
        return found.fetchone() is not None

    def __enter__(self) -> Self:
        """Use it; it is gone at the end."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let go of the file."""
        self._connection.close()


def _key_of(text: str) -> bytes:
    return blake2b(text.encode(), digest_size=KEY_BYTES).digest()
