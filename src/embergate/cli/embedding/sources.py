"""`Source`: the input of a run: where its bytes come from, what they are called in a message, and their identity."""

from __future__ import annotations

import enum
import hashlib
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

from embergate.errors import InvalidRequestError

MAX_LINE_BYTES: Final = 64 << 20
IDENTITY_BYTES: Final = 1 << 20
UTF8_BOM: Final = b"\xef\xbb\xbf"

# What a file of texts cannot begin with, what it is instead, and the mend.
FOREIGN_BEGINNINGS: Final = {
    b"\x1f\x8b": "is compressed with gzip; decompress it first: gunzip --keep FILE",
    b"\x28\xb5\x2f\xfd": "is compressed with zstd; decompress it first: zstd --decompress FILE",
    b"PK\x03\x04": "is a zip archive (or a spreadsheet); unpack it, or export it as CSV, first",
    b"PAR1": "is a Parquet file; let its name end in .parquet",
    b"\xff\xfe": "is UTF-16; convert it first: iconv -f UTF-16 -t UTF-8 FILE",
    b"\xfe\xff": "is UTF-16; convert it first: iconv -f UTF-16 -t UTF-8 FILE",
}


class InputFormat(enum.StrEnum):
    """How a file holds its texts."""

    JSONL = "jsonl"
    CSV = "csv"
    TSV = "tsv"
    PARQUET = "parquet"
    LINES = "lines"


FORMATS_BY_ENDING: Final = {
    ".jsonl": InputFormat.JSONL,
    ".ndjson": InputFormat.JSONL,
    ".csv": InputFormat.CSV,
    ".tsv": InputFormat.TSV,
    ".parquet": InputFormat.PARQUET,
}


@dataclass(frozen=True, slots=True)
class Source:
    """An input as the user named it; `path` is None for standard input.

    A stream (standard input, a pipe) can be read only once: it is not checked ahead, and its content is its identity.
    """

    name: str
    path: Path | None
    format: InputFormat
    is_stream: bool

    @classmethod
    def from_argument(cls, argument: str) -> Source:
        """Find what `argument` names: `-` is standard input, anything else a file whose ending says its format.

        Raises: InvalidRequestError if there is no such file.
        """
        if argument == "-":
            return cls("<stdin>", None, InputFormat.LINES, is_stream=True)
        path = Path(argument)
        if not path.exists() or path.is_dir():
            what = "is a folder, not a file" if path.is_dir() else "does not exist"
            raise InvalidRequestError(f"INPUT {argument} {what}", param="input")
        input_format = FORMATS_BY_ENDING.get(path.suffix.lower(), InputFormat.LINES)
        return cls(argument, path, input_format, is_stream=not path.is_file())

    def open(self) -> BinaryIO:
        """Open the bytes for reading from their beginning."""
        return sys.stdin.buffer if self.path is None else self.path.open("rb")

    def error(self, line: int, message: str) -> InvalidRequestError:
        """Build the error for one line (in Parquet: one record), counted from 1."""
        return InvalidRequestError(f"{self.name}:{line}: {message}", param=f"{self.name}:{line}")

    def identity(self) -> dict[str, Any]:
        """Return what a later run compares to know that it reads the same file."""
        if self.path is None or self.is_stream:
            return {"stream": True}
        status = self.path.stat()
        with self.path.open("rb") as stream:
            head = stream.read(IDENTITY_BYTES)
            stream.seek(max(0, status.st_size - IDENTITY_BYTES), os.SEEK_SET)
            tail = stream.read(IDENTITY_BYTES)
        return {
            "size_bytes": status.st_size,
            "modified_at_ns": status.st_mtime_ns,
            "first_mib_sha256": hashlib.sha256(head).hexdigest(),
            "last_mib_sha256": hashlib.sha256(tail).hexdigest(),
        }


def read_lines(source: Source, stream: BinaryIO) -> Iterator[tuple[int, str]]:
    r"""Yield each line with its number, its ending kept. Only "\n" ends a line; a byte order mark is dropped.

    Raises: InvalidRequestError for a line above `MAX_LINE_BYTES`, bytes that are not UTF-8, files that are not text.
    """
    number = 0
    while data := stream.readline(MAX_LINE_BYTES + 1):
        number += 1
        if len(data) > MAX_LINE_BYTES:
            raise source.error(
                number, f"the line is longer than {MAX_LINE_BYTES >> 20} MiB; split it, or check that it is text"
            )
        if number == 1:
            data = data.removeprefix(UTF8_BOM)
            refuse_foreign(source, data)
        try:
            yield number, data.decode()
        except UnicodeDecodeError as error:
            raise source.error(
                number,
                f"byte {error.start + 1} of the line, 0x{data[error.start]:02x}, is not valid UTF-8; convert the file "
                "first, for example from Windows' encoding: iconv -f WINDOWS-1252 -t UTF-8 FILE",
            ) from None


def refuse_foreign(source: Source, data: bytes) -> None:
    """Raise InvalidRequestError if `data`, the beginning of a file of lines, is that of another kind of file."""
    for beginning, mend in FOREIGN_BEGINNINGS.items():
        if data.startswith(beginning):
            raise source.error(1, f"this {mend}")
