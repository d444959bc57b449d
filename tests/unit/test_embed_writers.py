"""Writing vectors: chunk by chunk, and every float as it was."""

from __future__ import annotations

import io
import itertools
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from arro3.io import read_parquet
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from embergate.cli.embedding.writers import EmbeddedRows, OutputFormat, Writer, open_writer
from embergate.errors import InvalidRequestError

FEW = settings(max_examples=40)
DIMENSIONS = 5
CUTS = st.lists(st.integers(0, 20), max_size=4)


def vectors_of(num_rows: int, dimensions: int = DIMENSIONS) -> NDArray[np.float32]:
    return np.random.default_rng(num_rows).normal(size=(num_rows, dimensions)).astype(np.float32)


def write(
    folder: Path, writer: Writer, vectors: NDArray[np.float32], ids: Sequence[str | None], cuts: list[int]
) -> Path:
    data = folder / "data"
    edges = sorted({0, len(vectors), *(cut for cut in cuts if cut < len(vectors))})
    with data.open("wb") as stream:
        stream.write(writer.beginning())
        for start, stop in itertools.pairwise(edges):
            stream.write(writer.chunk(EmbeddedRows(range(start, stop), ids[start:stop], vectors[start:stop])))
    finished = writer.finish(data, len(vectors))
    once = finished.read_bytes()
    assert writer.finish(data, len(vectors)).read_bytes() == once  # an end that was cut short is run again
    return finished


@pytest.mark.parametrize("name", ["a.npy", "a.NPY", "b.parquet", "c.jsonl"])
def test_the_ending_says_the_format(name: str) -> None:
    assert OutputFormat.from_path(Path(name)) == name.lower().split(".")[1]


@pytest.mark.parametrize("name", ["a", "a.csv", "a.npz", "npy"])
def test_an_unknown_ending_is_refused_with_those_there_are(name: str) -> None:
    with pytest.raises(InvalidRequestError, match=r"must be \.npy, \.parquet or \.jsonl"):
        OutputFormat.from_path(Path(name))


@FEW
@given(st.integers(0, 20), CUTS)
def test_npy_is_byte_for_byte_what_numpy_saves(num_rows: int, cuts: list[int]) -> None:
    vectors = vectors_of(num_rows)
    saved = io.BytesIO()
    np.save(saved, vectors)
    with tempfile.TemporaryDirectory() as folder:
        finished = write(Path(folder), open_writer(OutputFormat.NPY, DIMENSIONS), vectors, [None] * num_rows, cuts)
        assert finished.read_bytes() == saved.getvalue()


@pytest.mark.parametrize("dimensions", [1, 384, 65_536])
def test_npy_header_keeps_its_length_for_any_number_of_rows(dimensions: int, tmp_path: Path) -> None:
    writer = open_writer(OutputFormat.NPY, dimensions)
    data = tmp_path / "data"
    data.write_bytes(writer.beginning())
    for num_rows in (0, 7, 10**12):
        assert len(writer.finish(data, num_rows).read_bytes()) == len(writer.beginning())


@FEW
@given(st.lists(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=3, max_size=3)), CUTS)
def test_jsonl_keeps_every_bit(values: list[list[float]], cuts: list[int]) -> None:
    vectors = np.array(values, np.float32).reshape(-1, 3)
    ids = [None if index % 2 else f"é{index}" for index in range(len(vectors))]
    with tempfile.TemporaryDirectory() as folder:
        text = write(Path(folder), open_writer(OutputFormat.JSONL, 3), vectors, ids, cuts).read_text()
    records = [json.loads(line) for line in text.splitlines()]
    assert [list(record) for record in records] == [["row", "id", "embedding"]] * len(vectors)
    assert [(record["row"], record["id"]) for record in records] == list(enumerate(ids))
    read = np.array([record["embedding"] for record in records], np.float32).reshape(-1, 3)
    assert read.tobytes() == vectors.tobytes()


@FEW
@given(st.integers(0, 20), CUTS)
def test_parquet_keeps_every_row(num_rows: int, cuts: list[int]) -> None:
    vectors = vectors_of(num_rows)
    ids = [None if index % 3 == 0 else f"é{index}" for index in range(num_rows)]
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder), open_writer(OutputFormat.PARQUET, DIMENSIONS), vectors, ids, cuts)
        table = read_parquet(str(path)).read_all()
    assert table.column("row").to_pylist() == list(range(num_rows))
    assert table.column("id").to_pylist() == ids
    read = np.array(table.column("vector").to_pylist(), np.float32).reshape(-1, DIMENSIONS)
    assert read.tobytes() == vectors.tobytes()


def test_parquet_columns_have_the_types_promised(tmp_path: Path) -> None:
    path = write(tmp_path, open_writer(OutputFormat.PARQUET, DIMENSIONS), vectors_of(3), [None] * 3, [])
    schema = read_parquet(str(path)).schema
    assert schema.names == ["row", "id", "vector"]
    assert [schema.field(name).nullable for name in schema.names] == [False, True, False]
    assert schema.field("vector").type.list_size == DIMENSIONS


def test_parquet_of_several_row_groups_is_whole(tmp_path: Path) -> None:
    num_rows, dimensions = 5_000, 4_096  # 82 MB of vectors, 2,048 rows a group
    writer = open_writer(OutputFormat.PARQUET, dimensions)
    data = tmp_path / "data"
    with data.open("wb") as stream:
        stream.write(writer.beginning())
        for start in range(0, num_rows, 1_000):
            vectors = np.repeat(np.arange(start, start + 1_000, dtype=np.float32)[:, None], dimensions, axis=1)
            stream.write(writer.chunk(EmbeddedRows(range(start, start + 1_000), [None] * 1_000, vectors)))
    num_read = 0
    for batch in read_parquet(str(writer.finish(data, num_rows))):
        numbers = batch.column("row").to_numpy()
        assert (numbers == np.arange(num_read, num_read + len(numbers))).all()
        num_read += len(numbers)
    assert num_read == num_rows


def test_only_npy_cannot_do_without_a_row() -> None:
    assert [output_format for output_format in OutputFormat if not output_format.names_rows] == [OutputFormat.NPY]
