"""From an empty process to the first vector, for the library and for the server, and the installed size.

Every run is a whole new process, interleaved; medians are printed. Exits 1 if torch was imported or a target is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from datetime import UTC, datetime
from pathlib import Path

from engines import ROOT, installed_mb, machine

MODEL = "sentence-transformers/all-MiniLM-L6-v2"
MAX_FIRST_VECTOR_S = 2.5
MAX_INSTALLED_MB = 500
GIVE_UP_S = 60.0
LIBRARY = f"""
import sys
from embergate.engine.loaded_model import LoadedModel
vectors = LoadedModel.open({MODEL!r}).encode(["hello"])
assert vectors.shape == (1, 384), vectors.shape
print("torch" in sys.modules)
"""


def library_s() -> tuple[float, bool]:
    """Return the seconds of one process that opens the model and encodes one text, and whether torch was imported."""
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", LIBRARY], capture_output=True, text=True, check=True)
    return time.perf_counter() - started, done.stdout.strip() != "False"


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def first_answer(port: int, api_key: str, deadline: float) -> None:
    """Ask for one vector until the server gives it. Raises: TimeoutError at the deadline."""
    body = json.dumps({"model": MODEL, "input": "hello"}).encode()
    headers = {"authorization": f"Bearer {api_key}", "content-type": "application/json"}
    request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/embeddings", body, headers)
    while time.perf_counter() < deadline:
        try:
            with urllib.request.urlopen(request, timeout=GIVE_UP_S) as reply:
                assert len(json.load(reply)["data"][0]["embedding"]) == 384
                return
        except urllib.error.HTTPError as error:
            if error.code != 503:  # 503 while the model loads; anything else would never become a vector
                raise
        except (urllib.error.URLError, ConnectionError):
            pass
        time.sleep(0.01)
    raise TimeoutError("the server gave no vector; run `embergate serve` by hand to see why")


def server_s() -> tuple[float, bool]:
    """Return the seconds from `embergate serve` to its first vector over HTTP, and whether it mapped torch."""
    port, api_key = free_port(), secrets.token_hex(16)
    with tempfile.TemporaryDirectory() as data_dir:
        settings = {"DATA_DIR": data_dir, "BOOTSTRAP_API_KEY": api_key, "MODELS": MODEL, "OFFLINE": "true"}
        environment = os.environ | {f"EMBERGATE_{name}": value for name, value in settings.items()}
        command = [sys.executable, "-m", "embergate.cli.main", "serve", "--port", str(port)]
        started = time.perf_counter()
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=data_dir
        )
        try:
            first_answer(port, api_key, started + GIVE_UP_S)
            seconds = time.perf_counter() - started
            maps = Path(f"/proc/{process.pid}/maps")
            has_torch = maps.exists() and "libtorch" in maps.read_text()
        finally:
            process.terminate()
            process.wait(GIVE_UP_S)
    return seconds, has_torch


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    times: dict[str, list[float]] = {"library": [], "server": []}
    has_torch = False
    for _ in range(rounds):
        for name, run in (("library", library_s), ("server", server_s)):
            seconds, imported = run()
            times[name].append(seconds)
            has_torch |= imported
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, cwd=ROOT).stdout.strip()
    medians = {name: round(statistics.median(seconds), 2) for name, seconds in times.items()}
    size_mb = round(installed_mb(), 1)
    report = {"machine": machine(), "commit": commit, "seconds": times, "median_s": medians}
    report |= {"installed_mb": size_mb, "torch_imported": has_torch}
    path = ROOT / "benchmarks" / "results" / f"startup-{datetime.now(UTC):%Y-%m-%d}.json"
    path.write_text(json.dumps(report, indent=1) + "\n")
    for name, seconds in times.items():
        print(f"{name:<8} first vector {medians[name]:.2f} s (best {min(seconds):.2f}; target {MAX_FIRST_VECTOR_S} s)")
    print(f"installed {size_mb} MB (target {MAX_INSTALLED_MB} MB); torch imported: {has_torch}")
    met = max(medians.values()) <= MAX_FIRST_VECTOR_S and size_mb <= MAX_INSTALLED_MB and not has_torch
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
