"""Tables that the database itself keeps as they were written."""

from __future__ import annotations

import pytest
from sqlalchemy import Column, Integer, MetaData, String, Table, text
from sqlalchemy.exc import DBAPIError

from embergate.clock import now
from embergate.storage.database import Database
from embergate.storage.tables import append_only
from embergate.storage.tables.credits import PostingRow
from embergate.storage.tables.prices import PriceRow
from tests.integration.gateway.trails import write

NOTES = Table("notes", MetaData(), Column("id", Integer, primary_key=True), Column("text", String))


async def refused(database: Database, statement: str) -> str:
    with pytest.raises(DBAPIError) as caught:
        async with database.writing() as db:
            await db.execute(text(statement))
    return str(caught.value.orig)


async def test_rows_are_added_but_never_changed_or_removed(database: Database) -> None:
    async with database.migrating() as connection:
        await connection.run_sync(NOTES.metadata.create_all)
        for statement in append_only.statements(database.dialect, "notes"):
            await connection.execute(text(statement))
    async with database.writing() as db:
        await db.execute(NOTES.insert(), [{"text": "a"}, {"text": "b"}])
    for statement in ("UPDATE notes SET text = 'c' WHERE id = 1", "UPDATE notes SET text = text", "DELETE FROM notes"):
        assert "notes is append-only" in await refused(database, statement)
    async with database.reading() as db:
        assert (await db.execute(NOTES.select().order_by(NOTES.c.id))).all() == [(1, "a"), (2, "b")]


async def test_whole_table_is_not_emptied_either(postgresql_url: str) -> None:
    database = Database.open(postgresql_url)
    assert "append-only" in await refused(database, "TRUNCATE audit_entries")
    await database.close()


async def test_trail_ledger_and_prices_are_append_only(database: Database) -> None:
    await write(database)
    posting = {
        "transaction_id": "t",
        "ledger_account": "accounts/mine",
        "amount_nanos": 1,
        "currency_code": "USD",
        "cause": "test",
        "create_time": now(),
    }
    async with database.writing() as db:
        db.add(PostingRow(**posting))
        db.add(PriceRow(model="accounts/a/models/m", price_nanos=8, start_time=now(), create_time=now()))
    for table, column in (("audit_entries", "account_id"), ("postings", "cause"), ("prices", "model")):
        for statement in (f"UPDATE {table} SET {column} = 'x'", f"DELETE FROM {table}"):
            assert f"{table} is append-only" in await refused(database, statement)
