"""Streaming readers: a file of texts becomes `Row`s, one at a time, however large the file is.

Blank lines: in JSONL, and in CSV with several columns, they are no row; in plain lines, and in CSV with one column, a
blank line is a row whose text is empty. A null text counts as an empty one. Empty texts are for the caller to refuse or
skip: a reader drops no row.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

import orjson
from arro3.io import read_parquet

from embergate.cli.embedding.sources import MAX_LINE_BYTES, InputFormat, Source, read_lines

DEFAULT_TEXT_FIELD: Final = "text"
DEFAULT_ID_FIELD: Final = "id"
JSON_BLANKS: Final = " \t\r\n"
PARQUET_BATCH_ROWS: Final = 256
PARQUET_MAGIC: Final = b"PAR1"
MAX_FIELDS_SHOWN: Final = 12


@dataclass(frozen=True, slots=True)
class Row:
    """One text of the input; `line` counts from 1 (in Parquet: records), where the row begins."""

    line: int
    id: str | None
    text: str


@dataclass(frozen=True, slots=True)
class Fields:
    """Which fields to read.

    `id` None means: the field `id` wherever there is one; an empty name means: no ids.
    """

    text: str = DEFAULT_TEXT_FIELD
    id: str | None = None

    def id_name(self, present: Mapping[str, Any] | Sequence[str]) -> str | None:
        """Return the name of the id field to read from a row that has the fields `present`."""
        if self.id is None:
            return DEFAULT_ID_FIELD if DEFAULT_ID_FIELD in present else None
        return self.id or None


def read_rows(source: Source, fields: Fields) -> Iterator[Row]:
    """Yield every row of `source`.

    Raises: InvalidRequestError naming the file, the line and the mend, for the first row that cannot be read.
    """
    with source.open() as stream:
        if source.format is InputFormat.PARQUET:
            yield from _read_parquet(source, stream, fields)
        elif source.format is InputFormat.JSONL:
            yield from _read_jsonl(source, stream, fields)
        elif source.format is InputFormat.LINES:
            for number, line in read_lines(source, stream):
                yield Row(number, None, _without_ending(line))
        else:
            yield from _read_csv(source, stream, fields)


def _without_ending(line: str) -> str:
    return line.removesuffix("\n").removesuffix("\r") if line.endswith("\n") else line


def _read_jsonl(source: Source, stream: BinaryIO, fields: Fields) -> Iterator[Row]:
    for number, line in read_lines(source, stream):
        if not line.strip(JSON_BLANKS):
            continue
        try:
            record = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise source.error(number, f"not valid JSON at column {error.colno}: {error.msg}") from None
        if not isinstance(record, dict):
            raise source.error(number, f"the line is {_kind(record)}, not a JSON object with the field `{fields.text}`")
        id_name = fields.id_name(record)
        _require(source, number, record, [fields.text] if id_name is None else [fields.text, id_name])
        text = _checked_text(source, number, fields.text, record[fields.text])
        yield Row(number, _checked_id(source, number, id_name, record), text)


def _read_csv(source: Source, stream: BinaryIO, fields: Fields) -> Iterator[Row]:
    records = _read_csv_records(source, stream)
    number, header = next(records, (1, []))
    if not header:
        raise source.error(1, "there is no header; the first line must name the columns")
    id_name = fields.id_name(header)
    named = [fields.text] if id_name is None else [fields.text, id_name]
    _require(source, number, header, named)
    for name in named:
        if header.count(name) > 1:
            raise source.error(number, f"the header names the column `{name}` {header.count(name)} times; rename one")
    text_column = header.index(fields.text)
    id_column = None if id_name is None else header.index(id_name)
    for number, record in records:
        if not record:
            if len(header) > 1:
                continue
            record = [""]
        if len(record) != len(header):
            raise source.error(
                number,
                f"the row has {len(record)} fields and the header {len(header)}; put a field that holds the delimiter "
                'or a line break in double quotes, and double the quotes within it ("")',
            )
        yield Row(number, None if id_column is None else record[id_column], record[text_column])


def _read_csv_records(source: Source, stream: BinaryIO) -> Iterator[tuple[int, list[str]]]:
    """Yield each record with the number of the line where it begins: a quoted field may hold line breaks."""
    csv.field_size_limit(MAX_LINE_BYTES)  # NOTE: global to the process; bounds a quote that is never closed
    delimiter = "\t" if source.format is InputFormat.TSV else ","
    reader = csv.reader((line for _, line in read_lines(source, stream)), delimiter=delimiter, strict=True)
    while True:
        number = reader.line_num + 1
        try:
            record = next(reader, None)
        except csv.Error as error:
            raise source.error(
                number,
                f"not valid CSV: {error}; put a field that holds a quote or a line break in double quotes, and double "
                'the quotes within it ("")',
            ) from None
        if record is None:
            return
        yield number, record


def _read_parquet(source: Source, stream: BinaryIO, fields: Fields) -> Iterator[Row]:
    _check_parquet_ends(source, stream)
    number = 0
    for batch in _read_parquet_batches(source):
        names = batch.column_names
        id_name = fields.id_name(names)
        _require(source, number + 1, names, [fields.text] if id_name is None else [fields.text, id_name])
        texts = batch.column(fields.text).to_pylist()
        ids = [None] * len(texts) if id_name is None else batch.column(id_name).to_pylist()
        for text, row_id in zip(texts, ids, strict=True):
            number += 1
            checked_text = _checked_text(source, number, fields.text, text)
            yield Row(number, _checked_id(source, number, id_name, {id_name: row_id}), checked_text)


def _check_parquet_ends(source: Source, stream: BinaryIO) -> None:
    head = stream.read(len(PARQUET_MAGIC))
    size = stream.seek(0, 2)
    stream.seek(max(0, size - len(PARQUET_MAGIC)))
    if head != PARQUET_MAGIC or stream.read() != PARQUET_MAGIC or size < 3 * len(PARQUET_MAGIC):
        raise source.error(1, "not a whole Parquet file (it must begin and end with PAR1); was its copy cut short?")


def _read_parquet_batches(source: Source) -> Iterator[Any]:
    try:
        yield from read_parquet(str(source.path), batch_size=PARQUET_BATCH_ROWS)
    except BaseException as error:
        # NOTE: arro3 reports a broken file as a plain Exception or as pyo3's PanicException, which is no Exception.
        if type(error) is not Exception and type(error).__name__ != "PanicException":
            raise
        raise source.error(1, f"the Parquet file is broken: {error}") from None


def _require(source: Source, number: int, present: Mapping[str, Any] | Sequence[str], names: Sequence[str]) -> None:
    """Raise InvalidRequestError unless a row has the fields named."""
    for name, option in zip(names, ("--text-field", "--id-field"), strict=False):
        if name not in present:
            shown = ", ".join(list(present)[:MAX_FIELDS_SHOWN]) or "none"
            raise source.error(number, f"there is no field `{name}` (fields: {shown}); name it with {option}")


def _checked_text(source: Source, number: int, field: str, value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise source.error(
            number, f"the field `{field}` is {_kind(value)}; it must be a string (--text-field names another field)"
        )
    return value


def _checked_id(source: Source, number: int, name: str | None, record: Mapping[str | None, Any]) -> str | None:
    value = None if name is None else record[name]
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise source.error(
        number,
        f"the id field `{name}` is {_kind(value)}; it must be a string or a 64-bit integer "
        '(--id-field names another field, --id-field "" reads none)',
    )


def _kind(value: object) -> str:
    """Name a value's type as JSON does."""
    names = {
        bool: "a boolean",
        int: "a number",
        float: "a number",
        str: "a string",
        list: "an array",
        dict: "an object",
    }
    return "null" if value is None else names.get(type(value), f"of type {type(value).__name__}")
