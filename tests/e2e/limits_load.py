"""Ten times as many calls as a limit lets in, for minutes: how many are answered in any minute, as their clients see it.

`python -m tests.e2e.limits_load --minutes 3 --quota 600 --rate 100 --clients 32 [--servers 2 --redis]`

A client cannot know when its call was let in or refused, only that it was between sending it and receiving its answer. Two
things can be proved all the same, however slow the machine is:

- Calls that were sent and answered within one minute were let in within it: they are never more than the quota.
- Calls that may have been let in in the minute, and the tick by which a charge may count longer, before a call was refused are
  never fewer than the quota: no call is refused without need.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

import httpx2

from embergate.web.limits import TICK_MS, WINDOW_S
from tests.databases import PostgresqlServer, migrated_sqlite
from tests.e2e.clients import Clients
from tests.e2e.server import Server, on_database
from tests.e2e.test_operator import Operator
from tests.random_models import cases_of, write_model
from tests.redis_server import RedisServer

QUOTA: Final = "serverless-requests-per-minute"


@dataclass(frozen=True)
class Call:
    """When a call was sent, and when its answer was there; seconds of one clock."""

    sent_s: float
    received_s: float


@dataclass
class Load:
    """Asks the servers in turn, so often a second, and remembers what came of it."""

    servers: Sequence[Server]
    rate: float
    num_calls: int
    quota: int
    answered: list[Call] = field(default_factory=list)
    refused: list[Call] = field(default_factory=list)
    # How many calls each server let in.
    by_server: Counter[int] = field(default_factory=Counter)

    def run(self, num_clients: int) -> None:
        """Make the calls. Raises: AssertionError if an answer is neither 200 nor a 429 that says which limit it is."""
        self._turns = iter(range(self.num_calls))
        self._lock = threading.Lock()
        self._model = self.servers[0].model()
        with ExitStack() as stack:
            clients = [stack.enter_context(server.client()) for server in self.servers]
            self._started_s = time.monotonic()
            Clients([partial(self._ask, clients)] * num_clients).join()

    def _ask(self, clients: Sequence[httpx2.Client]) -> None:
        while (turn := self._next()) is not None:
            time.sleep(max(0.0, self._started_s + turn / self.rate - time.monotonic()))
            server = turn % len(clients)
            sent_s = time.monotonic()
            answer = clients[server].post("/v1/embeddings", json={"model": self._model, "input": "the fox"})
            call = Call(sent_s, time.monotonic())
            if answer.status_code != 200:
                check_refusal(answer, self.quota)
            with self._lock:
                if answer.status_code == 200:
                    self.answered.append(call)
                    self.by_server[server] += 1
                else:
                    self.refused.append(call)

    def _next(self) -> int | None:
        with self._lock:
            return next(self._turns, None)


def check_refusal(answer: httpx2.Response, quota: int) -> None:
    """Check that an answer is a 429 that says which limit is reached, and when to come again."""
    assert answer.status_code == 429, answer.text
    assert answer.json()["error"]["code"] == "RATE_LIMIT_EXCEEDED", answer.text
    assert f"the {quota} requests a minute that the quota {QUOTA} gives the account" in answer.text
    assert 1 <= int(answer.headers["retry-after"]) <= WINDOW_S + 1
    assert answer.headers["x-ratelimit-over-limit"] == "yes"


@dataclass(frozen=True)
class Minutes:
    """How many calls were let in within any minute, and how many may have been in the time before any call was refused."""

    most_for_certain: int
    # Not a proof, but what an operator sees who counts answers.
    most_by_answers: int
    fewest_before_a_refusal: int
    # Of a minute without the tick.
    fewest_in_the_minute_before: int


def minutes_of(answered: Sequence[Call], refused: Sequence[Call]) -> Minutes:
    """Count calls in minutes, wherever they begin; counts change only where a call begins or ends."""
    sent, received = sorted(one.sent_s for one in answered), sorted(one.received_s for one in answered)
    within = [
        sum(one.sent_s <= other.sent_s and other.received_s < one.sent_s + WINDOW_S for other in answered)
        for one in answered
    ]
    by_answers = [bisect_left(received, at + WINDOW_S) - bisect_left(received, at) for at in received]

    def fewest_before(length_s: float) -> int:
        # All that were sent by then, but those that were answered too early.
        return min(bisect_right(sent, one.received_s) - bisect_left(received, one.sent_s - length_s) for one in refused)

    return Minutes(max(within), max(by_answers), fewest_before(WINDOW_S + TICK_MS / 1000), fewest_before(WINDOW_S))


@contextmanager
def limited_servers(
    database_url: str, folder: Path, *, quota: int, num_servers: int, **settings: str
) -> Iterator[list[Server]]:
    """Start servers for an account with a quota of requests a minute."""
    settings = on_database(database_url, **settings)
    operator = Operator.of(folder, **settings)
    key = operator.json("accounts", "create", "acme", "--email", "a@acme.example")["apiKey"]["key"]
    operator.run("quotas", "set", "acme", QUOTA, "--value", str(quota), "--max", str(quota))
    with ExitStack() as stack:
        servers = [stack.enter_context(Server(folder, key=None, **settings)) for _ in range(num_servers)]
        for server in servers:
            server.ready().key = key
        yield servers


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--quota", type=int, default=600)
    parser.add_argument("--rate", type=float, default=100.0, help="calls a second")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--servers", type=int, default=1)
    parser.add_argument("--redis", action="store_true", help="servers count together")
    arguments = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        write_model(cases_of("model2vec")[0], folder / "tiny", 0)
        settings = {"models": f"{folder / 'tiny'}/"}
        if arguments.redis:
            settings["redis_url"] = stack.enter_context(RedisServer()).url
        if arguments.servers == 1:
            url = f"sqlite:///{migrated_sqlite(folder)}"
        else:
            postgresql = PostgresqlServer(is_durable=True)
            stack.callback(postgresql.stop)
            url = postgresql.create()
        servers = stack.enter_context(
            limited_servers(url, folder, quota=arguments.quota, num_servers=arguments.servers, **settings)
        )
        load = Load(servers, arguments.rate, round(arguments.minutes * 60 * arguments.rate), arguments.quota)
        started_s = time.monotonic()
        load.run(arguments.clients)
        ended_s = time.monotonic()
    assert load.refused, "no call was refused"
    minutes = minutes_of(load.answered, load.refused)
    latencies_ms = sorted((one.received_s - one.sent_s) * 1000 for one in load.answered)
    sys.stdout.write(
        f"{arguments.servers} servers, {load.num_calls / (ended_s - started_s):.1f} calls a second: "
        f"{len(load.answered)} answered {dict(load.by_server)}, {len(load.refused)} refused\n{minutes}\n"
        f"latency of answers: median {latencies_ms[len(latencies_ms) // 2]:.1f} ms, most {latencies_ms[-1]:.1f} ms\n"
    )
    is_kept = minutes.most_for_certain <= arguments.quota <= minutes.fewest_before_a_refusal
    sys.stdout.write("the limit held\n" if is_kept else "the limit did NOT hold\n")
    return 0 if is_kept else 1


if __name__ == "__main__":
    sys.exit(main())
