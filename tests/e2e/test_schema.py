"""What schemathesis makes of our OpenAPI document and a real server: every check, on both databases."""

from __future__ import annotations

import base64
import subprocess
import sys
from pathlib import Path

import orjson

from tests.e2e.server import Server

CONFIG = Path(__file__).with_name("schemathesis.toml")
# What computes or redirects is tested elsewhere; here it is the gateway's calls.
CALLS = r"^/v1/(accounts|creditCodes|auth/(refresh|logout|login|password))"


def test_no_call_breaks_its_schema_or_answers_with_a_server_error(database_url: str, tmp_path: Path) -> None:
    binaries = Path(sys.executable).parent
    document = tmp_path / "openapi.json"
    printed = subprocess.run([binaries / "embergate", "openapi"], check=True, capture_output=True).stdout
    document.write_bytes(orjson.dumps(orjson.loads(printed)))
    secret = base64.b64encode(bytes(range(32))).decode()
    settings = {"database_url": database_url, "secret_keys": secret, "self_check": "false", "log_level": "warning"}
    with Server(tmp_path / "data", **settings) as server:
        command = [
            str(binaries / "schemathesis"),
            "--config-file",
            str(CONFIG),
            "run",
            str(document),
            "--url",
            server.base,
        ]
        options = [
            "--checks",
            "all",
            "--phases",
            "examples,coverage,fuzzing",
            "--max-examples",
            "3",
            "--seed",
            "20261124",
        ]
        chosen = ["--include-path-regex", CALLS, "--header", f"Authorization: Bearer {server.key}", "--no-color"]
        done = subprocess.run([*command, *options, *chosen], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout[-8000:]
    assert " 0 generated" not in done.stdout
