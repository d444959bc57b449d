"""A small run of what `tests/e2e/exactly_once.py` does with 20,000 requests and ten kills; and that its checks can fail."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from embergate.gateway.usage.standing import Billing
from embergate.storage.database import Database
from tests.e2e.clients import Clients
from tests.e2e.exactly_once import Bill, Load, checked, run
from tests.integration.gateway.platform import Platform, on_sqlite_only
from tests.integration.gateway.test_metering import COST_NANOS, TOKENS, call, demand, set_up
from tests.sums import Sums


@pytest.fixture
async def platform(database: Database) -> AsyncIterator[Platform]:
    made = Platform(database)
    yield made
    await made.close()


def test_every_answer_is_billed_once_whenever_the_server_is_killed(
    database_url: str, tmp_path: Path, tiny_model: str
) -> None:
    outcome = run(database_url, tmp_path, num_requests=600, num_clients=8, num_kills=2, models=tiny_model)
    assert outcome.num_answered + outcome.num_lost == 600
    assert outcome.num_lost + outcome.num_repeated > 0, "no call was under way when a server was killed"
    assert outcome.sums.cost_nanos > 0


def seen() -> Load:
    """Return what clients saw who made one call without a key and one with it."""
    tokens, tokens_by_key = {"request-0": TOKENS}, {"call-1": TOKENS}
    return Load(iter(()), tokens=tokens, tokens_by_key=tokens_by_key, answered_by={"request-1"})


async def make_the_calls(platform: Platform) -> None:
    await set_up(platform, credit_nanos=COST_NANOS + 1, billing=Billing.POSTPAID)  # some of each way to pay
    assert await call(platform, demand(0)) == "answered"
    assert await call(platform, demand(1, idempotency_key="call-1", request_digest=b"a" * 32)) == "answered"


BILL = Bill(2 * TOKENS, 2 * COST_NANOS)
COLUMNS = "account_id, dimensions_id, time, user_id, num_inputs, prompt_tokens, cached_tokens, cost_nanos"
DOUBLED = f"INSERT INTO usage_records ({COLUMNS}, request_id) SELECT {COLUMNS}, "
# What may be wrong in the database, and the words of the check that finds it.
WRONG = {
    "a record is gone": ("DELETE FROM usage_records WHERE request_id = 'request-0'", "records, and sums"),
    "a record is there twice": (f"{DOUBLED} request_id FROM usage_records LIMIT 1", "records, and sums"),
    "a record is of nobody": (f"{DOUBLED} 'other' FROM usage_records LIMIT 1", "records, and sums"),
    "a record costs less": ("UPDATE usage_records SET cost_nanos = cost_nanos - 1 WHERE id = 1", "records, and sums"),
    "a quarter is less": ("UPDATE usage_slots SET prompt_tokens = 1 WHERE quarters = 1", "by 1 quarters"),
    "an hour is more": ("UPDATE usage_slots SET num_requests = 9 WHERE quarters = 4", "by 4 quarters"),
    "a day is gone": ("DELETE FROM usage_slots WHERE quarters = 96", "by 96 quarters"),
    "a price is another": ("UPDATE usage_dimensions SET price_nanos = 2", "the bill of acme"),
    "a balance is another": (
        "UPDATE balances SET amount_nanos = 1 WHERE ledger_account LIKE '%/spend/%'",
        "the ledger's spend",
    ),
    "credit is another": ("UPDATE balances SET amount_nanos = 1 WHERE ledger_account LIKE '%/credit'", "Discrepancy"),
}
# What clients may have seen, or the API said, otherwise than the database.
OTHERWISE = {
    "an answer that was not billed": (replace(seen(), tokens={"request-9": TOKENS}), BILL, "was not billed"),
    "an answer of more tokens": (replace(seen(), tokens={"request-0": TOKENS + 1}), BILL, "not what it said"),
    "an answer that nobody got": (replace(seen(), tokens={}), BILL, "neither answered nor under way"),
    "a key that was not billed": (replace(seen(), tokens_by_key={"call-3": TOKENS}), BILL, "calls with a key"),
    "a key that nobody used": (replace(seen(), tokens_by_key={}), BILL, "calls with a key"),
    "a key that another request had": (replace(seen(), answered_by=set()), BILL, "a request that was not billed"),
    "a bill of more": (seen(), replace(BILL, cost_nanos=BILL.cost_nanos + 1), "the bill is not"),
    "a bill of other tokens": (seen(), replace(BILL, num_tokens=1), "the bill is not"),
}


@on_sqlite_only
async def test_books_that_are_right_pass(platform: Platform, database_url: str) -> None:
    await make_the_calls(platform)
    outcome = await checked(database_url, seen(), BILL)
    assert (outcome.num_answered, outcome.num_charged_at_a_kill) == (2, 0)
    assert outcome.sums == Sums(2, 2 * TOKENS, 2 * COST_NANOS)


@on_sqlite_only
@pytest.mark.parametrize("wrong", WRONG)
async def test_books_that_are_wrong_are_found(platform: Platform, database_url: str, wrong: str) -> None:
    await make_the_calls(platform)
    statement, words = WRONG[wrong]
    with closing(sqlite3.connect(database_url.removeprefix("sqlite:///"))) as connection, connection:
        assert connection.execute(statement).rowcount > 0
    with pytest.raises(AssertionError, match=words):
        await checked(database_url, seen(), BILL)


@on_sqlite_only
@pytest.mark.parametrize("otherwise", OTHERWISE)
async def test_clients_who_saw_something_else_are_heard(platform: Platform, database_url: str, otherwise: str) -> None:
    await make_the_calls(platform)
    load, bill, words = OTHERWISE[otherwise]
    with pytest.raises(AssertionError, match=words):
        await checked(database_url, load, bill)


def test_error_of_one_client_fails_the_run() -> None:
    def fail() -> None:
        raise AssertionError("a client's own")

    for wait in (Clients.join, lambda clients: clients.wait_until(lambda: False)):
        with pytest.raises(AssertionError, match="a client's own"):
            wait(Clients([fail, lambda: None]))


def test_clients_that_end_too_early_are_not_waited_for() -> None:
    with pytest.raises(AssertionError, match="ended too early"):
        Clients([lambda: None]).wait_until(lambda: False)
