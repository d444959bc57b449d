"""`kill -9` of servers that do a batch job: every row is answered exactly once, and billed exactly once."""

from __future__ import annotations

import json
import random
import time
from pathlib import Path
from typing import Any, Final

import httpx2

from tests.e2e.server import Server, on_database

NUM_ROWS: Final = 40_000
NUM_KILLS: Final = 4
WORDS: Final = ("the", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog")
ACCOUNT: Final = "/v1/accounts/default"
JOB: Final = f"{ACCOUNT}/batchInferenceJobs/job"
DEADLINE_S: Final = 240.0
OPEN: Final = {f"JOB_STATE_{name}" for name in ("VALIDATING", "RUNNING", "WRITING_RESULTS")}


def rows() -> list[dict[str, Any]]:
    chance = random.Random(5)
    texts = (" ".join(chance.choices(WORDS, k=chance.randint(1, 12))) for _ in range(NUM_ROWS))
    return [{"custom_id": f"row-{index}", "body": {"input": text}} for index, text in enumerate(texts)]


def told(answer: httpx2.Response) -> Any:
    assert answer.status_code == 200, answer.text
    return answer.json()


def begin(server: Server, content: bytes) -> None:
    with server.client() as client:
        dataset = {"datasetId": "rows", "dataset": {"userUploaded": {}, "exampleCount": str(NUM_ROWS)}}
        told(client.post(f"{ACCOUNT}/datasets", json=dataset))
        told(client.post(f"{ACCOUNT}/datasets/rows:upload", files={"file": ("rows.jsonl", content)}))
        job = {"model": server.model(), "inputDatasetId": "rows", "outputDatasetId": "out"}
        told(client.post(f"{ACCOUNT}/batchInferenceJobs", params={"batchInferenceJobId": "job"}, json=job))


def state_of(server: Server) -> Any:
    with server.client() as client:
        return told(client.get(JOB))


def wait_until_done(server: Server, share: float) -> None:
    """Wait until so much of the job is done, or all of it."""
    deadline = time.monotonic() + DEADLINE_S
    while (job := state_of(server))["state"] in OPEN:
        if ((job["jobProgress"] or {}).get("totalProcessedRequests") or 0) >= share * NUM_ROWS:
            return
        assert time.monotonic() < deadline, job
        time.sleep(0.02)


def finished(server: Server) -> Any:
    deadline = time.monotonic() + DEADLINE_S
    while (job := state_of(server))["state"] in OPEN:
        assert time.monotonic() < deadline, job
        time.sleep(0.2)
    return job


def outputs(server: Server) -> dict[str, list[Any]]:
    with server.client() as client:
        urls = told(client.get(f"{ACCOUNT}/datasets/out:getDownloadEndpoint"))["filenameToSignedUrls"]
        contents = {name.rpartition("/")[2]: client.get(url).content for name, url in urls.items()}
    return {name: [json.loads(line) for line in content.splitlines()] for name, content in contents.items()}


def billed_tokens(server: Server) -> int:
    day = 86_400
    span = [time.strftime("%Y-%m-%dT00:00:00Z", time.gmtime(time.time() + days * day)) for days in (-1, 1)]
    with server.client() as client:
        found = told(client.get(f"{ACCOUNT}/billingUsage", params={"startTime": span[0], "endTime": span[1]}))
    return sum(int(cost["promptTokens"]) for cost in found["serverlessCosts"])


def test_every_row_is_answered_and_billed_once_whichever_server_is_killed(
    database_url: str, tmp_path: Path, tiny_model: str
) -> None:
    settings = on_database(database_url, models=tiny_model)
    given = rows()
    servers = [Server(tmp_path, **settings).__enter__().ready() for _ in range(2)]
    num_killed_at_work = 0
    try:
        begin(servers[0], b"".join(json.dumps(row).encode() + b"\n" for row in given))
        chance = random.Random(5)
        for turn, share in enumerate(sorted(chance.uniform(0, 0.5) for _ in range(NUM_KILLS))):
            victim = servers[turn % 2]
            wait_until_done(victim, share)
            num_killed_at_work += state_of(victim)["state"] in OPEN
            victim.process.kill()
            victim.process.wait()
            servers[turn % 2] = Server(tmp_path, **settings).__enter__().ready()
        job = finished(servers[0])
        assert job["state"] == "JOB_STATE_COMPLETED", job
        found = outputs(servers[0])
        answers = {row["custom_id"]: row["response"] for row in found["BIJOutputSet.jsonl"]}
        assert found["error-data"] == []
        assert len(found["BIJOutputSet.jsonl"]) == len(answers) == NUM_ROWS
        assert list(answers) == [row["custom_id"] for row in given]
        num_tokens = sum(answer["usage"]["prompt_tokens"] for answer in answers.values())
        assert job["jobProgress"]["inputTokens"] == billed_tokens(servers[0]) == num_tokens
        assert num_killed_at_work > 0, "the job was done before a server was killed"
    finally:
        for server in servers:
            server.stop()
