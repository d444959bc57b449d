"""Writers: what a run's vectors look like on disk, as bytes that can be appended chunk by chunk.

A writer holds no state and no open file: the same rows give the same bytes, however often a run was broken off.
"""

from __future__ import annotations

import enum
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import orjson
from arro3.core import Array, DataType, Field, RecordBatchReader
from arro3.io import read_ipc_stream, write_ipc_stream
from numpy.typing import NDArray

from embergate.cli.embedding.resume import flush
from embergate.errors import InvalidRequestError
from embergate.vector_files import npy_header, npy_rows, table_rows, table_schema, write_table

# The end of an Arrow IPC stream. Source: https://arrow.apache.org/docs/format/Columnar.html#ipc-streaming-format
ARROW_END: Final = b"\xff\xff\xff\xff\x00\x00\x00\x00"


class OutputFormat(enum.StrEnum):
    """What the vectors are written as."""

    NPY = "npy"
    PARQUET = "parquet"
    JSONL = "jsonl"

    @classmethod
    def from_path(cls, path: Path) -> OutputFormat:
        """Choose by the file's ending. Raises: InvalidRequestError naming those there are."""
        try:
            return cls(path.suffix.lower().removeprefix("."))
        except ValueError:
            raise InvalidRequestError(
                f"--output {path}: its ending must be .npy, .parquet or .jsonl", param="output"
            ) from None

    @property
    def names_rows(self) -> bool:
        """Tell whether each vector carries its row's number, so that rows may be missing without shifting others."""
        return self is not OutputFormat.NPY


@dataclass(frozen=True, slots=True)
class EmbeddedRows:
    """Rows that are done; `numbers` are their places in the input, from 0. Shapes: vectors (n, dimensions)."""

    numbers: Sequence[int]
    ids: Sequence[str | None]
    vectors: NDArray[np.float32]


class Writer(Protocol):
    """One output format."""

    def beginning(self) -> bytes:
        """Return what the data begins with, before the first row."""
        ...

    def chunk(self, rows: EmbeddedRows) -> bytes:
        """Return the bytes that these rows add."""
        ...

    def finish(self, data: Path, num_rows: int) -> Path:
        """Make the finished file of the beginning and all chunks, and return its path, in the folder of `data`.

        May be run again after it was cut short.
        """
        ...


class NpyWriter:
    """NumPy's own file: float32, (rows, dimensions), byte for byte what `numpy.save` writes."""

    def __init__(self, dimensions: int) -> None:
        """Write vectors of this length."""
        self._dimensions = dimensions

    def beginning(self) -> bytes:
        """Return the header of an empty array; numpy pads it, so that the final one has the same length."""
        return npy_header(0, self._dimensions)

    def chunk(self, rows: EmbeddedRows) -> bytes:
        """Return the vectors, little-endian."""
        return npy_rows(rows.vectors)

    def finish(self, data: Path, num_rows: int) -> Path:
        """Put the final shape into the header."""
        with data.open("r+b") as stream:
            stream.write(npy_header(num_rows, self._dimensions))
            flush(stream)
        return data


class JsonlWriter:
    """One JSON object a line, `{"row": 0, "id": "a", "embedding": [...]}`; floats keep every bit of float32."""

    def beginning(self) -> bytes:
        """Return nothing: JSONL has no header."""
        return b""

    def chunk(self, rows: EmbeddedRows) -> bytes:
        """Return one line a row."""
        options = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE
        contiguous = np.ascontiguousarray(rows.vectors, dtype=np.float32)
        return b"".join(
            orjson.dumps({"row": number, "id": row_id, "embedding": vector}, option=options)
            for number, row_id, vector in zip(rows.numbers, rows.ids, contiguous, strict=True)
        )

    def finish(self, data: Path, num_rows: int) -> Path:  # noqa: ARG002 - the header of other formats
        """Return the data as it is."""
        return data


class ParquetWriter:
    """Columns `row` int64, `id` string (nullable), `vector` fixed-size list of float32.

    Parquet cannot be appended to, so chunks are kept as an Arrow IPC stream, which can: a schema message, then one
    message a batch. The end streams it into Parquet, one row group in memory at a time.
    """

    def __init__(self, dimensions: int) -> None:
        """Write vectors of this length."""
        self._dimensions = dimensions
        row, row_id = Field("row", DataType.int64(), nullable=False), Field("id", DataType.string(), nullable=True)
        self._schema = table_schema([row, row_id], dimensions)

    def beginning(self) -> bytes:
        """Return the schema message."""
        return self._stream(RecordBatchReader.from_batches(self._schema, []))

    def chunk(self, rows: EmbeddedRows) -> bytes:
        """Return the messages of one record batch."""
        columns = [
            Array.from_numpy(np.asarray(rows.numbers, np.int64)),
            Array(list(rows.ids), type=DataType.string()),
        ]
        return self._stream(table_rows(self._schema, columns, rows.vectors)).removeprefix(self.beginning())

    def finish(self, data: Path, num_rows: int) -> Path:  # noqa: ARG002 - the header of other formats
        """Rewrite the stream as Parquet beside it."""
        finished = data.with_suffix(".parquet")
        with finished.open("wb") as stream:
            write_table(read_ipc_stream(str(data)), stream, self._dimensions)
            flush(stream)
        return finished

    def _stream(self, batches: Any) -> bytes:
        """Return an Arrow stream without its end, so that more can follow."""
        stream = io.BytesIO()
        write_ipc_stream(batches, stream)
        return stream.getvalue().removesuffix(ARROW_END)


def open_writer(output_format: OutputFormat, dimensions: int) -> Writer:
    """Return the writer of a format."""
    writers: dict[OutputFormat, Writer] = {
        OutputFormat.NPY: NpyWriter(dimensions),
        OutputFormat.PARQUET: ParquetWriter(dimensions),
        OutputFormat.JSONL: JsonlWriter(),
    }
    return writers[output_format]
