"""`kill -9` of two servers that do a batch job, again and again: every row is answered once, billed once, and as a request is.

`python -m tests.e2e.batch_kill --rows 200000 --kills 10 --database sqlite|postgresql` kills each of them ten times.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx2
import numpy as np

from tests.databases import PostgresqlServer, migrated_sqlite
from tests.e2e.server import MODEL, Server, on_database

WORDS: Final = ("the", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog")
ACCOUNT: Final = "/v1/accounts/default"
JOB: Final = f"{ACCOUNT}/batchInferenceJobs/job"
DEADLINE_S: Final = 1800.0
OPEN: Final = {f"JOB_STATE_{name}" for name in ("VALIDATING", "RUNNING", "WRITING_RESULTS")}
# Kills come before so much is done, so that there is something to kill.
LAST_KILL: Final = 0.95
# Of the rows, every so many-th is asked for again as a request.
COMPARED: Final = 20
REQUEST_ROWS: Final = 500
TOLERANCE: Final = 1e-6


@dataclass(frozen=True)
class Outcome:
    """What was counted at the end; all of it agrees. `max_difference` is the largest between a job's vectors and requests'."""

    num_rows: int
    num_tokens: int
    num_kills: int
    num_compared: int
    max_difference: float
    seconds: float


def texts(num_rows: int) -> Iterator[str]:
    chance = random.Random(5)
    for _ in range(num_rows):
        yield " ".join(chance.choices(WORDS, k=chance.randint(1, 12)))


def told(answer: httpx2.Response) -> Any:
    assert answer.status_code == 200, answer.text
    return answer.json()


def begin(server: Server, num_rows: int) -> None:
    """Upload the rows and have them done."""
    rows = ({"custom_id": f"row-{index}", "body": {"input": text}} for index, text in enumerate(texts(num_rows)))
    content = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
    with server.client() as client:
        dataset = {"datasetId": "rows", "dataset": {"userUploaded": {}, "exampleCount": str(num_rows)}}
        told(client.post(f"{ACCOUNT}/datasets", json=dataset))
        told(client.post(f"{ACCOUNT}/datasets/rows:upload", files={"file": ("rows.jsonl", content)}))
        job = {"model": server.model(), "inputDatasetId": "rows", "outputDatasetId": "out"}
        told(client.post(f"{ACCOUNT}/batchInferenceJobs", params={"batchInferenceJobId": "job"}, json=job))


def state_of(server: Server) -> Any:
    with server.client() as client:
        return told(client.get(JOB))


def wait_until_done(server: Server, num_rows: int) -> Any:
    """Wait until so many rows are done, or the job has ended; return it."""
    deadline = time.monotonic() + DEADLINE_S
    while (job := state_of(server))["state"] in OPEN:
        if ((job["jobProgress"] or {}).get("totalProcessedRequests") or 0) >= num_rows:
            break
        assert time.monotonic() < deadline, job
        time.sleep(0.02)
    return job


def finished(server: Server) -> Any:
    """Wait until the job has ended; return it."""
    deadline = time.monotonic() + DEADLINE_S
    while (job := state_of(server))["state"] in OPEN:
        assert time.monotonic() < deadline, job
        time.sleep(0.2)
    return job


def billed_tokens(server: Server) -> int:
    """Return what the account was billed for."""
    day = 86_400
    span = [time.strftime("%Y-%m-%dT00:00:00Z", time.gmtime(time.time() + days * day)) for days in (-1, 1)]
    with server.client() as client:
        found = told(client.get(f"{ACCOUNT}/billingUsage", params={"startTime": span[0], "endTime": span[1]}))
    return sum(int(cost["promptTokens"]) for cost in found["serverlessCosts"])


def output_lines(server: Server, name: str) -> Iterator[Any]:
    """Yield the rows of a file of the output."""
    with server.client() as client:
        urls = told(client.get(f"{ACCOUNT}/datasets/out:getDownloadEndpoint"))["filenameToSignedUrls"]
        with client.stream("GET", urls[f"dataset/out/{name}"]) as answer:
            assert answer.status_code == 200
            for line in answer.iter_lines():
                yield json.loads(line)


def check_vectors(server: Server, vectors: dict[int, list[float]], num_rows: int) -> float:
    """Return the largest difference to what requests answer. Raises: AssertionError if it is too large."""
    given = dict(enumerate(texts(num_rows)))
    numbers, largest = list(vectors), 0.0
    with server.client() as client:
        for start in range(0, len(numbers), REQUEST_ROWS):
            some = numbers[start : start + REQUEST_ROWS]
            body = {"model": server.model(), "input": [given[number] for number in some]}
            found = told(client.post("/v1/embeddings", json=body))["data"]
            difference = np.abs(
                np.array([vectors[number] for number in some]) - np.array([one["embedding"] for one in found])
            )
            largest = max(largest, float(difference.max()))
    assert largest <= TOLERANCE, f"a job's vector differs by {largest} from the request's"
    return largest


def run(database_url: str, data_dir: Path, *, num_rows: int, num_kills: int, model: str = MODEL) -> Outcome:
    """Do a job on two servers, each of which is killed so many times, and check what came of it. Raises: AssertionError."""
    settings = on_database(database_url, models=model)
    began_at_s, chance, num_killed = time.monotonic(), random.Random(num_rows), 0
    with ExitStack() as stack:
        servers: dict[int, Server] = {}

        def start(place: int) -> None:
            servers[place] = Server(data_dir, **settings)
            stack.callback(servers[place].stop)
            servers[place].__enter__().ready()

        for place in range(2):
            start(place)
        begin(servers[0], num_rows)
        for turn, share in enumerate(sorted(chance.uniform(0, LAST_KILL) for _ in range(2 * num_kills))):
            victim = servers[turn % 2]
            num_killed += wait_until_done(victim, int(share * num_rows))["state"] in OPEN
            victim.process.kill()
            victim.process.wait()
            start(turn % 2)
        job = finished(servers[0])
        num_tokens, vectors = check_output(servers[0], job, num_rows)
        assert num_killed > 0, "the job was done before a server was killed"
        largest = check_vectors(servers[0], vectors, num_rows)
    return Outcome(num_rows, num_tokens, num_killed, len(vectors), largest, round(time.monotonic() - began_at_s, 1))


def check_output(server: Server, job: Any, num_rows: int) -> tuple[int, dict[int, list[float]]]:
    """Check that each row was answered once, and billed once; return the tokens, and some vectors by their rows' numbers.

    Raises: AssertionError.
    """
    assert job["state"] == "JOB_STATE_COMPLETED", job
    assert list(output_lines(server, "error-data")) == []
    num_tokens, num_found, vectors = 0, 0, {}
    for number, row in enumerate(output_lines(server, "BIJOutputSet.jsonl")):
        assert row["custom_id"] == f"row-{number}", "a row is missing, or there twice"
        num_tokens += row["response"]["usage"]["prompt_tokens"]
        num_found += 1
        if number % COMPARED == 0:
            vectors[number] = row["response"]["data"][0]["embedding"]
    assert num_found == num_rows, "rows are missing"
    assert job["jobProgress"]["inputTokens"] == billed_tokens(server) == num_tokens, "the bill is not what was done"
    return num_tokens, vectors


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--kills", type=int, default=10, help="of each of the two servers")
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        if asked.database == "sqlite":
            outcome = run(f"sqlite:///{migrated_sqlite(path)}", path, num_rows=asked.rows, num_kills=asked.kills)
        else:
            server = PostgresqlServer(is_durable=True)
            try:
                outcome = run(server.create(), path, num_rows=asked.rows, num_kills=asked.kills)
            finally:
                server.stop()
    sys.stdout.write(f"{asked.database}: {outcome}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
