"""Reading files of texts: every format gives every row, and a bad line is named."""

from __future__ import annotations

import csv
import io
import json
import tempfile
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from arro3.core import Array, DataType, RecordBatch
from arro3.io import write_parquet
from hypothesis import given, settings
from hypothesis import strategies as st

from embergate.cli.embedding.chunks import MAX_CHUNK_CHARACTERS, cut_chunks, number_rows
from embergate.cli.embedding.readers import Fields, Row, read_rows
from embergate.cli.embedding.sources import MAX_LINE_BYTES, InputFormat, Source
from embergate.errors import InvalidRequestError

FEW = settings(max_examples=40)
TEXTS = st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=20), max_size=30)


def rows_of(path: Path, data: bytes | str, **fields: str) -> list[Row]:
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return list(read_rows(Source.from_argument(str(path)), Fields(**fields)))


def texts_of(path: Path, data: bytes | str, **fields: str) -> list[str]:
    return [row.text for row in rows_of(path, data, **fields)]


def error_of(path: Path, data: bytes | str, **fields: str) -> str:
    with pytest.raises(InvalidRequestError) as caught:
        rows_of(path, data, **fields)
    return caught.value.message.removeprefix(str(path.parent) + "/")


def write_texts(path: Path, texts: list[str | None], ids: Array | None = None) -> None:
    columns = {"text": Array(texts, type=DataType.string())}
    if ids is not None:
        columns["id"] = ids
    write_parquet(RecordBatch.from_pydict(columns), str(path))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.jsonl", InputFormat.JSONL),
        ("a.NDJSON", InputFormat.JSONL),
        ("a.csv", InputFormat.CSV),
        ("a.tsv", InputFormat.TSV),
        ("a.parquet", InputFormat.PARQUET),
        ("a.txt", InputFormat.LINES),
        ("a", InputFormat.LINES),
    ],
)
def test_the_ending_says_the_format(tmp_path: Path, name: str, expected: InputFormat) -> None:
    (tmp_path / name).touch()
    assert Source.from_argument(str(tmp_path / name)).format is expected


def test_a_dash_is_standard_input() -> None:
    source = Source.from_argument("-")
    assert (source.path, source.format, source.is_stream) == (None, InputFormat.LINES, True)


@pytest.mark.parametrize("name", ["missing.jsonl", "."])
def test_an_input_that_is_no_file_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidRequestError, match="INPUT"):
        Source.from_argument(str(tmp_path / name))


# --- whatever the text, every format gives it back


@FEW
@given(TEXTS)
def test_jsonl_gives_back_every_text(texts: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        data = "".join(
            json.dumps({"text": text}, ensure_ascii=index % 2 == 0) + "\n" for index, text in enumerate(texts)
        )
        assert texts_of(Path(folder, "a.jsonl"), data) == texts


@FEW
@given(TEXTS, st.sampled_from([".csv", ".tsv"]), st.sampled_from(["\n", "\r\n"]))
def test_csv_gives_back_every_text(texts: list[str], ending: str, terminator: str) -> None:
    written = io.StringIO()
    delimiter = "\t" if ending == ".tsv" else ","
    writer = csv.writer(written, delimiter=delimiter, lineterminator=terminator, quoting=csv.QUOTE_ALL)
    writer.writerows([["id", "text"], *([str(index), text] for index, text in enumerate(texts))])
    with tempfile.TemporaryDirectory() as folder:
        rows = rows_of(Path(folder, "a" + ending), written.getvalue())
    assert [(row.id, row.text) for row in rows] == [(str(index), text) for index, text in enumerate(texts)]


@FEW
@given(TEXTS)
def test_parquet_gives_back_every_text(texts: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.parquet")
        write_texts(path, [*texts, None])
        rows = list(read_rows(Source.from_argument(str(path)), Fields()))
    assert [row.text for row in rows] == [*texts, ""]
    assert [row.line for row in rows] == list(range(1, len(texts) + 2))


@FEW
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n"), max_size=20)))
def test_lines_give_back_every_text(texts: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.txt")
        # A byte order mark at the file's very beginning is no text.
        expected = [text.removeprefix("\ufeff") if index == 0 else text for index, text in enumerate(texts)]
        assert texts_of(path, "".join(text + "\n" for text in texts)) == expected
        assert texts_of(path, "".join(text + "\r\n" for text in texts)) == expected


# --- details of the formats


def test_only_a_line_feed_ends_a_line(tmp_path: Path) -> None:
    assert texts_of(tmp_path / "a.txt", "a\u2028b\x0bc\x85d\re\nf") == ["a\u2028b\x0bc\x85d\re", "f"]


@pytest.mark.parametrize(
    ("name", "data"),
    [("a.txt", "x\n"), ("a.jsonl", '{"text": "x"}\n'), ("a.csv", "text\nx\n"), ("a.tsv", "text\nx\n")],
)
def test_a_byte_order_mark_is_dropped(tmp_path: Path, name: str, data: str) -> None:
    assert texts_of(tmp_path / name, b"\xef\xbb\xbf" + data.encode()) == ["x"]


def test_a_blank_line_of_plain_text_is_a_row_without_text(tmp_path: Path) -> None:
    assert rows_of(tmp_path / "a.txt", "a\n\nb\n") == [Row(1, None, "a"), Row(2, None, ""), Row(3, None, "b")]


def test_a_blank_line_of_jsonl_is_no_row(tmp_path: Path) -> None:
    assert [row.line for row in rows_of(tmp_path / "a.jsonl", '{"text":"a"}\n\n \r\n{"text":"b"}\n\n')] == [1, 4]


def test_a_blank_line_of_csv_is_a_row_only_where_there_is_one_column(tmp_path: Path) -> None:
    assert texts_of(tmp_path / "one.csv", "text\na\n\nb\n") == ["a", "", "b"]
    assert texts_of(tmp_path / "two.csv", "id,text\n1,a\n\n2,b\n") == ["a", "b"]


def test_a_csv_row_is_named_by_the_line_where_it_begins(tmp_path: Path) -> None:
    rows = rows_of(tmp_path / "a.csv", 'text\n"one\ntwo"\nthree\n')
    assert rows == [Row(2, None, "one\ntwo"), Row(4, None, "three")]


def test_fields_have_the_names_asked_for(tmp_path: Path) -> None:
    data = '{"body": "a", "id": 1, "key": "k"}\n'
    assert rows_of(tmp_path / "a.jsonl", data, text="body", id="key") == [Row(1, "k", "a")]
    assert rows_of(tmp_path / "a.jsonl", data, text="body", id="") == [Row(1, None, "a")]
    assert rows_of(tmp_path / "a.csv", "key,body\nk,a\n", text="body", id="key") == [Row(2, "k", "a")]


@pytest.mark.parametrize(("value", "expected"), [('"a"', "a"), ("7", "7"), ("-1", "-1"), ("null", None), ('""', "")])
def test_an_id_is_a_string_or_an_integer(tmp_path: Path, value: str, expected: str | None) -> None:
    assert rows_of(tmp_path / "a.jsonl", f'{{"text": "x", "id": {value}}}\n')[0].id == expected


def test_parquet_ids_are_read_as_strings(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    write_texts(path, ["a", "b"], Array.from_numpy(np.array([5, 6], np.uint16)))
    assert [row.id for row in read_rows(Source.from_argument(str(path)), Fields())] == ["5", "6"]


def test_reading_keeps_little_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "' + "x" * 1000 + '"}\n')
    path.write_bytes(path.read_bytes() * 20_000)  # 20 MB
    tracemalloc.start()
    num_rows = sum(1 for _ in read_rows(Source.from_argument(str(path)), Fields()))
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert num_rows == 20_000
    assert peak_bytes < 1 << 20


# --- errors name the file, the line and the mend


@pytest.mark.parametrize(
    ("name", "data", "expected"),
    [
        ("a.jsonl", '{"text": "a"}\n{"text": "b", x}\n', ["a.jsonl:2: not valid JSON at column 15"]),
        ("a.jsonl", '{"text": "a"}\n["b"]\n', ["a.jsonl:2: the line is an array", "`text`"]),
        ("a.jsonl", '{"body": "a", "n": 1}\n', ["a.jsonl:1: there is no field `text`", "body, n", "--text-field"]),
        ("a.jsonl", '{"text": 3}\n', ["a.jsonl:1: the field `text` is a number", "string"]),
        ("a.jsonl", '{"text": true}\n', ["is a boolean"]),
        ("a.jsonl", '{"text": {}}\n', ["is an object"]),
        ("a.jsonl", '{"text": "\\ud800"}\n', ["a.jsonl:1: not valid JSON at column", "surrogate"]),
        ("a.jsonl", b'{"text": "\xed\xa0\x80"}\n', ["a.jsonl:1: byte 11", "0xed", "iconv"]),
        (
            "a.jsonl",
            '{"text": "a", "id": {"$oid": "1"}}\n',
            ["a.jsonl:1: the id field `id` is an object", "--id-field"],
        ),
        ("a.jsonl", '{"text": "a", "id": 12345678901234567890123}\n', ["64-bit integer"]),
        ("a.jsonl", '{"text": "a"', ["a.jsonl:1: not valid JSON", "unexpected end"]),
        ("a.csv", "", ["a.csv:1: there is no header"]),
        ("a.csv", "id;text\n1;a\n", ["a.csv:1: there is no field `text`", "id;text"]),
        ("a.csv", "text,text\na,b\n", ["a.csv:1: the header names the column `text` 2 times"]),
        ("a.csv", "id,text\n1,a\n2,b,c\n", ["a.csv:3: the row has 3 fields and the header 2", "double quotes"]),
        ("a.csv", 'id,text\n1,"a"b\n', ["a.csv:2: not valid CSV", "double quotes"]),
        ("a.csv", 'text\n"a\nb\n', ["a.csv:2: not valid CSV: unexpected end of data"]),
        ("a.csv", b"text\na\n\xe9t\xe9\n", ["a.csv:3: byte 1 of the line, 0xe9, is not valid UTF-8", "iconv"]),
        ("a.txt", b"\x1f\x8b\x08...", ["a.txt:1: this is compressed with gzip", "gunzip"]),
        ("a.txt", "a\n".encode("utf-16"), ["a.txt:1: this is UTF-16", "iconv"]),
        ("a.txt", b"PAR1....", ["a.txt:1: this is a Parquet file", ".parquet"]),
        ("a.parquet", b"text\na\n", ["a.parquet:1: not a whole Parquet file"]),
        ("a.parquet", b"PAR1" + b"x" * 40, ["a.parquet:1: not a whole Parquet file", "cut short"]),
        ("a.parquet", b"", ["a.parquet:1: not a whole Parquet file"]),
    ],
)
def test_bad_input_is_named(tmp_path: Path, name: str, data: bytes | str, expected: list[str]) -> None:
    message = error_of(tmp_path / name, data)
    assert message.startswith(name + ":")
    assert [part for part in expected if part not in message] == []


def test_an_id_field_asked_for_must_be_there(tmp_path: Path) -> None:
    assert "a.jsonl:1: there is no field `key`" in error_of(tmp_path / "a.jsonl", '{"text": "a"}\n', id="key")
    assert "--id-field" in error_of(tmp_path / "a.csv", "text\na\n", id="key")


def test_a_parquet_column_that_is_no_text_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    write_parquet(RecordBatch.from_pydict({"text": Array.from_numpy(np.arange(3))}), str(path))
    assert "a.parquet:1: the field `text` is a number" in error_of(path, path.read_bytes())


def test_a_parquet_file_with_a_broken_footer_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    write_texts(path, ["a"])
    data = bytearray(path.read_bytes())
    data[-20:-8] = b"\xff" * 12
    assert "a.parquet:1: the Parquet file is broken" in error_of(path, bytes(data))


def test_a_line_without_end_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    with path.open("wb") as stream:
        stream.write(b"a\n")
        stream.truncate(MAX_LINE_BYTES + 3)
    with pytest.raises(InvalidRequestError, match=r"a\.txt:2: the line is longer than 64 MiB"):
        list(read_rows(Source.from_argument(str(path)), Fields()))


# --- numbers and chunks


def test_a_row_without_text_is_refused_with_the_mend(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("a\n\nb\n")
    source = Source.from_argument(str(path))
    with pytest.raises(InvalidRequestError, match=r"a\.txt:2: the text is empty.*--skip-empty"):
        list(number_rows(read_rows(source, Fields()), source, skip_empty=False))
    kept = number_rows(read_rows(source, Fields()), source, skip_empty=True)
    assert [(number, row.text) for number, row in kept] == [(0, "a"), (2, "b")]


@FEW
@given(st.lists(st.integers(1, MAX_CHUNK_CHARACTERS), max_size=20), st.integers(1, 5), st.data())
def test_chunks_are_cut_alike_from_any_chunk_on(lengths: list[int], batch_rows: int, data: st.DataObject) -> None:
    text = "x" * MAX_CHUNK_CHARACTERS
    rows = [(number, Row(number, None, text[:length])) for number, length in enumerate(lengths)]
    numbers = [chunk.numbers for chunk in cut_chunks(rows, batch_rows=batch_rows)]
    assert [number for chunk in numbers for number in chunk] == list(range(len(lengths)))
    assert all(1 <= len(chunk) <= batch_rows for chunk in numbers)
    start = data.draw(st.integers(0, len(numbers)))
    done = sum(len(chunk) for chunk in numbers[:start])
    assert [chunk.numbers for chunk in cut_chunks(rows[done:], batch_rows=batch_rows)] == numbers[start:]
