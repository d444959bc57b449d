"""Lists are served by indexes: what each database says that it will do with the statements of a call."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Engine, event, text

from tests.integration.gateway.platform import Platform

PATH = "/v1/accounts/acme"


@contextmanager
def statements_about(table: str) -> Iterator[list[tuple[str, Any]]]:
    """Gather what is asked of the table meanwhile, as the driver gets it."""
    found: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, _many: bool) -> None:
        if f"FROM {table}" in statement and "account_id" in statement:
            found.append((statement, parameters))

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield found
    finally:
        event.remove(Engine, "before_cursor_execute", note)


async def plan_of(platform: Platform, statement: str, parameters: Any) -> str:
    """Return the database's plan, as if its tables were too long to be read through."""
    explain = "EXPLAIN QUERY PLAN" if platform.database.dialect == "sqlite" else "EXPLAIN"
    async with platform.database.reading() as db:
        if platform.database.dialect == "postgresql":
            await db.execute(text("SET LOCAL enable_seqscan = off"))
            await db.execute(text("SET LOCAL enable_bitmapscan = off"))
            await db.execute(text("SET LOCAL enable_sort = off"))
        connection = await db.connection()
        rows = (await connection.exec_driver_sql(f"{explain} {statement}", parameters)).all()
    return "\n".join(str(row[-1]) for row in rows)


@pytest.mark.parametrize(
    ("path", "table", "query", "columns"),
    [
        ("users", "users", {}, ["account_id"]),
        ("users", "users", {"filter": 'name="accounts/acme/users/ada"'}, ["account_id", "id"]),
        ("auditLogs", "audit_entries", {}, ["account_id", "timestamp"]),
        ("auditLogs", "audit_entries", {"filter": 'principal="ada@acme.example"'}, ["account_id", "principal"]),
        ("users/admin/apiKeys", "api_keys", {}, ["account_id", "user_id"]),
        ("secrets", "secrets", {"filter": 'name="accounts/acme/secrets/s"'}, ["account_id", "id"]),
        ("creditRedemptions", "credit_redemptions", {}, ["account_id"]),
    ],
)
async def test_no_row_is_read_in_vain_and_none_is_sorted(
    platform: Platform, path: str, table: str, query: dict[str, str], columns: list[str]
) -> None:
    key = await platform.add_account("acme")
    with statements_about(table) as statements:
        answer = await platform.call(key, "GET", f"{PATH}/{path}", params=query)
    assert answer.status_code == 200, answer.text
    pages = [found for found in statements if "ORDER BY" in found[0]]
    assert len(pages) == 1, statements
    plan = await plan_of(platform, *pages[0])
    index = r"SEARCH .* USING .*INDEX .*\((.*)\)" if platform.database.dialect == "sqlite" else r"Index Cond: (.*)"
    searched = re.search(index, plan)
    assert searched is not None, plan
    assert all(column in searched.group(1) for column in columns), plan
    assert "TEMP B-TREE" not in plan, plan
    assert "Sort" not in plan, plan
