"""Vectors in files of their own kind: npy matrices, and Parquet tables of which the last column is the vector.

Nothing here needs all vectors at once. Knows nothing of where they are from.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import IO, Any, Final

import numpy as np
from arro3.core import Array, DataType, Field, RecordBatch, Schema, fixed_size_list_array
from arro3.io import write_parquet
from numpy.typing import NDArray

VECTOR: Final = "vector"
ROW_GROUP_BYTES: Final = 32 << 20
MAX_ROW_GROUP_ROWS: Final = 65_536


def npy_header(num_rows: int, dimensions: int) -> bytes:
    """Return what stands before the vectors in NumPy's own file; it has the same length for every number of rows."""
    header = io.BytesIO()
    shape = (num_rows, dimensions)
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return header.getvalue()


def npy_rows(vectors: NDArray[np.float32]) -> bytes:
    """Return vectors as they stand behind the header, little-endian. Shapes: vectors (n, dimensions)."""
    return np.ascontiguousarray(vectors, dtype="<f4").tobytes()


def table_schema(columns: Sequence[Field], dimensions: int) -> Schema:
    """Return these columns and the vector's, a fixed-size list of float32 without nulls."""
    item = Field("item", DataType.float32(), nullable=False)
    return Schema([*columns, Field(VECTOR, DataType.list(item, dimensions), nullable=False)])


def table_rows(schema: Schema, columns: Sequence[Array], vectors: NDArray[np.float32]) -> RecordBatch:
    """Return rows of a table. Shapes: columns (n,), vectors (n, dimensions)."""
    flat = Array.from_numpy(np.ascontiguousarray(vectors, dtype=np.float32).reshape(-1))  # (n * dimensions,)
    column = fixed_size_list_array(flat, vectors.shape[1], type=schema.field(VECTOR).type)
    return RecordBatch.from_arrays([*columns, column], schema=schema)


def write_table(batches: Any, stream: IO[bytes], dimensions: int) -> None:
    """Write an Arrow stream as Parquet, with about one row group in memory at a time."""
    write_parquet(
        batches,
        stream,
        max_row_group_size=max(1, min(MAX_ROW_GROUP_ROWS, ROW_GROUP_BYTES // (4 * max(1, dimensions)))),
        dictionary_enabled=False,  # floats do not repeat
        compression="snappy",
    )
