"""Batch jobs beside the bare engine, what they cost interactive queries, and the memory that they take.

`throughput`: a job of many rows on a server as it is shipped, and the engine alone on the same texts, before and after it; and
one short query again and again, on the idle server and while the job runs. `memory`: the peak of a server that does a small
job, and of one that does a job a hundred times as large, on a tiny model, so that rows and not vectors are what counts.
Exits 1 if a bound is missed.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from engines import ROOT, machine
from gateway import MODEL, QUERY, Engine
from worker import texts_of

sys.path.insert(0, str(ROOT))
from tests.e2e.server import Server
from tests.random_models import cases_of, write_model

ACCOUNT = "/v1/accounts/default"
ENDED = {f"JOB_STATE_{name}" for name in ("COMPLETED", "FAILED", "EXPIRED", "CANCELLED")}
MIN_SHARE = 0.95
MAX_TIMES_IDLE = 3.0
MAX_GROWTH = 1.1
# Of texts that the engine alone is given at once.
SLICE = 4096
NUM_SLICES = 3
NUM_QUERIES = 200
WAIT_S = 0.1
PIECE = 1 << 20


def lengths_of(num_rows: int, seed: int = 7) -> list[int]:
    """Return how many tokens each row has: 8 to 56, with the special ones."""
    chance = random.Random(seed)
    return [chance.randint(8, 56) for _ in range(num_rows)]


def write_rows(path: Path, lengths: list[int]) -> None:
    """Write a job's input."""
    with path.open("w") as file:
        for index, text in enumerate(texts_of(lengths)):
            file.write(json.dumps({"custom_id": f"row-{index}", "body": {"input": text}}))
            file.write("\n")


def pieces_of(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            yield piece


def upload(server: Server, path: Path, num_rows: int) -> None:
    """Make the dataset of a job's input by a signed URL."""
    with server.client() as client:
        body = {"datasetId": "rows", "dataset": {"userUploaded": {}, "exampleCount": str(num_rows)}}
        client.post(f"{ACCOUNT}/datasets", json=body).raise_for_status()
        size = path.stat().st_size
        asked = {"filenameToSize": {"rows.jsonl": str(size)}}
        answer = client.post(f"{ACCOUNT}/datasets/rows:getUploadEndpoint", json=asked).raise_for_status()
        (url,) = answer.json()["filenameToSignedUrls"].values()
        headers = {"content-length": str(size)}
        client.put(url, content=pieces_of(path), headers=headers, timeout=600).raise_for_status()
        client.post(f"{ACCOUNT}/datasets/rows:validateUpload", json={}, timeout=600).raise_for_status()


def begin(server: Server) -> None:
    with server.client() as client:
        job = {"model": server.model(), "inputDatasetId": "rows", "outputDatasetId": "out"}
        answer = client.post(f"{ACCOUNT}/batchInferenceJobs", params={"batchInferenceJobId": "job"}, json=job)
        answer.raise_for_status()


def watch(server: Server, is_over: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Return the job once it has come so far, or has ended."""
    with server.client() as client:
        while True:
            job: dict[str, Any] = client.get(f"{ACCOUNT}/batchInferenceJobs/job").raise_for_status().json()
            if job["state"] in ENDED or is_over(job):
                return job
            time.sleep(WAIT_S)


def num_done(job: dict[str, Any]) -> int:
    return int((job["jobProgress"] or {}).get("totalProcessedRequests") or 0)


def num_tokens(job: dict[str, Any]) -> int:
    return int((job["jobProgress"] or {}).get("inputTokens") or 0)


def query_times(server: Server, goes_on: Callable[[], bool]) -> list[float]:
    """Ask for one short text again and again; return the seconds that each took."""
    (text,) = texts_of(QUERY)
    times = []
    with server.client() as client:
        name = server.model()
        while goes_on():
            started = time.perf_counter()
            client.post("/v1/embeddings", json={"model": name, "input": text}).raise_for_status()
            times.append(time.perf_counter() - started)
            time.sleep(0.02)
    return times


def p95(times: list[float]) -> float:
    return statistics.quantiles(times, n=20)[-1]


def engine_rate(engine: Engine, seed: int) -> float:
    """Return the tokens a second of the engine alone, the median of a few slices."""
    rates = []
    for number in range(NUM_SLICES):
        lengths = lengths_of(SLICE, seed + number)
        rates.append(sum(lengths) / engine.seconds(lengths))
    return statistics.median(rates)


def throughput(num_rows: int) -> dict[str, Any]:
    """Measure a job beside the engine, and queries beside the job."""
    lengths = lengths_of(num_rows)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        write_rows(path, lengths)
        engine = Engine()
        engine.seconds(lengths_of(SLICE))  # shapes are prepared
        rates = [engine_rate(engine, 100)]
        with Server(Path(folder) / "data", models=MODEL, self_check="false") as server:
            server.ready()
            left = iter(range(NUM_QUERIES))
            idle = query_times(server, lambda: next(left, None) is not None)
            upload(server, path, num_rows)
            begin(server)
            first = watch(server, lambda job: num_done(job) > 0)
            started, tokens_before = time.perf_counter(), num_tokens(first)
            # The middle of the job without queries is compared with the engine; then queries are asked beside it.
            half = watch(server, lambda job: num_done(job) >= num_rows // 2)
            job_rate = (num_tokens(half) - tokens_before) / (time.perf_counter() - started)
            over = threading.Event()
            thread = threading.Thread(target=lambda: (watch(server, lambda _: False), over.set()))
            thread.start()
            busy = query_times(server, lambda: not over.is_set())
            thread.join()
            last = watch(server, lambda _: True)
        rates.append(engine_rate(engine, 200))
        engine.close()
    assert last["state"] == "JOB_STATE_COMPLETED", last
    assert num_done(last) == num_rows, last
    return {
        "num_rows": num_rows,
        "engine_tokens_per_s": [round(rate) for rate in rates],
        "job_tokens_per_s": round(job_rate),
        "share": round(job_rate / statistics.mean(rates), 3),
        "query_p95_ms": {"idle": round(p95(idle) * 1000, 1), "beside the job": round(p95(busy) * 1000, 1)},
        "times_idle": round(p95(busy) / p95(idle), 2),
        "num_queries": {"idle": len(idle), "beside the job": len(busy)},
    }


def peak_mb(num_rows: int) -> tuple[float, float]:
    """Return the peak memory of a server that does a job of so many rows, in MB, and the rows a second."""
    with tempfile.TemporaryDirectory() as folder:
        path, model = Path(folder) / "rows.jsonl", Path(folder) / "tiny"
        with path.open("w") as file:
            file.writelines(
                f'{{"custom_id":"row-{index}","body":{{"input":"fox {index % 1000}"}}}}\n' for index in range(num_rows)
            )
        write_model(cases_of("bert")[0], model, 0)
        with Server(Path(folder) / "data", models=str(model), self_check="false") as server:
            server.ready()
            upload(server, path, num_rows)
            started = time.perf_counter()
            begin(server)
            job = watch(server, lambda _: False)
            assert job["state"] == "JOB_STATE_COMPLETED", job
            rate = num_rows / (time.perf_counter() - started)
            status = Path(f"/proc/{server.process.pid}/status").read_text()
            (peak,) = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")]
    return int(peak) / 1000, rate


def memory(num_rows: int) -> dict[str, Any]:
    """Measure the peak of a small job and of a large one."""
    few, many = (peak_mb(num) for num in (num_rows // 100, num_rows))
    return {
        "num_rows": [num_rows // 100, num_rows],
        "peak_mb": [round(few[0], 1), round(many[0], 1)],
        "rows_per_s": [round(few[1]), round(many[1])],
        "growth": round(many[0] / few[0], 3),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", choices=["throughput", "memory"], default=["throughput", "memory"])
    parser.add_argument("--rows", type=int, default=100_000, help="of the job beside the engine")
    parser.add_argument("--memory-rows", type=int, default=2_000_000, help="of the large job whose memory is measured")
    asked = parser.parse_args()
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, cwd=ROOT).stdout.strip()
    path = Path(ROOT) / "benchmarks" / "results" / f"batch-{datetime.now(UTC):%Y-%m-%d}.json"
    # The parts may be run one after the other.
    report: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    report["machine"] = machine()
    is_met = True
    if "throughput" in asked.parts:
        found = report["throughput"] = {"commit": commit, **throughput(asked.rows)}
        print(f"{found['num_rows']} rows: {found['share']:.1%} of the engine's tokens/s (target {MIN_SHARE:.0%})")
        print(
            f"queries beside the job: p95 {found['times_idle']} times that of an idle server (target {MAX_TIMES_IDLE})"
        )
        is_met &= found["share"] >= MIN_SHARE and found["times_idle"] <= MAX_TIMES_IDLE
    if "memory" in asked.parts:
        found = report["memory"] = {"commit": commit, **memory(asked.memory_rows)}
        print(
            f"peak of {found['num_rows'][1]} rows: {found['growth']} times that of {found['num_rows'][0]} (target {MAX_GROWTH})"
        )
        is_met &= found["growth"] <= MAX_GROWTH
    print(json.dumps(report, indent=1))
    path.write_text(json.dumps(report, indent=1) + "\n")
    return 0 if is_met else 1


if __name__ == "__main__":
    sys.exit(main())
