"""`RowCounter`: every row is counted however a file is cut into pieces, and what is no row is named by its place."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embergate.gateway.datasets import jsonl
from embergate.gateway.datasets.jsonl import RowCounter, RowError

ROWS = st.lists(st.dictionaries(st.text(max_size=5), st.text(max_size=20), max_size=3), max_size=20)


def count(content: bytes, size: int = 1 << 20) -> RowCounter:
    counter = RowCounter("rows.jsonl")
    for start in range(0, len(content), size):
        counter.take(content[start : start + size])
    counter.finish()
    return counter


@given(ROWS, st.integers(1, 50), st.sampled_from([b"\n", b"\r\n", b"\n\n", b"\n \n"]), st.booleans())
def test_rows_are_counted_however_the_file_is_cut(
    rows: list[dict[str, str]], size: int, ending: bytes, ends_with_one: bool
) -> None:
    content = ending.join(json.dumps(row, ensure_ascii=False).encode("utf-8", "surrogatepass") for row in rows)
    content = content.decode("utf-8", "ignore").encode() + (ending if ends_with_one else b"")
    counter = count(content, size)
    assert (counter.num_rows, counter.num_bytes) == (len(rows), len(content))


def test_byte_order_mark_is_no_part_of_the_first_row() -> None:
    assert count(b'\xef\xbb\xbf{"a": 1}\n{"a": 2}').num_rows == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": 1}\n{"a": }\n', "rows.jsonl line 2 column 7: is not JSON"),
        (b'{"a": 1}\n\n\n{"a": 1', "rows.jsonl line 4 column"),
        (b'{"a": 1}{"b": 2}', "rows.jsonl line 1 column 9: is not JSON"),
        (b"[1]\n", "rows.jsonl line 1 is not a JSON object"),
        (b'{"a": 1}\n7', "rows.jsonl line 2 is not a JSON object"),
        (b'{"a": "\xff"}', "rows.jsonl line 1 column"),
        (b'{"a": NaN}', "rows.jsonl line 1 column"),
        (b"PK\x03\x04 an archive", "rows.jsonl line 1 column 1"),
    ],
)
@pytest.mark.parametrize("size", [1, 3, 1 << 20])
def test_what_is_no_row_is_named_by_its_place(content: bytes, message: str, size: int) -> None:
    with pytest.raises(RowError) as caught:
        count(content, size)
    assert caught.value.message.startswith("Dataset has a syntax error: ")
    assert message in caught.value.message


def test_line_without_end_is_refused_before_it_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsonl, "MAX_LINE_BYTES", 100)
    counter = RowCounter("rows.jsonl")
    counter.take(b'{"a": 1}\n')
    for _ in range(10):
        counter.take(b"x" * 10)
    with pytest.raises(RowError, match="line 2 is longer than 100 bytes"):
        counter.take(b"x")
