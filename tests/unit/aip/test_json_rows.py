"""Filters over JSON objects of which nobody knows the fields."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embergate.aip.errors import InvalidArgumentError
from embergate.aip.filtering.json_rows import compile_json_filter

ROW: dict[str, Any] = {
    "custom_id": "doc-17",
    "lang": "en",
    "year": 2024,
    "score": 0.5,
    "big": 9007199254740993,
    "is_public": True,
    "nothing": None,
    "zip": "01234",
    "tags": ["red", "green", 3, True],
    "empty": [],
    "body": {"input": "The quick Fox", "dimensions": 256, "odd key.x": 1, "null": "null"},
    "messages": [{"role": "user", "parts": [{"text": "hello"}]}, {"role": "assistant"}],
}
PASSES = [
    'lang = "en"',
    "lang = en",
    "lang != de",
    'custom_id = "doc-*"',
    'custom_id = "*17"',
    'custom_id = "*c-1*"',
    'custom_id != "row-*"',
    "year = 2024",
    "year >= 2024 AND year < 2025",
    "year > 2023.5",
    "year = 2.024e3",
    "score = 0.5",
    "score > -1",
    "big = 9007199254740993",
    "big > 9007199254740992",
    "is_public = true",
    "is_public != false",
    "year != abc",
    "zip = 01234",
    "zip < 1",  # as texts are ordered
    "body.dimensions = 256",
    'body.input : "quick fox"',
    "body:input",
    "body.`odd key.x` = 1",
    'body."null" = "null"',
    "tags:green",
    "tags:3",
    "tags:true",
    "tags.0 = red",
    "messages.role:assistant",
    "messages.0.role = user",
    "messages.parts.text:hello",
    "custom_id:*",
    "empty:*",
    "NOT nothing:*",
    "NOT missing:*",
    "NOT missing = 1",
    "-lang = de",
    "lang = de OR year = 2024",
    "lang = en (year = 1 OR year = 2024)",
    "fox",
    '"quick fox"',
    "hello",
    '"and" OR lang = en',
]
FAILS = [
    'lang = "EN"',
    "missing = 1",
    "missing != 1",
    "missing < 1",
    "missing:*",
    "missing.deeper = 1",
    "nothing = 0",
    "nothing != 0",
    "nothing:*",
    "lang.deeper = 1",
    "year = abc",
    "year < abc",
    "year:20",
    "big = 9007199254740992",
    "is_public = 1",
    "is_public > false",
    "body = 1",
    "body != 1",
    "tags = red",
    "tags != red",
    "tags:gre",
    "tags.9 = red",
    "tags.x = red",
    "messages.role = user",
    "messages.role:nobody",
    "body:dimension",
    "cat",
    "Body.dimensions = 256",
    "lang = en AND year = 1",
]


@pytest.mark.parametrize("text", PASSES)
def test_object_passes(text: str) -> None:
    passes = compile_json_filter(text)
    assert passes is not None
    assert passes(ROW)


@pytest.mark.parametrize("text", FAILS)
def test_object_does_not_pass(text: str) -> None:
    passes = compile_json_filter(text)
    assert passes is not None
    assert not passes(ROW)


def test_empty_filter_is_none() -> None:
    assert compile_json_filter("  ") is None


WRONG = [
    ("a = ", 5, "a value after = is missing"),
    ("a == 1", 4, "a value after = is missing"),
    ("a = 1 and b = 2", 7, "write AND for and, or quote it"),
    ("a = 1 Or b = 2", 7, "write OR for Or, or quote it"),
    ('a LIKE "x%"', 3, 'write field = "text*" or field:text for LIKE'),
    ("a IN (1, 2)", 8, "write AND or OR in place of the comma"),
    ("a IS null", 3, "write field:* or NOT field:* for IS"),
    ("a = 1 && b = 2", 7, "write AND for &&"),
    ("a = null", 5, "nothing equals null; write NOT a:*"),
    ("a != null", 6, "nothing equals null; write a:*"),
    ("lower(a) = b", 1, "there is no function lower"),
    ("a = (b OR c)", 5, "one value stands here"),
    ('a = "x*y"', 5, "a * stands at the start or end"),
    ("(a = 1", 1, "never closed"),
    (" OR ".join(["a=1"] * 101), 701, "more than 100 comparisons"),
    ("x" * 2_001, 0, "it has 2,001 characters"),
]


@pytest.mark.parametrize(("text", "column", "message"), WRONG, ids=[text[:20] for text, *_ in WRONG])
def test_wrong_filter_says_where_and_how_to_mend_it(text: str, column: int, message: str) -> None:
    with pytest.raises(InvalidArgumentError) as refused:
        compile_json_filter(text)
    assert message in refused.value.message
    if column:
        assert refused.value.message.startswith(f"filter, column {column}: ")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.sampled_from("abc"), values, max_size=3),
    max_leaves=10,
)
TERMS = st.builds(
    "{}{}{}".format,
    st.sampled_from(["a", "b.c", "a.0", "a.b.c"]),
    st.sampled_from([" = ", " != ", " < ", ":", " >= "]),
    st.sampled_from(["1", "true", '"x*"', "abc", "-2.5"]),
)


@given(row=st.dictionaries(st.sampled_from("abc"), JSON), term=TERMS)
def test_every_filter_is_answered_for_every_object(row: dict[str, Any], term: str) -> None:
    passes, negated = compile_json_filter(term), compile_json_filter(f"NOT {term}")
    assert passes is not None
    assert negated is not None
    assert passes(row) is not negated(row)


def test_deep_objects_are_searched() -> None:
    row: Any = {"a": "needle"}
    for _ in range(1_000):
        row = {"a": [row]}
    passes = compile_json_filter("needle")
    assert passes is not None
    assert passes(row)
