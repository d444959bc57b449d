"""The chain of seals: that it stays whole under load, and that no change of it goes unnoticed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta
from itertools import combinations
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, func, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from embergate.clock import now
from embergate.errors import UnavailableError
from embergate.gateway.audit.trail import AUDIT_SEAL, ENTRIES, GENESIS, HEADS, SEALED, Event, record
from embergate.gateway.audit.verify import ChainReport, verify_chain
from embergate.storage.database import Database
from embergate.web.keyring import Keyring
from tests.integration.gateway.trails import SEAL_KEYS, unguard, verified, write

NUM_ENTRIES = 5

json_scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"))
)
json_values = st.recursive(
    json_scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20
)


@asynccontextmanager
async def undone(db: AsyncSession) -> AsyncIterator[None]:
    """Take back what the block writes."""
    savepoint = await db.begin_nested()
    yield
    await savepoint.rollback()


async def report_of(db: AsyncSession) -> ChainReport:
    return await verify_chain(db, "mine", SEAL_KEYS)


def others(value: Any) -> Iterator[Any]:
    """Yield what a column may be changed to."""
    match value:
        case bool():
            yield not value
        case int():
            yield from (value + 100, -value)
        case str():
            yield from {value + "x", value[:-1], value.swapcase()} - {value}
        case bytes():
            yield from (bytes(32), value[:-1] + bytes([value[-1] ^ 1]))
        case datetime():
            yield from (value + timedelta(microseconds=1), value - timedelta(days=1))
        case dict():
            yield from ({}, {**value, "more": 1}, {"body": {"displayName": "Eve"}})


@pytest.fixture
async def chain(database: Database) -> Database:
    """A database with two chains; the entries of the first may be changed."""
    for number in range(NUM_ENTRIES):
        await write(database, payload={"body": {"displayName": f"Ada {number}"}})
        await write(database, "theirs")
    async with database.writing() as db:
        await unguard(db)
    return database


async def test_chain_as_it_was_written_is_intact(chain: Database) -> None:
    assert await verified(chain) == {
        "mine": ChainReport("mine", NUM_ENTRIES),
        "theirs": ChainReport("theirs", NUM_ENTRIES),
    }


def test_every_column_is_sealed() -> None:
    assert {*SEALED, "hash"} == {column.name for column in ENTRIES.columns}


async def test_change_of_any_column_of_any_entry_is_found_and_named(chain: Database) -> None:
    num_changes = 0
    async with chain.writing() as db:
        entries = (await db.execute(select(ENTRIES).where(ENTRIES.c.account_id == "mine"))).mappings().all()
        for entry in entries:
            this = (ENTRIES.c.account_id == "mine") & (ENTRIES.c.sequence == entry["sequence"])
            for column in ENTRIES.columns:
                for value in others(entry[column]):
                    async with undone(db):
                        await db.execute(update(ENTRIES).where(this).values({column.name: value}))
                        report = await report_of(db)
                        named = value if column.name == "sequence" and value < 0 else entry["sequence"]
                        assert report.bad_sequence == named, (column.name, value, report)
                    num_changes += 1
        assert (await report_of(db)).is_intact
    assert num_changes > NUM_ENTRIES * len(SEALED)


async def test_entry_taken_out_is_found_and_named(chain: Database) -> None:
    async with chain.writing() as db:
        for number in range(1, NUM_ENTRIES + 1):
            async with undone(db):
                await db.execute(delete(ENTRIES).where(ENTRIES.c.account_id == "mine", ENTRIES.c.sequence == number))
                report = await report_of(db)
            assert (report.num_intact, report.bad_sequence) == (number - 1, number)
            assert "missing" in report.problem


async def test_entries_that_changed_places_are_found_and_the_first_named(chain: Database) -> None:
    async def move(db: AsyncSession, before: int, after: int) -> None:
        this = (ENTRIES.c.account_id == "mine") & (ENTRIES.c.sequence == before)
        await db.execute(update(ENTRIES).where(this).values(sequence=after))

    async with chain.writing() as db:
        for one, two in combinations(range(1, NUM_ENTRIES + 1), 2):
            async with undone(db):
                await move(db, one, -1)
                await move(db, two, one)
                await move(db, -1, two)
                assert (await report_of(db)).bad_sequence == one


async def test_entry_put_in_is_found(chain: Database) -> None:
    async with chain.writing() as db:
        copied = (await db.execute(select(ENTRIES).where(ENTRIES.c.account_id == "mine").limit(1))).mappings().one()
        for sequence in (-3, 0, NUM_ENTRIES + 1, NUM_ENTRIES + 7):
            async with undone(db):
                await db.execute(insert(ENTRIES).values({**copied, "id": "forged", "sequence": sequence}))
                report = await report_of(db)
                assert report.bad_sequence == min(sequence, NUM_ENTRIES + 1)
        async with undone(db):
            await db.execute(insert(ENTRIES).values({**copied, "id": "forged", "account_id": "nobody"}))
            assert not (await verify_chain(db, "nobody", SEAL_KEYS)).is_intact


async def test_end_that_was_cut_off_is_found_whatever_the_head_is_changed_to(chain: Database) -> None:
    """The entries give away no earlier head: not by their own hashes, and not by those before."""
    async with chain.writing() as db:
        hashes = (await db.execute(select(ENTRIES.c.hash).where(ENTRIES.c.account_id == "mine"))).scalars().all()
        for last in range(NUM_ENTRIES):
            async with undone(db):
                await db.execute(delete(ENTRIES).where(ENTRIES.c.account_id == "mine", ENTRIES.c.sequence > last))
                assert (await report_of(db)).problem == f"to {NUM_ENTRIES} are missing at the end"
                for forged in (GENESIS, *hashes):
                    head = update(HEADS).where(HEADS.c.account_id == "mine")
                    await db.execute(head.values(sequence=last, hash=forged))
                    if last > 0 or forged != GENESIS:
                        assert not (await report_of(db)).is_intact
                await db.execute(delete(HEADS).where(HEADS.c.account_id == "mine"))
                if last > 0:
                    assert (await report_of(db)).problem == "may not be the last: the head of the chain is missing"


async def test_change_of_a_head_is_found(chain: Database) -> None:
    async with chain.writing() as db:
        for change in ({"sequence": 3}, {"sequence": 9}, {"hash": bytes(32)}):
            async with undone(db):
                await db.execute(update(HEADS).where(HEADS.c.account_id == "mine").values(change))
                assert not (await report_of(db)).is_intact
        async with undone(db):
            await db.execute(update(HEADS).where(HEADS.c.account_id == "mine").values(account_id="ours"))
            assert not (await report_of(db)).is_intact
            assert (await verify_chain(db, "ours", SEAL_KEYS)).problem == "to 5 are missing at the end"


@pytest.mark.parametrize(
    ("column", "value"),
    [("payload", "'{'"), ("timestamp", "'yesterday'"), ("method", "x'ff'"), ("payload", "'[' || 1e400 || ']'")],
)
async def test_entry_that_can_no_longer_be_read_is_named(sqlite_url: str, column: str, value: str) -> None:
    """SQLite stores anything anywhere."""
    database = Database.open(sqlite_url)
    for _ in range(3):
        await write(database)
    async with database.writing() as db:
        await unguard(db)
        await db.execute(text(f"UPDATE audit_entries SET {column} = {value} WHERE sequence = 2"))
    report = (await verified(database))["mine"]
    await database.close()
    assert (report.num_intact, report.bad_sequence) == (1, 2)


async def test_every_key_of_the_keyring_is_tried(database: Database) -> None:
    old, new = Keyring([bytes(range(32))]), Keyring([bytes(32), bytes(range(32))])
    for keyring in (old, old, new, old, new):  # two servers, of which one has the new key already
        await write(database, seal_key=keyring.keys(AUDIT_SEAL)[0])
    assert (await verified(database, new.keys(AUDIT_SEAL)))["mine"].is_intact
    report = (await verified(database, old.keys(AUDIT_SEAL)))["mine"]
    assert (report.num_intact, report.bad_sequence) == (2, 3)
    assert "secret keys" in report.problem


async def test_long_chain_is_read_a_part_at_a_time(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("embergate.gateway.audit.store.ENTRIES_AT_ONCE", 3)
    for length in (3, 4):
        while (await verified(database)).get("mine", ChainReport("mine", 0)).num_intact < length:
            await write(database)
        assert (await verified(database))["mine"] == ChainReport("mine", length)


async def test_many_writers_at_once_leave_one_unbroken_chain(database: Database) -> None:
    async def write_in_the_end(number: int) -> None:
        while True:
            with suppress(UnavailableError):  # a slow machine may have no connection left for a while
                return await write(database, payload={"number": number})

    await asyncio.gather(*(write_in_the_end(number) for number in range(50)))
    async with database.reading() as db:
        last = await db.scalar(select(func.max(ENTRIES.c.sequence)))
    assert last == 50
    assert (await verified(database))["mine"] == ChainReport("mine", 50)


async def test_entry_of_a_call_that_is_undone_leaves_no_gap(database: Database) -> None:
    await write(database)
    with pytest.raises(ZeroDivisionError):
        await write_and_fail(database)
    await write(database)
    assert (await verified(database))["mine"] == ChainReport("mine", 2)


async def write_and_fail(database: Database) -> None:
    async with database.writing() as db:
        await record(db, "mine", Event("CreateUser", now()), outcome=("OK", ""), seal_key=SEAL_KEYS[0])
        raise ZeroDivisionError


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(payload=st.dictionaries(st.text(), json_values, max_size=4))
async def test_whatever_a_request_holds_can_be_written_and_verified(
    database: Database, payload: dict[str, Any]
) -> None:
    await write(database, payload=payload)
    report = (await verified(database))["mine"]
    assert report.is_intact, report
