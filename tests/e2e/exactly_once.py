"""Load on a server that is killed again and again: what was answered is billed once, and what was not is not, but for what was
under way at a kill. Half of the calls have an `Idempotency-Key`, and are made again where no answer came: they are billed
once, all of them, whether the kill came before the charge or after it.

`python -m tests.e2e.exactly_once --requests 20000 --clients 32 --kills 10 --database sqlite|postgresql`
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
from sqlalchemy import select

from embergate.storage.database import Database
from embergate.storage.tables.usage import UsageRecordRow
from tests.databases import PostgresqlServer, migrated_sqlite
from tests.e2e.clients import Clients
from tests.e2e.server import Server, on_database
from tests.sums import Sums, sums_of


@dataclass
class Load:
    """What the clients have seen so far."""

    numbers: Iterator[int]
    # The tokens of answers that were received: by request id, and of calls that have a key by that.
    tokens: dict[str, int] = field(default_factory=dict)
    tokens_by_key: dict[str, int] = field(default_factory=dict)
    # The requests that answered calls with a key.
    answered_by: set[str] = field(default_factory=set)
    # Without an answer when a server was killed: those without a key, and those to make again.
    num_lost: int = 0
    num_repeated: int = 0
    again: list[int] = field(default_factory=list)
    model: str = ""
    is_killed: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)

    def has_answered(self, num: int) -> bool:
        return self.num_answered >= num

    @property
    def num_answered(self) -> int:
        return len(self.tokens) + len(self.tokens_by_key)

    def run(self, server: Server) -> None:
        """Ask for one short text after the other until the server is killed, or enough was asked."""
        with server.client() as client:
            while (number := self._next()) is not None:
                body = {"model": self.model, "input": f"text number {number}"}
                key = f"call-{number}" if number % 2 else None
                headers = {"idempotency-key": key} if key else {}
                try:
                    answer = client.post("/v1/embeddings", json=body, headers=headers)
                except httpx2.TransportError:
                    self._lose(number, key)
                    return
                assert answer.status_code == 200, answer.text
                self._receive(key, answer.headers["x-request-id"], answer.json()["usage"]["total_tokens"])

    def _next(self) -> int | None:
        with self.lock:
            return self.again.pop() if self.again else next(self.numbers, None)

    def _receive(self, key: str | None, request_id: str, num_tokens: int) -> None:
        with self.lock:
            if key is None:
                self.tokens[request_id] = num_tokens
            else:
                self.tokens_by_key[key] = num_tokens
                self.answered_by.add(request_id)

    def _lose(self, number: int, key: str | None) -> None:
        with self.lock:
            assert self.is_killed, "a server that nobody had killed gave no answer"
            if key is None:
                self.num_lost += 1
            else:
                self.num_repeated += 1
                self.again.append(number)


@dataclass(frozen=True)
class Bill:
    """What the API says that an account used and has to pay."""

    num_tokens: int
    cost_nanos: int


@dataclass(frozen=True)
class Outcome:
    """What was counted at the end. All ways to count agree; `num_charged_at_a_kill` calls were not answered then.

    Of these those with a key were answered when they were made again, for the same money.
    """

    num_answered: int
    num_lost: int
    num_repeated: int
    num_charged_at_a_kill: int
    sums: Sums


def run(
    database_url: str, data_dir: Path, *, num_requests: int, num_clients: int, num_kills: int, **settings: str
) -> Outcome:
    """Run the load, kill the server at random points, and check the books.

    Raises: AssertionError if an answer was not billed, was billed twice, or the sums differ.
    """
    generator = random.Random(num_requests)
    load = Load(iter(range(num_requests)))
    kills = sorted(generator.randrange(num_requests // 10, num_requests * 9 // 10) for _ in range(num_kills))
    for after in kills:
        with started(database_url, data_dir, load, settings) as server:
            clients = Clients([partial(load.run, server)] * num_clients)
            clients.wait_until(partial(load.has_answered, after))
            load.is_killed = True
            server.process.kill()
            clients.join()
    with started(database_url, data_dir, load, settings) as server:
        Clients([partial(load.run, server)] * num_clients).join()
        with server.client() as client:
            bill = bill_of(client)
    assert load.num_answered + load.num_lost == num_requests
    return asyncio.run(checked(database_url, load, bill))


@contextmanager
def started(database_url: str, data_dir: Path, load: Load, settings: dict[str, str]) -> Iterator[Server]:
    with Server(data_dir, **on_database(database_url, **settings)) as server:
        load.model = server.ready().model()
        load.is_killed = False
        yield server


def bill_of(client: httpx2.Client) -> Bill:
    """Ask for the bill and for what was used, which must agree."""
    now = datetime.now(UTC)
    params = {"startTime": (now - timedelta(days=2)).isoformat(), "endTime": (now + timedelta(days=1)).isoformat()}
    bill, usage = (
        client.get(f"/v1/accounts/default/{path}", params=params) for path in ("billing/summary", "billingUsage")
    )
    assert (bill.status_code, usage.status_code) == (200, 200), (bill.text, usage.text)
    lines: list[dict[str, Any]] = bill.json()["lineItems"]
    num_tokens = sum(round(line["quantity"] * 1_000_000) for line in lines)
    used: list[dict[str, Any]] = usage.json()["serverlessCosts"]
    assert num_tokens == sum(int(row["promptTokens"]) for row in used), "bill and usage differ"
    costs = [line["totalCost"] for line in lines]
    return Bill(num_tokens, sum(int(cost["units"]) * 10**9 + cost["nanos"] for cost in costs))


async def checked(database_url: str, load: Load, bill: Bill) -> Outcome:
    """Compare what clients were answered with what is in the database. Raises: AssertionError."""
    database = Database.open(database_url)
    try:
        async with database.reading() as db:
            columns = (UsageRecordRow.request_id, UsageRecordRow.idempotency_key, UsageRecordRow.prompt_tokens)
            rows = (await db.execute(select(*columns))).all()
        sums = await sums_of(database)
    finally:
        await database.close()
    assert len({row.request_id for row in rows}) == len(rows), "a request was billed twice"
    billed = {row.request_id: row.prompt_tokens for row in rows if row.idempotency_key is None}
    assert load.tokens.items() <= billed.items(), "an answer was not billed, or not what it said"
    num_unanswered = len(billed) - len(load.tokens)
    assert num_unanswered <= load.num_lost, "something was billed that was neither answered nor under way at a kill"
    named = [row for row in rows if row.idempotency_key is not None]
    assert len({row.idempotency_key for row in named}) == len(named), "a call with a key was billed twice"
    billed_by_key = {row.idempotency_key: row.prompt_tokens for row in named}
    assert billed_by_key == load.tokens_by_key, "calls with a key that were answered are not those that are billed"
    num_before_their_answer = sum(row.request_id not in load.answered_by for row in named)
    assert num_before_their_answer <= load.num_repeated, (
        "a call with a key was answered by a request that was not billed"
    )
    assert bill == Bill(sums.num_tokens, sums.cost_nanos), "the bill is not what the records cost"
    num_charged = num_unanswered + num_before_their_answer
    return Outcome(load.num_answered, load.num_lost, load.num_repeated, num_charged, sums)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    arguments = parser.parse_args()
    amounts = {
        "num_requests": arguments.requests,
        "num_clients": arguments.clients,
        "num_kills": arguments.kills,
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        if arguments.database == "sqlite":
            outcome = run(f"sqlite:///{migrated_sqlite(path)}", path, **amounts)
        else:
            server = PostgresqlServer(is_durable=True)
            try:
                outcome = run(server.create(), path, **amounts)
            finally:
                server.stop()
    sys.stdout.write(f"{arguments.database}: {outcome}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
