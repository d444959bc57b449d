"""Credit over HTTP: it pays for exactly as many calls as it is worth, whoever comes at the same time."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from contextlib import ExitStack
from functools import partial
from itertools import accumulate, cycle
from pathlib import Path
from typing import Final

import httpx2
import pytest
from sqlalchemy import select

from embergate.gateway.credits.ledger import credit_of
from embergate.storage.database import Database
from embergate.storage.tables.credits import PostingRow
from tests.e2e.clients import Clients
from tests.e2e.server import Server, on_database
from tests.e2e.test_operator import Operator
from tests.sums import Sums, sums_of

NUM_PAID: Final = 1000
NUM_CLIENTS: Final = 64
NUM_CALLS_OF_A_CLIENT: Final = 22
TEXT: Final = "the same text each time"
LOCK: Final = threading.Lock()


@pytest.mark.parametrize(
    ("database_url", "num_servers"),
    [("sqlite", 1), ("postgresql", 1), ("postgresql", 2)],
    indirect=["database_url"],
)
def test_credit_for_a_thousand_calls_pays_for_a_thousand(
    database_url: str, num_servers: int, tmp_path: Path, tiny_model: str
) -> None:
    settings = on_database(database_url, models=tiny_model)
    operator = Operator.of(tmp_path, **settings)
    key = operator.json("accounts", "create", "acme", "--email", "a@acme.example", "--prepaid")["apiKey"]["key"]
    with ExitStack() as stack:
        servers = [stack.enter_context(Server(tmp_path, key=None, **settings)) for _ in range(num_servers)]
        for server in servers:
            server.ready().key = key
        cost_nanos, num_tokens = price_of_a_call(servers[0])
        give(operator, servers[0], NUM_PAID * cost_nanos)
        answers = [Counter[int]() for _ in servers]
        body = {"model": servers[0].model(), "input": TEXT}
        asked = [partial(ask, stack.enter_context(server.client()), body) for server in servers]
        turns = zip(range(NUM_CLIENTS), cycle(zip(asked, answers, strict=True)), strict=False)
        Clients(partial(asks, into) for _, (asks, into) in turns).join()
    assert sum(answers, Counter()) == {200: NUM_PAID, 412: NUM_CLIENTS * NUM_CALLS_OF_A_CLIENT - NUM_PAID}
    assert all(of_server[200] for of_server in answers)  # one of two is not asked for so many
    assert operator.json("accounts", "show", "acme")["suspendState"] == "CREDIT_DEPLETED"
    balances, sums = asyncio.run(balances_and_sums(database_url))
    assert min(balances) == balances[-1] == 0
    assert sums == Sums(NUM_PAID, NUM_PAID * num_tokens, NUM_PAID * cost_nanos)


def price_of_a_call(server: Server) -> tuple[int, int]:
    """Return what a call costs, in nanos, and its tokens, as a dry run tells it."""
    with server.client(**{"x-embergate-dry-run": "true"}) as client:
        told = client.post("/v1/embeddings", json={"model": server.model(), "input": TEXT}).json()
    return told["cost_nanos"], told["prompt_tokens"]


def give(operator: Operator, server: Server, credit_nanos: int) -> None:
    """Give the account credit, by a server that is not to hear of it a second later."""
    amount = f"{credit_nanos // 10**9}.{credit_nanos % 10**9:09}"
    operator.run("credit-codes", "create", "--code", "EXACT", "--amount", amount)
    with server.client() as client:
        redeemed = client.post("/v1/creditCodes:redeem", json={"code": "EXACT", "name": "accounts/acme"})
    assert redeemed.status_code == 200, redeemed.text


def ask(client: httpx2.Client, body: dict[str, str], answers: Counter[int]) -> None:
    """Make one client's calls, and count how they are answered."""
    for _ in range(NUM_CALLS_OF_A_CLIENT):
        answer = client.post("/v1/embeddings", json=body)
        if answer.status_code != 200:
            assert answer.json()["error"]["code"] == "PRECONDITION_FAILED", answer.text
            assert "CREDIT_DEPLETED" in answer.text
        with LOCK:
            answers[answer.status_code] += 1


async def balances_and_sums(database_url: str) -> tuple[list[int], Sums]:
    """Return what the account's credit was after each posting, and the sums, which must agree."""
    database = Database.open(database_url)
    try:
        async with database.reading() as db:
            # A posting's id is given while the account is locked: their order is the order in which they were made.
            of_credit = select(PostingRow.amount_nanos).where(PostingRow.ledger_account == credit_of("acme"))
            amounts = (await db.scalars(of_credit.order_by(PostingRow.id))).all()
        return list(accumulate(amounts)), await sums_of(database)
    finally:
        await database.close()
