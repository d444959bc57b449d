"""Pages: orders with what is unset, equal keys and both directions, and rows that come and go between pages."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete

from embergate.aip.filtering.checked import Compare, FieldPath, Operator
from embergate.aip.ordering import OrderKey
from embergate.storage.collection import PageQuery
from embergate.storage.database import Database
from tests.integration.storage.sample import JOBS, JobRow, insert
from tests.integration.storage.test_filter_sql import INTEGER

NOON: Final = datetime(2026, 8, 1, 12, tzinfo=UTC)
NAME: Final = OrderKey(("name",), is_descending=False)
VALUES: Final[dict[str, list[Any]]] = {
    "display_name": [None, "", "B", "a", "é", "😀"],
    "count": [None, -1, 0, 2**62],
    "temperature": [None, -0.5, 0.0, 1e300],
    "enabled": [None, False, True],
    "create_time": [None, NOON, NOON + timedelta(microseconds=1)],
    "timeout": [None, timedelta(seconds=-1), timedelta(seconds=1)],
    "progress.percent": [None, 0, 50],
    "status.code": [None, "A", "b"],
}


def job(name: str, values: dict[str, Any]) -> JobRow:
    percent = values.get("progress.percent")
    columns = {path.replace(".", "_"): value for path, value in values.items() if path != "progress.percent"}
    return JobRow(name=name, progress=None if percent is None else {"percent": percent}, **columns)


def sorted_names(rows: dict[str, dict[str, Any]], order: tuple[OrderKey, ...]) -> list[str]:
    """Return the names in order, as Python sorts: what is unset first, or last in descending order."""
    names = sorted(rows)
    for key in reversed(order):
        path = ".".join(key.names)

        def rank(name: str, path: str = path) -> tuple[int, Any]:
            value = name if path == "name" else rows[name].get(path)
            return (0,) if value is None else (1, value)  # type: ignore[return-value]

        names.sort(key=rank, reverse=key.is_descending)
    return names


async def all_pages(database: Database, order: tuple[OrderKey, ...], page_size: int) -> list[str]:
    names: list[str] = []
    position: list[Any] | None = None
    for _ in range(1000):
        async with database.reading() as db:
            page = await JOBS.page(db, PageQuery(None, order, position, page_size))
        names += [row.name for row in page.rows]
        if page.next_position is None:
            return names
        assert len(page.rows) == page_size
        assert all(
            isinstance(value, (str, int, float, bool, datetime)) or value is None for value in page.next_position
        )
        position = page.next_position
    raise AssertionError("the pages never end")


async def replace_rows(database: Database, rows: dict[str, dict[str, Any]]) -> None:
    async with database.writing() as db:
        await db.execute(delete(JobRow))
        db.add_all([job(name, values) for name, values in rows.items()])


VALUES_OF_A_ROW = st.fixed_dictionaries({}, optional={path: st.sampled_from(values) for path, values in VALUES.items()})
ORDERS = st.lists(st.tuples(st.sampled_from(sorted(VALUES)), st.booleans()), max_size=3, unique_by=lambda key: key[0])


def order_of(keys: list[tuple[str, bool]], *, name_descends: bool) -> tuple[OrderKey, ...]:
    return (
        *(OrderKey(tuple(path.split(".")), descends) for path, descends in keys),
        OrderKey(("name",), name_descends),
    )


@given(
    rows=st.dictionaries(st.sampled_from("abcdefghij"), VALUES_OF_A_ROW, max_size=10),
    keys=ORDERS,
    name_descends=st.booleans(),
    page_size=st.integers(1, 4),
)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_pages_joined_are_the_whole_list_in_order(
    jobs: Database, rows: dict[str, dict[str, Any]], keys: list[tuple[str, bool]], name_descends: bool, page_size: int
) -> None:
    order = order_of(keys, name_descends=name_descends)
    await replace_rows(jobs, rows)
    assert await all_pages(jobs, order, page_size) == sorted_names(rows, order)


CHANGES = st.lists(st.tuples(st.sampled_from("mnopqrst"), st.none() | VALUES_OF_A_ROW), max_size=4)


@given(
    untouched=st.dictionaries(st.sampled_from("abcdefgh"), VALUES_OF_A_ROW, min_size=1, max_size=8),
    touched=st.dictionaries(st.sampled_from("mnopqrst"), VALUES_OF_A_ROW, max_size=8),
    changes=st.lists(CHANGES, max_size=12),
    keys=ORDERS,
    page_size=st.integers(1, 3),
)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_rows_that_nobody_touches_come_exactly_once_while_others_come_and_go(
    jobs: Database,
    untouched: dict[str, dict[str, Any]],
    touched: dict[str, dict[str, Any]],
    changes: list[list[tuple[str, dict[str, Any] | None]]],
    keys: list[tuple[str, bool]],
    page_size: int,
) -> None:
    order = order_of(keys, name_descends=False)
    await replace_rows(jobs, untouched | touched)
    seen: list[str] = []
    position: list[Any] | None = None
    for changed in itertools.chain(changes, itertools.repeat([])):
        async with jobs.reading() as db:
            page = await JOBS.page(db, PageQuery(None, order, position, page_size))
        seen += [row.name for row in page.rows]
        position = page.next_position
        if position is None:
            break
        async with jobs.writing() as db:
            for name, values in changed:
                await db.execute(delete(JobRow).where(JobRow.name == name))
                if values is not None:
                    db.add(job(name, values))
                    await db.flush()
    assert [name for name in seen if name in untouched] == sorted_names(untouched, order)


async def test_position_survives_its_own_row(jobs: Database) -> None:
    await insert(jobs, *(job(name, {}) for name in "abc"))
    order = (OrderKey(("count",), is_descending=False), NAME)
    async with jobs.reading() as db:
        first = await JOBS.page(db, PageQuery(None, order, None, 2))
    async with jobs.writing() as db:
        await db.execute(delete(JobRow).where(JobRow.name == "b"))
    async with jobs.reading() as db:
        second = await JOBS.page(db, PageQuery(None, order, first.next_position, 2))
    assert [row.name for row in second.rows] == ["c"]
    assert second.next_position is None


async def test_total_size_counts_what_the_filter_and_the_owner_take_on_every_page(jobs: Database) -> None:
    await insert(
        jobs, *(job(f"{number}", {"count": number % 2, "state": "ab"[number % 3 == 0]}) for number in range(9))
    )
    odd = Compare(FieldPath(("count",), INTEGER), Operator.EQ, 1)
    sizes, names, position = [], [], None
    while True:
        async with jobs.reading() as db:
            page = await JOBS.page(db, PageQuery(odd, (NAME,), position, 2), JobRow.state == "a")
        sizes.append(page.total_size)
        names += [row.name for row in page.rows]
        position = page.next_position
        if position is None:
            break
    assert (sizes, names) == ([3, 3], ["1", "5", "7"])


async def test_empty_list_is_one_page(jobs: Database) -> None:
    async with jobs.reading() as db:
        page = await JOBS.page(db, PageQuery(None, (NAME,), None, 1))
    assert (page.rows, page.next_position, page.total_size) == ([], None, 0)


async def test_position_of_another_order_is_refused(jobs: Database) -> None:
    async with jobs.reading() as db:
        with pytest.raises(ValueError, match="2 values for 1 keys"):
            await JOBS.page(db, PageQuery(None, (NAME,), ["a", "b"], 1))


async def test_filter_keys_and_values_are_never_sql(jobs: Database) -> None:
    evil = "'); DROP TABLE sample_jobs; --"
    await insert(jobs, job(evil, {"display_name": evil}))
    order = (OrderKey(("display_name",), is_descending=True), NAME)
    assert await all_pages(jobs, order, 1) == [evil]
