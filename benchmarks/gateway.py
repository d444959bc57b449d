"""What the platform adds to the engine: one short query on an idle server, and batches of 64 texts.

Three processes, asked in turn: the engine alone; a server that lets everybody in and counts nothing; and a server as it is
shipped, on the embedded database, with authentication, limits and durable metering. What the last takes more than the one
before is what those cost; medians are printed. Exits 1 if a bound is missed.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from engines import ROOT, machine
from startup import first_answer, free_port
from worker import texts_of

MODEL = "sentence-transformers/all-MiniLM-L6-v2"
QUERY, BATCH = [16], [128] * 64
# Servers close a connection that is idle for five seconds.
KEEP_ALIVE_S = 3.0
MAX_ADDED_MS = 2.0
MIN_SHARE = 0.95
ENGINE = f"""
import json, sys, time
sys.path.insert(0, {str(ROOT / "benchmarks")!r})
from worker import texts_of
from embergate.engine.loaded_model import LoadedModel
model = LoadedModel.open({MODEL!r})
for line in sys.stdin:
    texts = texts_of(json.loads(line))
    started = time.perf_counter()
    model.encode(texts)
    print(time.perf_counter() - started, flush=True)
"""
# A server without accounts: whoever authenticates, limits and charges is replaced by one that does nothing.
FREE_SERVER = """
import contextlib
from embergate.cli import main, serving
from embergate.web.caller import Caller, Role

class Free:
    headers = {}
    async def authenticate(self, credential): return Caller("default", "anybody", "", Role.ADMIN)
    async def allows(self, account, names): return True
    @contextlib.asynccontextmanager
    async def open(self, demand): yield self
    async def reserve(self, num_tokens): pass
    async def settle(self): pass

build = serving.build_deps
def build_free(*parts):
    deps = build(*parts)
    deps.authenticator = deps.policies = deps.meter = Free()
    return deps
serving.build_deps = build_free
main.app()
"""


class Engine:
    """The engine alone, in a process."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", ENGINE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def seconds(self, lengths: list[int]) -> float:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(lengths) + "\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())

    def close(self) -> None:
        self.process.kill()
        self.process.wait()


class Server:
    """A server, and one connection to it that is kept open, as far as the server keeps it."""

    def __init__(self, data_dir: str, program: Sequence[str] = ("-m", "embergate.cli.main")) -> None:
        self.port, self.key = free_port(), secrets.token_hex(16)
        settings = {"DATA_DIR": data_dir, "BOOTSTRAP_API_KEY": self.key, "MODELS": MODEL, "SELF_CHECK": "false"}
        environment = os.environ | {f"EMBERGATE_{name}": value for name, value in settings.items()}
        command = [sys.executable, *program, "serve", "--port", str(self.port)]
        self.process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL, cwd=ROOT)
        first_answer(self.port, self.key, time.perf_counter() + 60)
        self.connection = http.client.HTTPConnection("127.0.0.1", self.port)
        self.used_at_s = 0.0

    def seconds(self, lengths: list[int]) -> float:
        body = json.dumps({"model": MODEL, "input": texts_of(lengths), "encoding_format": "base64"})
        headers = {"authorization": f"Bearer {self.key}", "content-type": "application/json"}
        if time.perf_counter() - self.used_at_s > KEEP_ALIVE_S:  # the others took long
            self.connection.close()
            self.connection.connect()
        started = time.perf_counter()
        self.connection.request("POST", "/v1/embeddings", body, headers)
        answer = self.connection.getresponse()
        content = answer.read()
        self.used_at_s = time.perf_counter()
        assert answer.status == 200, content
        return self.used_at_s - started

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(60)


def medians(runs: dict[str, Callable[[list[int]], float]], lengths: list[int], rounds: int) -> dict[str, float]:
    """Return the median seconds of each, after a few rounds that prepare shapes."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds + 3):
        for name, run in runs.items():
            seconds = run(lengths)
            if number >= 3:
                times[name].append(seconds)
    return {name: statistics.median(found) for name, found in times.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=200)
    rounds = parser.parse_args().rounds
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, cwd=ROOT).stdout.strip()
    report: dict[str, Any] = {"machine": machine(), "commit": commit}
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        runs: dict[str, Callable[[list[int]], float]] = {}
        for name, start in {
            "engine": Engine,
            "free server": partial(Server, f"{folder}/free", ("-c", FREE_SERVER)),
            "server": partial(Server, f"{folder}/full"),
        }.items():
            started = start()
            stack.callback(started.close)
            runs[name] = started.seconds
        query = medians(runs, QUERY, rounds)
        batch = medians(runs, BATCH, max(rounds // 20, 5))
    added_ms = (query["server"] - query["free server"]) * 1000
    share = batch["engine"] / batch["server"]
    report |= {"query_ms": {name: round(s * 1000, 2) for name, s in query.items()}, "added_ms": round(added_ms, 2)}
    report |= {
        "batch_tokens_per_s": {name: round(sum(BATCH) / s) for name, s in batch.items()},
        "share": round(share, 3),
    }
    print("one query:", ", ".join(f"{name} {seconds * 1000:.2f} ms" for name, seconds in query.items()), end="; ")
    print(f"authentication, limits and metering {added_ms:.2f} ms (target {MAX_ADDED_MS} ms)")
    print(f"64 texts of 128 tokens: {share:.1%} of the engine's tokens/s (target {MIN_SHARE:.0%})")
    path = Path(ROOT) / "benchmarks" / "results" / f"gateway-{datetime.now(UTC):%Y-%m-%d}.json"
    path.write_text(json.dumps(report, indent=1) + "\n")
    return 0 if added_ms <= MAX_ADDED_MS and share >= MIN_SHARE else 1


if __name__ == "__main__":
    sys.exit(main())
