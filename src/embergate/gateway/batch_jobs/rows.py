"""The rows of a batch job's input: what each must be, which there are twice, and how they are cut into chunks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from embergate.errors import InvalidRequestError
from embergate.gateway.datasets.jsonl import BYTE_ORDER_MARK, MAX_LINE_BYTES, Lines
from embergate.storage.key_set import KeySet

# What a chunk has at most: as much as is lost and done again when a server dies.
CHUNK_ROWS: Final = 512
CHUNK_BYTES: Final = 4 << 20
# Their vectors are in memory together; the last row may go beyond, by as many as a request may have.
CHUNK_INPUTS: Final = 2_048
MAX_NAMED: Final = 100
MAX_ID_CHARACTERS: Final = 512
# `method` and `url` are those of OpenAI's rows, and not used.
FIELDS: Final = frozenset({"custom_id", "body", "method", "url"})
# Returns how many inputs a body has.
CheckBody = Callable[[Mapping[str, Any]], int]


class RowProblem(Exception):  # noqa: N818 - one of many, counted
    """What is wrong with a row."""


@dataclass(frozen=True, slots=True)
class Row:
    """One request, and what its owner calls it."""

    custom_id: str
    body: dict[str, Any]


def read_row(line: bytes, extra: Mapping[str, Any]) -> Row:
    """Return the request of a line, its body with what all bodies are given. Raises: RowProblem."""
    if len(line) > MAX_LINE_BYTES:
        raise RowProblem(f"is longer than {MAX_LINE_BYTES} bytes")
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise RowProblem(f"is not JSON: {error}") from None
    if not isinstance(row, dict):
        raise RowProblem("is not a JSON object")
    unknown = next((name for name in row if name not in FIELDS), None)
    if unknown is not None:
        raise RowProblem(f'unknown field "{unknown[:100]}"')
    custom_id, body = row.get("custom_id"), row.get("body")
    if not isinstance(custom_id, str) or not 1 <= len(custom_id) <= MAX_ID_CHARACTERS:
        raise RowProblem(f"custom_id must be a string of 1 to {MAX_ID_CHARACTERS} characters")
    if not isinstance(body, dict):
        raise RowProblem("body must be a JSON object, the request without its model")
    return Row(custom_id, {**extra, **body})


def lines_of(content: bytes) -> Iterator[bytes]:
    """Yield the lines of a chunk that are rows."""
    for line in content.split(b"\n"):
        if line.strip():
            yield line


@dataclass(slots=True)
class _Chunk:
    """A run of lines of one file. `skipped` are the rows in it, by number, that are not to be done."""

    start: int
    length: int = 0
    num_rows: int = 0
    num_inputs: int = 0
    skipped: list[int] = field(default_factory=list)

    @property
    def is_full(self) -> bool:
        """Whether nothing more is to be added."""
        return self.num_rows >= CHUNK_ROWS or self.num_inputs >= CHUNK_INPUTS or self.length >= CHUNK_BYTES


class RowChecker:
    """Takes an input's files one after the other, their bytes as they come, and gives the chunks to do.

    Its calls block. `done` are the requests that an earlier job has answered, which are left out.
    """

    def __init__(self, check: CheckBody, extra: Mapping[str, Any], *, seen: KeySet, done: KeySet) -> None:
        """Have seen nothing yet."""
        self.num_requests = 0
        self.num_problems = 0
        self.problems: list[str] = []
        self._check = check
        self._extra = extra
        self._seen = seen
        self._done = done
        self._begin("", "")

    def begin_file(self, name: str, key: str) -> None:
        """Turn to the next file, which is kept under `key`."""
        self._begin(name, key)

    def _begin(self, name: str, key: str) -> None:
        self._name, self._key = name, key
        self._lines = Lines()
        self._line = self._offset = 0
        self._chunk = _Chunk(0)

    def take(self, content: bytes) -> list[dict[str, Any]]:
        """Look at the next bytes; return the chunks that are full."""
        return [chunk for line in self._lines.take(content) for chunk in self._take_line(line, len(line) + 1)]

    def finish_file(self) -> list[dict[str, Any]]:
        """Look at what comes behind the last line break; return the chunks that are left."""
        chunks = [chunk for line in self._lines.finish() for chunk in self._take_line(line, len(line))]
        return [*chunks, *self._cut()]

    def _take_line(self, line: bytes, num_bytes: int) -> Iterator[dict[str, Any]]:
        self._line += 1
        self._offset += num_bytes
        self._chunk.length += num_bytes
        if self._line == 1:
            line = line.removeprefix(BYTE_ORDER_MARK)
        if line.strip():
            self._take_row(line)
        if self._chunk.is_full:
            yield from self._cut()

    def _take_row(self, line: bytes) -> None:
        number = self._chunk.num_rows
        self._chunk.num_rows += 1
        try:
            row = read_row(line, self._extra)
            num_inputs = self._check(row.body)
            if not self._seen.add(row.custom_id):
                raise RowProblem(f"custom_id {row.custom_id[:80]!r} was there before")
        except (RowProblem, InvalidRequestError) as problem:
            self.num_problems += 1
            if len(self.problems) < MAX_NAMED:
                said = f"{self._name} line {self._line} {problem}"[:300]
                self.problems.append(said.replace("\0", "\\0"))  # PostgreSQL keeps no NUL
            return
        if row.custom_id in self._done:
            self._chunk.skipped.append(number)
        else:
            self.num_requests += 1
            self._chunk.num_inputs += num_inputs

    def _cut(self) -> Iterator[dict[str, Any]]:
        """Yield the chunk, if there is anything to do in it, and begin another."""
        chunk, self._chunk = self._chunk, _Chunk(self._offset)
        if chunk.num_rows > len(chunk.skipped):
            yield {"key": self._key, "start": chunk.start, "length": chunk.length, "skipped": chunk.skipped}

    def explain(self) -> str:
        """Return what is wrong with the input, of many problems the first ones."""
        if self.num_problems == 1:
            return f"Dataset has a syntax error: {self.problems[0]}"
        named = "; ".join(self.problems)
        more = f" (the first {MAX_NAMED})" if self.num_problems > MAX_NAMED else ""
        return f"Dataset has a syntax error: {self.num_problems} problems{more}: {named}"
