"""The SQL that lists are made of: an index must be able to serve it, in the order of code points."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import BigInteger, Column, ColumnElement, String
from sqlalchemy.dialects import postgresql, sqlite

from embergate.storage import keyset
from embergate.storage.filter_sql import by_code_points
from embergate.storage.keyset import SortKey
from embergate.storage.rows import text

COUNT: Column[int] = Column("n", BigInteger(), nullable=False)
NAME: Column[str] = Column("name", text(63), nullable=False)
DIALECTS: dict[str, Any] = {"sqlite": sqlite.dialect, "postgresql": postgresql.dialect}


def sql(expression: ColumnElement[Any], dialect: str) -> str:
    return str(expression.compile(dialect=DIALECTS[dialect](), compile_kwargs={"literal_binds": True}))


def keys(*descends: bool) -> list[SortKey]:
    columns: list[Column[Any]] = [COUNT, NAME]
    return [SortKey(column, is_descending, False) for column, is_descending in zip(columns, descends, strict=True)]


@pytest.mark.parametrize(("descends", "sign"), [(False, ">"), (True, "<")])
def test_keys_of_one_direction_are_compared_as_a_row(descends: bool, sign: str) -> None:
    assert sql(keyset.after(keys(descends, descends), [3, "a"]), "postgresql") == f"(n, name) {sign} (3, 'a')"


def test_keys_of_two_directions_begin_at_the_first_ones_value() -> None:
    condition = sql(keyset.after(keys(True, False), [3, "a"]), "sqlite")
    assert condition.startswith("n <= 3 AND (n < 3 OR n = 3 AND")


@pytest.mark.parametrize(
    ("dialect", "is_nullable", "is_descending", "expected"),
    [
        ("sqlite", True, False, "n ASC"),
        ("sqlite", True, True, "n DESC"),
        ("postgresql", False, False, "n ASC"),
        ("postgresql", True, False, "n ASC NULLS FIRST"),
        ("postgresql", True, True, "n DESC NULLS LAST"),
    ],
)
def test_nulls_are_the_least_values(dialect: str, is_nullable: bool, is_descending: bool, expected: str) -> None:
    (ordered,) = keyset.order_by([SortKey(COUNT, is_descending, is_nullable)], dialect)
    assert sql(ordered, dialect) == expected


def test_a_string_is_sorted_by_code_points_whatever_the_databases_language() -> None:
    plain: Column[str] = Column("plain", String(63))
    assert sql(by_code_points(plain, "postgresql"), "postgresql") == 'plain COLLATE "C"'
    assert sql(by_code_points(plain, "sqlite"), "sqlite") == "plain"
    # Where the column itself is sorted like this, a collation in the query would only hide its index.
    assert sql(by_code_points(NAME, "postgresql"), "postgresql") == "name"
    assert NAME.type.compile(DIALECTS["postgresql"]()) == 'VARCHAR(63) COLLATE "C"'
    assert NAME.type.compile(DIALECTS["sqlite"]()) == "VARCHAR(63)"
