"""Filters as SQL, against rows in both databases: every node, set and unset, and what only looks like SQL."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest

from embergate.aip.fields import FieldType, Kind
from embergate.aip.filtering.checked import (
    And,
    Compare,
    Contains,
    FieldPath,
    HasElement,
    HasKey,
    Like,
    Node,
    Not,
    Operator,
    Or,
    Present,
    Search,
    Value,
)
from embergate.aip.filtering.checker import MAX_CONDITIONS, compile_filter
from embergate.aip.ordering import OrderKey
from embergate.storage.collection import Collection, PageQuery
from embergate.storage.database import Database
from embergate.storage.json_sql import json_time
from tests.integration.storage.sample import FILTERED, JobRow, insert

STRING: Final = FieldType(Kind.STRING)
INTEGER: Final = FieldType(Kind.INTEGER)
NUMBER: Final = FieldType(Kind.NUMBER)
BOOL: Final = FieldType(Kind.BOOL)
TIMESTAMP: Final = FieldType(Kind.TIMESTAMP)
DURATION: Final = FieldType(Kind.DURATION)
ENUM: Final = FieldType(Kind.ENUM, enum_names=("STATE_UNSPECIFIED", "READY"))
MESSAGE: Final = FieldType(Kind.MESSAGE)
STRINGS: Final = FieldType(Kind.LIST, element=STRING)
MAP: Final = FieldType(Kind.MAP, element=STRING)
NOON: Final = datetime(2026, 8, 1, 12, tzinfo=UTC)
EQ, NE, LT, LE, GT, GE = Operator


def path(dotted: str, kind: FieldType, key: str | None = None) -> FieldPath:
    return FieldPath(tuple(dotted.split(".")), kind, key)


def compare(dotted: str, kind: FieldType, operator: Operator, value: Value, key: str | None = None) -> Compare:
    return Compare(path(dotted, kind, key), operator, value)


def rows_of(values: Sequence[Any], column: str) -> list[JobRow]:
    """Return a row for each value, named by its number."""
    return [JobRow(name=str(number), **{column: value}) for number, value in enumerate(values)]


async def matching(database: Database, node: Node) -> list[int]:
    jobs = Collection(JobRow, FILTERED)
    async with database.reading() as db:
        page = await jobs.page(db, PageQuery(node, (OrderKey(("name",), is_descending=False),), None, 100))
    assert page.total_size == len(page.rows)
    return sorted(int(row.name) for row in page.rows)


async def assert_matches(database: Database, node: Node, expected: Sequence[int], num_rows: int) -> None:
    """Assert which rows a filter takes, and that its negation takes the others."""
    assert await matching(database, node) == list(expected)
    assert await matching(database, Not(node)) == [number for number in range(num_rows) if number not in expected]
    assert await matching(database, Not(Not(node))) == list(expected)


TEXTS = ["a", "b", "B", "", None, "é", "z", "😀", "\uffff", "a*b", "%", "a_b"]
STRING_CASES = [
    (EQ, "a", [0]),
    (NE, "a", [1, 2, 3, 5, 6, 7, 8, 9, 10, 11]),
    (LT, "b", [0, 2, 3, 9, 10, 11]),
    (LE, "b", [0, 1, 2, 3, 9, 10, 11]),
    (GT, "z", [5, 7, 8]),
    (GE, "\uffff", [7, 8]),
    (GT, "\uffff", [7]),
    (EQ, "", [3]),
    (EQ, "a\0", []),
    (NE, "a\0", [0, 1, 2, 3, 5, 6, 7, 8, 9, 10, 11]),
    (LT, "a\0", [0, 2, 3, 10]),
    (GE, "a\0", [1, 5, 6, 7, 8, 9, 11]),
]


@pytest.mark.parametrize("where", ["column", "document", "entry"])
async def test_strings_compare_by_code_points(jobs: Database, where: str) -> None:
    field = {
        "column": path("display_name", STRING),
        "document": path("progress.text", STRING),
        "entry": path("annotations", STRING, "k"),
    }[where]
    column = {"column": "display_name", "document": "progress", "entry": "annotations"}[where]
    name = {"column": None, "document": "text", "entry": "k"}[where]
    await insert(jobs, *rows_of([value if name is None else {name: value} for value in TEXTS], column))
    for operator, value, expected in STRING_CASES:
        await assert_matches(jobs, Compare(field, operator, value), expected, len(TEXTS))


BIG = 2**63 - 1
INTEGERS = [0, 1, -5, None, BIG, -BIG - 1]
INTEGER_CASES: list[tuple[Operator, float, list[int]]] = [
    (EQ, 1, [1]),
    (NE, 1, [0, 2, 4, 5]),
    (LT, 1, [0, 2, 5]),
    (GE, 0, [0, 1, 4]),
    (EQ, BIG, [4]),
    (GT, 10**30, []),
    (LT, 10**30, [0, 1, 2, 4, 5]),
    (GT, -(10**30), [0, 1, 2, 4, 5]),
    (NE, 10**30, [0, 1, 2, 4, 5]),
    (EQ, 10**30, []),
    (LT, 0.5, [0, 2, 5]),
    (GE, 0.5, [1, 4]),
    (EQ, 0.5, []),
    (NE, 0.5, [0, 1, 2, 4, 5]),
    (EQ, 1.0, [1]),
    (LE, float("inf"), [0, 1, 2, 4, 5]),
    (EQ, float("nan"), []),
]


@pytest.mark.parametrize("where", ["count", "progress"])
async def test_integers_compare_with_any_number(jobs: Database, where: str) -> None:
    document = where == "progress"
    await insert(jobs, *rows_of([{"percent": value} if document else value for value in INTEGERS], where))
    field = "progress.percent" if document else "count"
    for operator, value, expected in INTEGER_CASES:
        await assert_matches(jobs, compare(field, INTEGER, operator, value), expected, len(INTEGERS))


async def test_integer_column_of_32_bits_compares_with_a_larger_number(jobs: Database) -> None:
    await insert(jobs, *rows_of([1, None, -1], "small"))
    await assert_matches(jobs, compare("small", INTEGER, LT, 2**40), [0, 2], 3)


NUMBERS = [0.5, -1.25, 0.0, None, 1e300, 3.0]
NUMBER_CASES: list[tuple[Operator, float, list[int]]] = [
    (EQ, 0.5, [0]),
    (NE, 0.5, [1, 2, 4, 5]),
    (LT, 0.5, [1, 2]),
    (GE, 3, [4, 5]),
    (EQ, 3, [5]),
    (LT, 10**400, [0, 1, 2, 4, 5]),
    (GT, -(10**400), [0, 1, 2, 4, 5]),
]


@pytest.mark.parametrize("where", ["temperature", "targets"])
async def test_numbers_compare(jobs: Database, where: str) -> None:
    entry = where == "targets"
    await insert(jobs, *rows_of([{"k": value} if entry else value for value in NUMBERS], where))
    for operator, value, expected in NUMBER_CASES:
        await assert_matches(
            jobs, compare(where, NUMBER, operator, value, "k" if entry else None), expected, len(NUMBERS)
        )


@pytest.mark.parametrize("where", ["enabled", "progress"])
async def test_bools_compare(jobs: Database, where: str) -> None:
    values = [True, False, None]
    document = where == "progress"
    await insert(jobs, *rows_of([{"done": value} if document else value for value in values], where))
    field = "progress.done" if document else "enabled"
    await assert_matches(jobs, compare(field, BOOL, EQ, True), [0], 3)
    await assert_matches(jobs, compare(field, BOOL, EQ, False), [1], 3)
    await assert_matches(jobs, compare(field, BOOL, NE, True), [1], 3)


@pytest.mark.parametrize("where", ["create_time", "progress"])
async def test_moments_compare(jobs: Database, where: str) -> None:
    tick = timedelta(microseconds=1)
    values = [NOON, NOON + tick, NOON - tick, None, datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)]
    document = where == "progress"
    stored = [{"end": value and json_time(value)} if document else value for value in values]
    await insert(jobs, *rows_of(stored, where))
    field = "progress.end" if document else "create_time"
    for operator, expected in ((EQ, [0]), (NE, [1, 2, 4, 5]), (LT, [2, 4]), (LE, [0, 2, 4]), (GT, [1, 5])):
        await assert_matches(jobs, compare(field, TIMESTAMP, operator, NOON), expected, 6)


@pytest.mark.parametrize("where", ["timeout", "progress"])
async def test_durations_compare(jobs: Database, where: str) -> None:
    values = [timedelta(seconds=90), timedelta(0), timedelta(seconds=-1), None, timedelta(days=9)]
    document = where == "progress"
    stored = [
        {"took": None if value is None else value // timedelta(microseconds=1)} if document else value
        for value in values
    ]
    await insert(jobs, *rows_of(stored, where))
    field = "progress.took" if document else "timeout"
    await assert_matches(jobs, compare(field, DURATION, GT, timedelta(seconds=1.5)), [0, 4], 5)
    await assert_matches(jobs, compare(field, DURATION, EQ, timedelta(seconds=90)), [0], 5)
    await assert_matches(jobs, compare(field, DURATION, NE, timedelta(seconds=90)), [1, 2, 4], 5)
    await assert_matches(jobs, Present(path(field, DURATION)), [0, 2, 4], 5)


LIKE_TEXTS = ["abc", "ABC", "xabc", "abcx", None, "a*c", "a%c", "a_c", "a?c", "a[b]c", "a\\c", ""]
LIKE_CASES = [
    ("abc", False, True, [0, 3]),
    ("abc", True, False, [0, 2]),
    ("b", True, True, [0, 2, 3, 9]),
    ("a*", False, True, [5]),
    ("a%", False, True, [6]),
    ("a_", False, True, [7]),
    ("a?", False, True, [8]),
    ("a[b]", False, True, [9]),
    ("\\c", True, False, [10]),
    ("", True, True, [0, 1, 2, 3, 5, 6, 7, 8, 9, 10, 11]),
    ("a\0", False, True, []),
]


@pytest.mark.parametrize("document", [False, True])
async def test_starts_and_ends_are_taken_as_they_are_written(jobs: Database, document: bool) -> None:
    values = [{"text": value} for value in LIKE_TEXTS] if document else LIKE_TEXTS
    await insert(jobs, *rows_of(values, "progress" if document else "display_name"))
    field = path("progress.text" if document else "display_name", STRING)
    for value, leading, trailing, expected in LIKE_CASES:
        node = Like(field, value, leading, trailing)
        await assert_matches(jobs, node, expected, len(LIKE_TEXTS))
        others = [number for number in range(len(LIKE_TEXTS)) if number not in (*expected, 4)]
        negated = Like(field, value, leading, trailing, negated=True)
        await assert_matches(jobs, negated, others, len(LIKE_TEXTS))


CASES_OF_LETTERS = [
    ("Ärger", "äRG", True),
    ("ärger", "Ä", True),
    ("a\u0308rger", "Ä", False),  # the letter and its dots in two characters
    ("Straße", "STRAẞE", True),
    ("Straße", "strasse", False),
    ("İstanbul", "istanbul", True),
    ("ISTANBUL", "istanbul", True),
    ("ısırgan", "I", False),  # dotless
    ("ΟΔΟΣ", "οδος", True),
    ("οδοςα", "ΟΔΟΣΑ", True),
    ("ΟΔΟΣ", "σ", True),
    ("Привет", "ПРИВ", True),
    ("100%", "0%", True),
    ("100", "0%", False),
    ("a_b", "_", True),
    ("ab", "_", False),
    ("", "", True),
    ("a", "a\0", False),
    ("it's", "T'S", True),
    ("𐐀", "𐐨", True),
]


@pytest.mark.parametrize("document", [False, True])
async def test_text_is_held_whatever_its_case_and_language(jobs: Database, document: bool) -> None:
    values: list[Any] = [*(value for value, _, _ in CASES_OF_LETTERS), None]
    values = [{"text": value} for value in values] if document else values
    await insert(jobs, *rows_of(values, "progress" if document else "display_name"))
    field = path("progress.text" if document else "display_name", STRING)
    for number, (value, needle, holds) in enumerate(CASES_OF_LETTERS):
        assert (number in await matching(jobs, Contains(field, needle))) is holds, (value, needle)
        assert len(values) - 1 not in await matching(jobs, Contains(field, needle))
        assert len(values) - 1 in await matching(jobs, Not(Contains(field, needle)))


KEYS = ["team", "a.b", 'a"b', "a'b", "a\\b", "ä", "", "%", "{0}", "$", "\n", "😀", "0"]


async def test_map_entries_are_found_by_any_key(jobs: Database) -> None:
    of_key: list[list[dict[str, Any] | None]] = [
        [{key: "v"}, {key: "V"}, {"other": "v"}, {}, None, {key: ""}, {key: {"k": "v"}}] for key in KEYS
    ]
    maps = [each for some in of_key for each in some]
    await insert(jobs, *rows_of(maps, "annotations"))
    for number, key in enumerate(KEYS):
        first, entry = 7 * number, path("annotations", STRING, key)
        for node, expected in (
            (HasKey(path("annotations", MAP), key), [0, 1, 5, 6]),
            (Compare(entry, EQ, "v"), [0]),
            (Compare(entry, NE, "v"), [1, 5]),
            (Contains(entry, "v"), [0, 1]),
            (Like(entry, "v", leading=False, trailing=True), [0]),
            (Present(entry), [0, 1]),
            (Present(path("annotations", MESSAGE, key)), [6]),
        ):
            await assert_matches(jobs, node, [first + place for place in expected], len(maps))


async def test_key_with_nul_is_in_no_map(jobs: Database) -> None:
    await insert(jobs, *rows_of([{"a": "b"}, {"ab": "b"}, {}], "annotations"))
    await assert_matches(jobs, HasKey(path("annotations", MAP), "a\0"), [], 3)
    await assert_matches(jobs, Compare(path("annotations", STRING, "a\0b"), EQ, "b"), [], 3)
    await assert_matches(jobs, Present(path("annotations", STRING, "\0a")), [], 3)
    await assert_matches(jobs, Present(path("annotations", MESSAGE, "\0a")), [], 3)


async def test_lists_have_elements_of_the_values_own_type(jobs: Database) -> None:
    lists: list[Any] = [
        ["a"],
        ["A", "b"],
        [],
        None,
        ["ab"],
        ['a"'],
        [1, True],
        [1.0],
        ["1"],
        [["a"]],
        [{"a": "a"}],
        [None],
    ]
    await insert(jobs, *rows_of(lists, "deployments"))
    field = path("deployments", STRINGS)
    cases: list[tuple[Value, list[int]]] = [
        ("a", [0]),
        ('a"', [5]),
        ("1", [8]),
        (1, [6, 7]),
        (1.0, [6, 7]),
        (True, [6]),
        (False, []),
        ("a\0", []),
        (10**30, []),
        (float("inf"), []),
    ]
    for value, expected in cases:
        await assert_matches(jobs, HasElement(field, value), expected, len(lists))


async def test_lists_have_moments_and_durations(jobs: Database) -> None:
    await insert(jobs, *rows_of([[json_time(NOON)], [90_000_000], []], "sizes"))
    await assert_matches(jobs, HasElement(path("sizes", STRINGS), NOON), [0], 3)
    await assert_matches(jobs, HasElement(path("sizes", STRINGS), timedelta(seconds=90)), [1], 3)


async def test_lists_of_messages_have_an_element_with_a_field(jobs: Database) -> None:
    lists: list[Any] = [
        [{"zone": "a"}, {"zone": "b", "size": 2}],
        [{"zone": "b"}],
        [{"size": 2, "status": {"code": "OK"}}],
        ["zone", ["zone"], 3, None],
        [],
        None,
        [{"labels": {'k"1': "b", "zone": "b"}}],
    ]
    await insert(jobs, *rows_of(lists, "replicas"))
    field = path("replicas", FieldType(Kind.LIST, element=MESSAGE))
    await assert_matches(jobs, HasElement(field, "b", ("zone",)), [0, 1], 7)
    await assert_matches(jobs, HasElement(field, 2, ("size",)), [0, 2], 7)
    await assert_matches(jobs, HasElement(field, "OK", ("status", "code")), [2], 7)
    await assert_matches(jobs, HasElement(field, "b", ("labels", 'k"1')), [6], 7)
    await assert_matches(jobs, HasElement(field, True, ("size",)), [], 7)


PRESENT_CASES: list[tuple[str, FieldType, list[Any], list[int]]] = [
    ("display_name", STRING, ["a", "", None], [0]),
    ("state", ENUM, ["READY", "STATE_UNSPECIFIED", "", None], [0]),
    ("enabled", BOOL, [True, False, None], [0]),
    ("count", INTEGER, [1, 0, None], [0]),
    ("temperature", NUMBER, [0.5, 0.0, None], [0]),
    ("create_time", TIMESTAMP, [NOON, None], [0]),
    ("annotations", MAP, [{"a": ""}, {}, None], [0]),
    ("deployments", STRINGS, [[""], [], None], [0]),
    ("progress", MESSAGE, [{"percent": 0}, {}, None], [0, 1]),
    ("progress", FieldType(Kind.STRUCT), [{"percent": 0}, {}, None], [0, 1]),
]


@pytest.mark.parametrize(("column", "kind", "values", "expected"), PRESENT_CASES)
async def test_present_is_set_and_not_the_default(
    jobs: Database, column: str, kind: FieldType, values: list[Any], expected: list[int]
) -> None:
    await insert(jobs, *rows_of(values, column))
    await assert_matches(jobs, Present(path(column, kind)), expected, len(values))


async def test_parts_of_a_document_are_present(jobs: Database) -> None:
    documents = [
        {"last": {"errors": ["x"], "labels": {"a": "b"}, "text": "t", "count": 1, "done": True}},
        {"last": {"errors": [], "labels": {}, "text": "", "count": 0, "done": False}},
        {"last": {}},
        {"last": None},
        {"last": "text"},
        {},
        None,
    ]
    await insert(jobs, *rows_of(documents, "progress"))
    await assert_matches(jobs, Present(path("progress.last", MESSAGE)), [0, 1, 2], 7)
    for name, kind in (("errors", STRINGS), ("labels", MAP), ("text", STRING), ("count", INTEGER), ("done", BOOL)):
        await assert_matches(jobs, Present(path(f"progress.last.{name}", kind)), [0], 7)
    await assert_matches(jobs, HasElement(path("progress.last.errors", STRINGS), "x"), [0], 7)
    await assert_matches(jobs, HasKey(path("progress.last.labels", MAP), "a"), [0], 7)
    await assert_matches(jobs, compare("progress.last.labels", STRING, EQ, "b", "a"), [0], 7)
    await assert_matches(jobs, compare("progress.last.count", INTEGER, LT, 1), [1], 7)


async def test_value_of_another_type_than_declared_is_unset_not_an_error(jobs: Database) -> None:
    await insert(jobs, *rows_of([{"percent": value} for value in ("x", True, [1], {"a": 1}, 1)], "progress"))
    await assert_matches(jobs, compare("progress.percent", INTEGER, GE, 0), [4], 5)
    await assert_matches(jobs, compare("progress.percent", BOOL, EQ, True), [1], 5)
    await assert_matches(jobs, compare("progress.percent", STRING, NE, ""), [0], 5)


async def test_message_spread_over_columns(jobs: Database) -> None:
    rows = [JobRow(name="0", status_code="OK"), JobRow(name="1", status_message="m"), JobRow(name="2")]
    await insert(jobs, *rows)
    await assert_matches(jobs, compare("status.code", ENUM, EQ, "OK"), [0], 3)
    await assert_matches(jobs, compare("status.code", ENUM, NE, "OK"), [], 3)
    await assert_matches(jobs, Present(path("status", MESSAGE)), [0, 1], 3)


async def test_and_or_not_are_two_valued_also_of_what_is_unset(jobs: Database) -> None:
    await insert(jobs, *rows_of(["a", "b", None], "display_name"))
    is_a = compare("display_name", STRING, EQ, "a")
    is_b = compare("display_name", STRING, EQ, "b")
    unset_is_1 = compare("count", INTEGER, EQ, 1)
    await assert_matches(jobs, And((is_a, Not(is_b))), [0], 3)
    await assert_matches(jobs, Or((is_a, is_b)), [0, 1], 3)
    await assert_matches(jobs, And((Not(is_a), Not(unset_is_1))), [1, 2], 3)
    await assert_matches(jobs, Or((unset_is_1, Not(Or((is_a, unset_is_1))))), [1, 2], 3)
    await assert_matches(jobs, And(()), [0, 1, 2], 3)
    await assert_matches(jobs, Or(()), [], 3)


async def test_search_looks_in_each_of_its_fields(jobs: Database) -> None:
    rows = [
        JobRow(name="0", display_name="needle"),
        JobRow(name="1", display_name="NEEDLE"),
        JobRow(name="2", status_message="a Needle."),
        JobRow(name="3", state="needle"),
    ]
    fields = tuple(path(dotted, STRING) for dotted in ("name", "display_name", "status.message"))
    await insert(jobs, *rows)
    await assert_matches(jobs, Search("needle", fields), [0, 1, 2], 4)


@pytest.mark.parametrize("join", [" ", " OR ", " AND ", " NOT "])
async def test_largest_filters_that_are_taken_can_be_run(jobs: Database, join: str) -> None:
    fields = {"name": FieldType(Kind.STRING), "display_name": FieldType(Kind.STRING)}
    await insert(jobs, JobRow(name="1", display_name="b"))
    node = compile_filter(join.join(["a"] * (MAX_CONDITIONS // len(fields))), fields)
    assert node is not None
    assert len(await matching(jobs, node)) in {0, 1}


async def test_field_without_a_column_is_the_programs_error(jobs: Database) -> None:
    with pytest.raises(KeyError, match=r"unknown\.field"):
        await matching(jobs, compare("unknown.field", STRING, EQ, "a"))
