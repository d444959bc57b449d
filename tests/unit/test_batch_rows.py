"""The rows of a batch job's input: what is wrong with them, and that the chunks are all of those that are to be done."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from embergate.errors import InvalidRequestError, UnavailableError
from embergate.gateway.batch_jobs import rows as batch_rows
from embergate.gateway.batch_jobs.rows import RowChecker, RowProblem, lines_of, read_row
from embergate.gateway.datasets.jsonl import BYTE_ORDER_MARK
from embergate.storage.key_set import KeySet


def accept(body: Mapping[str, Any]) -> int:
    if "bad" in body:
        raise InvalidRequestError("bad is not allowed")
    given = body["input"]
    return len(given) if isinstance(given, list) and not isinstance(given[0], int) else 1


@pytest.fixture
def seen() -> Iterator[KeySet]:
    with KeySet() as keys:
        yield keys


@pytest.fixture
def done() -> Iterator[KeySet]:
    with KeySet() as keys:
        yield keys


def line(custom_id: str, **body: Any) -> bytes:
    return json.dumps({"custom_id": custom_id, "body": {"input": "x", **body}}).encode()


def check(checker: RowChecker, files: Mapping[str, bytes], piece: int) -> list[dict[str, Any]]:
    chunks = []
    for name, content in files.items():
        checker.begin_file(name, f"key-of-{name}")
        for start in range(0, len(content), piece):
            chunks += checker.take(content[start : start + piece])
        chunks += checker.finish_file()
    return chunks


def ids_in(chunks: list[dict[str, Any]], files: Mapping[str, bytes]) -> list[str]:
    """Return the rows that a worker would do, as it reads them."""
    found = []
    for chunk in chunks:
        content = files[chunk["key"].removeprefix("key-of-")][chunk["start"] :][: chunk["length"]]
        content = content.removeprefix(BYTE_ORDER_MARK) if chunk["start"] == 0 else content
        rows = [read_row(one, {}).custom_id for one in lines_of(content)]
        found += [custom_id for number, custom_id in enumerate(rows) if number not in chunk["skipped"]]
    return found


@pytest.mark.parametrize("piece", [1, 7, 100, 10_000])
def test_chunks_are_all_rows_in_their_order(
    seen: KeySet, done: KeySet, monkeypatch: pytest.MonkeyPatch, piece: int
) -> None:
    monkeypatch.setattr(batch_rows, "CHUNK_ROWS", 3)
    names = [f"row-{number}" for number in range(20)]
    first = BYTE_ORDER_MARK + b"\n".join(line(name) + b"\r" for name in names[:11])  # no line break at the end
    second = b"\n\n  \n" + b"".join(line(name) + b"\n\n" for name in names[11:])
    files = {"a": first, "b": second}
    checker = RowChecker(accept, {}, seen=seen, done=done)
    chunks = check(checker, files, piece)
    assert ids_in(chunks, files) == names
    assert (checker.num_requests, checker.num_problems, len(chunks)) == (20, 0, 4 + 3)


def test_rows_that_are_done_are_left_out_and_so_are_chunks_of_nothing_else(
    seen: KeySet, done: KeySet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_rows, "CHUNK_ROWS", 2)
    done.add_all(["a", "b", "d"])
    files = {"rows": b"\n".join(line(name) for name in "abcdef")}
    checker = RowChecker(accept, {}, seen=seen, done=done)
    chunks = check(checker, files, 1000)
    assert ids_in(chunks, files) == ["c", "e", "f"]
    assert (checker.num_requests, len(chunks)) == (3, 2)


def test_chunk_ends_with_the_row_that_brings_it_to_its_number_of_inputs(
    seen: KeySet, done: KeySet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_rows, "CHUNK_INPUTS", 4)
    inputs: list[Any] = ["x", ["x"] * 3, [5, 6, 7, 8, 9], ["x"] * 9, [[5], [6]], "x"]
    files = {"a": b"\n".join(line(str(number), input=given) for number, given in enumerate(inputs))}
    chunks = check(RowChecker(accept, {}, seen=seen, done=done), files, 10)
    assert [ids_in([chunk], files) for chunk in chunks] == [["0", "1"], ["2", "3"], ["4", "5"]]


def test_problems_are_counted_and_named_by_file_and_line(seen: KeySet, done: KeySet) -> None:
    checker = RowChecker(accept, {}, seen=seen, done=done)
    check(checker, {"a": line("x") + b"\n{\n[]", "b": b"\n" + line("x") + b"\n" + line("y", bad=1)}, 5)
    assert checker.num_problems == 4
    heads = [problem.message.split(" is ")[0] for problem in checker.problems]
    assert heads[:2] == ["a line 2", "a line 3"]
    assert [problem.message for problem in checker.problems[2:]] == [
        "b line 2 custom_id 'x' was there before",
        "b line 3 bad is not allowed",
    ]
    assert checker.explain().startswith("Dataset has a syntax error: 4 problems: a line 2")


WRONG: dict[str, tuple[Any, str]] = {
    "no id": ({"body": {}}, "custom_id must be"),
    "a number for an id": ({"custom_id": 1, "body": {}}, "custom_id must be"),
    "an empty id": ({"custom_id": "", "body": {}}, "custom_id must be"),
    "a long id": ({"custom_id": "x" * 513, "body": {}}, "custom_id must be"),
    "no body": ({"custom_id": "a"}, "body must be"),
    "a list for a body": ({"custom_id": "a", "body": []}, "body must be"),
    "another field": ({"custom_id": "a", "body": {}, "input": ""}, 'unknown field "input"'),
    "a string for a row": ("a", "is not a JSON object"),
}


@pytest.mark.parametrize("name", WRONG)
def test_row_that_is_none_is_refused(name: str) -> None:
    row, message = WRONG[name]
    with pytest.raises(RowProblem, match=message):
        read_row(json.dumps(row).encode(), {})


def test_what_all_bodies_are_given_does_not_overrule_theirs() -> None:
    row = read_row(line("a", dimensions=3), {"dimensions": 5, "normalize": True})
    assert row.body == {"input": "x", "dimensions": 3, "normalize": True}


def test_keys_are_new_once(seen: KeySet) -> None:
    assert [seen.add(text) for text in ("a", "b", "a", "é", "é")] == [True, True, False, True, False]
    assert "a" in seen
    assert "c" not in seen


def test_key_set_that_has_no_room_says_so() -> None:
    with KeySet() as keys:
        keys._connection.execute("PRAGMA max_page_count = 4")
        with pytest.raises(UnavailableError, match="temporary files"):
            keys.add_all(str(number) for number in range(10_000))
