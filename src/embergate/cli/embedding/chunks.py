"""Rows into chunks: the unit in which texts are embedded, written and resumed.

Where a chunk ends depends only on the rows from its beginning on, so a run that resumes at a chunk's end cuts the rest
of the input exactly as a run without interruption.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from embergate.cli.embedding.readers import Row
from embergate.cli.embedding.sources import Source

# A chunk of long texts ends here: about 60,000 tokens, so that little is lost with it and the progress bar moves.
MAX_CHUNK_CHARACTERS: Final = 1 << 18


@dataclass(frozen=True, slots=True)
class Chunk:
    """Rows to embed together; `numbers` are their places in the input, from 0, skipped rows counted."""

    numbers: list[int]
    rows: list[Row]


class ContentDigest:
    """A running hash of the rows taken so far: their numbers, ids and texts."""

    def __init__(self) -> None:
        """Start with no rows."""
        self._hash = hashlib.sha256()

    def update(self, number: int, row: Row) -> None:
        """Take one more row."""
        row_id = b"" if row.id is None else row.id.encode()
        text = row.text.encode()
        lengths = struct.pack("<qqq", number, -1 if row.id is None else len(row_id), len(text))
        self._hash.update(lengths + row_id + text)

    def hexdigest(self) -> str:
        """Return the hash so far."""
        return self._hash.hexdigest()


def number_rows(rows: Iterable[Row], source: Source, *, skip_empty: bool) -> Iterator[tuple[int, Row]]:
    """Number the rows from 0, and refuse those without text, or leave them out (their numbers stay unused).

    Raises: InvalidRequestError naming the first row without text, unless `skip_empty`.
    """
    for number, row in enumerate(rows):
        if row.text:
            yield number, row
        elif not skip_empty:
            raise source.error(
                row.line,
                "the text is empty, and an empty text has no embedding; give it a text, or leave such rows out with "
                "--skip-empty (output .jsonl or .parquet)",
            )


def cut_chunks(numbered: Iterable[tuple[int, Row]], *, batch_rows: int) -> Iterator[Chunk]:
    """Group rows into chunks of `batch_rows`, fewer where the texts are long."""
    chunk, num_characters = Chunk([], []), 0
    for number, row in numbered:
        chunk.numbers.append(number)
        chunk.rows.append(row)
        num_characters += len(row.text)
        if len(chunk.rows) >= batch_rows or num_characters >= MAX_CHUNK_CHARACTERS:
            yield chunk
            chunk, num_characters = Chunk([], []), 0
    if chunk.rows:
        yield chunk
