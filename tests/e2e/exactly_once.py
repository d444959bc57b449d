"""Load on a server that is killed again and again: what was answered is billed once, and what was not is not, but for what was
under way at a kill.

`python -m tests.e2e.exactly_once --requests 20000 --clients 32 --kills 10 --database sqlite|postgresql`
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import itertools
import random
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
from sqlalchemy import select

from embergate.storage.database import Database
from embergate.storage.tables.usage import UsageRecordRow
from tests.databases import PostgresqlServer, migrated_sqlite
from tests.e2e.server import MODEL, Server
from tests.sums import Sums, sums_of


@dataclass
class Load:
    """What the clients have seen so far."""

    numbers: Iterator[int]
    tokens: dict[str, int] = field(default_factory=dict)  # of answers that were received, by request id
    num_lost: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self, server: Server) -> None:
        """Ask for one short text after the other until the server is gone, or enough was asked."""
        with server.client() as client:
            for number in self.numbers:
                body = {"model": MODEL, "input": f"text number {number}"}
                try:
                    answer = client.post("/v1/embeddings", json=body)
                except httpx2.TransportError:
                    with self.lock:
                        self.num_lost += 1
                    return
                assert answer.status_code == 200, answer.text
                with self.lock:
                    self.tokens[answer.headers["x-request-id"]] = answer.json()["usage"]["total_tokens"]


@dataclass(frozen=True)
class Outcome:
    """What was counted at the end."""

    num_answered: int
    num_lost: int
    sums: Sums
    bill_nanos: int


def settings_of(database_url: str) -> dict[str, str]:
    secret = base64.b64encode(bytes(range(32))).decode()
    return {"database_url": database_url, "secret_keys": secret, "self_check": "false"}


def run(database_url: str, data_dir: Path, *, num_requests: int, num_clients: int, num_kills: int) -> Outcome:
    """Run the load, kill the server at random points, and check the books.

    Raises: AssertionError if an answer was not billed, was billed twice, or the sums differ.
    """
    generator = random.Random(num_requests)
    # Itertools' counter is handed out under the interpreter's lock: no number twice.
    load = Load(iter(itertools.islice(itertools.count(), num_requests)))
    kills = sorted(generator.randrange(num_requests // 10, num_requests * 9 // 10) for _ in range(num_kills))
    for after in [*kills, None]:
        with Server(data_dir, **settings_of(database_url)) as server:
            server.ready()
            threads = [threading.Thread(target=load.run, args=(server,)) for _ in range(num_clients)]
            for thread in threads:
                thread.start()
            if after is not None:
                _kill(server, load, after)
            for thread in threads:
                thread.join()
            if after is not None:
                server.process.wait()
                continue
            with server.client() as client:
                bill_nanos = _bill(client)
    return asyncio.run(_checked(database_url, load, bill_nanos))


def _kill(server: Server, load: Load, after: int) -> None:
    """Kill the server in the middle of its work, once so many answers were received."""
    while len(load.tokens) < after:
        threading.Event().wait(0.002)
    server.process.kill()


def _bill(client: httpx2.Client) -> int:
    now = datetime.now(UTC)
    params = {"startTime": (now - timedelta(days=2)).isoformat(), "endTime": (now + timedelta(days=1)).isoformat()}
    answer = client.get("/v1/accounts/default/billing/summary", params=params)
    assert answer.status_code == 200, answer.text
    costs: list[dict[str, Any]] = [line["totalCost"] for line in answer.json()["lineItems"]]
    return sum(int(cost["units"]) * 10**9 + cost["nanos"] for cost in costs)


async def _checked(database_url: str, load: Load, bill_nanos: int) -> Outcome:
    database = Database.open(database_url)
    async with database.reading() as db:
        rows = (await db.execute(select(UsageRecordRow.request_id, UsageRecordRow.prompt_tokens))).all()
    sums = await sums_of(database)
    await database.close()
    billed = {row.request_id: row.prompt_tokens for row in rows}
    assert len(billed) == len(rows), "a request was billed twice"
    assert load.tokens.items() <= billed.items(), "an answer was not billed, or not what it said"
    num_unanswered = len(billed) - len(load.tokens)
    assert num_unanswered <= load.num_lost, "something was billed that was neither answered nor under way at a kill"
    assert bill_nanos == sums.cost_nanos
    return Outcome(len(load.tokens), load.num_lost, sums, bill_nanos)


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
