"""JSON Lines, looked at piece by piece: whether every line is a JSON object, and how many there are.

Source: https://jsonlines.org
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

import orjson

from embergate.aip.errors import InvalidArgumentError
from embergate.errors import FailedPreconditionError

# A line of a batch is one request, and no request is larger.
MAX_LINE_BYTES: Final = 16 << 20
# About what a token has, in the languages that most text is in.
BYTES_A_TOKEN: Final = 4
POSITION: Final = re.compile(r": line (\d+) column (\d+) \(char \d+\)$")
BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
# What batch jobs write vectors as; no file of rows is called so.
VECTOR_ENDINGS: Final = (".parquet", ".npy")


class RowError(InvalidArgumentError):
    """A line that is no row: the message says which, and where in it."""


class Lines:
    """Cuts a file's bytes, as they come, into lines; of what is longer than any row it keeps no more than that."""

    def __init__(self) -> None:
        """Have seen nothing yet."""
        self._rest = b""

    def take(self, chunk: bytes) -> list[bytes]:
        """Return the lines that end in the next bytes; and what begins in them, once it is too long to be one."""
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        if len(self._rest) > MAX_LINE_BYTES:
            lines, self._rest = [*lines, self._rest], b""
        return lines

    def finish(self) -> list[bytes]:
        """Return what comes behind the last line break."""
        lines, self._rest = [self._rest] if self._rest else [], b""
        return lines


class RowCounter:
    """Takes a file's bytes as they come."""

    def __init__(self, filename: str) -> None:
        """Have seen nothing yet."""
        self.num_rows = 0
        self.num_bytes = 0
        self._filename = filename
        self._lines = Lines()
        self._line = 0

    @property
    def num_tokens(self) -> int:
        """About how many tokens there are."""
        return self.num_bytes // BYTES_A_TOKEN

    def take(self, chunk: bytes) -> None:
        """Look at the next bytes. Raises: RowError naming the first line that is no JSON object, or is too long."""
        self.num_bytes += len(chunk)
        for line in self._lines.take(chunk):
            self._take_line(line)

    def finish(self) -> None:
        """Look at what comes behind the last line break. Raises: RowError."""
        for line in self._lines.finish():
            self._take_line(line)

    def _take_line(self, line: bytes) -> None:
        self._line += 1
        if self._line == 1:
            line = line.removeprefix(BYTE_ORDER_MARK)
        if not line.strip():
            return
        if len(line) > MAX_LINE_BYTES:
            raise self._error(f"is longer than {MAX_LINE_BYTES} bytes")
        try:
            row: Any = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise self._error(_explained(error)) from None
        if not isinstance(row, dict):
            raise self._error("is not a JSON object")
        self.num_rows += 1

    def _error(self, what: str) -> RowError:
        return RowError(f"Dataset has a syntax error: {self._filename} line {self._line} {what}", field="file")


def require_json_lines(dataset_id: str, filenames: Iterable[str], *, param: str) -> None:
    """Raise FailedPreconditionError for a dataset whose rows are vectors."""
    for name in filenames:
        if name.endswith(VECTOR_ENDINGS):
            raise FailedPreconditionError(
                f"the dataset {dataset_id} has {name}, whose rows are vectors; only JSON Lines can be read here",
                param=param,
            )


def _explained(error: orjson.JSONDecodeError) -> str:
    """Return what is wrong and in which column; the parser counts lines itself, of which there is one."""
    message = str(error)
    match = POSITION.search(message)
    if match is None:
        return f"is not JSON: {message}"
    return f"column {match.group(2)}: is not JSON: {message[: match.start()]}"
