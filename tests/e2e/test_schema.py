"""What schemathesis makes of our OpenAPI document and a real server: every check, on the database that is stricter."""

from __future__ import annotations

import base64
import re
import subprocess
import sys
from pathlib import Path

import httpx2
import orjson

from tests.e2e.server import Server

CONFIG = Path(__file__).with_name("schemathesis.toml")
# What computes or redirects is tested elsewhere; here it is the gateway's calls.
CALLS = r"^/v1/(accounts|creditCodes|auth/(refresh|logout|login|password))"
LEAST_CASES = 800
SUCCEED = ("GetApiKey", "ListApiKeys", "CreateApiKey", "RotateApiKey", "UpdateUser", "UpdateSecret", "DeleteSecret")


def make_what_is_read(client: httpx2.Client) -> str:
    """Make the secrets that the configuration names; return the id of a key."""
    for secret_id in ("kept", "doomed"):
        secret = {"name": f"accounts/default/secrets/{secret_id}", "keyName": "K", "value": "v"}
        assert client.post("/v1/accounts/default/secrets", json=secret).status_code == 200
    made = client.post("/v1/accounts/default/users/admin/apiKeys", json={"apiKey": {}})
    return str(made.json()["keyId"])


def count_done(client: httpx2.Client, name: str) -> int:
    """Return how many calls of an operation succeeded."""
    query = {"filter": f'method="/gateway.Gateway/{name}" AND status.code=OK', "pageSize": "1"}
    return int(client.get("/v1/accounts/default/auditLogs", params=query).json()["totalSize"])


def test_no_call_breaks_its_schema_or_answers_with_a_server_error(
    postgresql_url: str, tmp_path: Path, tiny_model: str
) -> None:
    binaries = Path(sys.executable).parent
    document, config = tmp_path / "openapi.json", tmp_path / "schemathesis.toml"
    printed = subprocess.run([binaries / "embergate", "openapi"], check=True, capture_output=True).stdout
    document.write_bytes(orjson.dumps(orjson.loads(printed)))
    secret = base64.b64encode(bytes(range(32))).decode()
    settings = {"database_url": postgresql_url, "secret_keys": secret, "self_check": "false", "log_level": "warning"}
    with Server(tmp_path / "data", models=tiny_model, **settings) as server:
        with server.client() as client:
            key_id = make_what_is_read(client)
        config.write_text(CONFIG.read_text().replace("KEY_ID", key_id))
        command = [str(binaries / "schemathesis"), "--config-file", str(config)]
        command += ["run", str(document), "--url", server.base, "--include-path-regex", CALLS, "--no-color"]
        command += ["--checks", "all", "--phases", "examples,coverage,fuzzing", "--max-examples", "6"]
        command += ["--seed", "20261124", "--header", f"Authorization: Bearer {server.key}"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=600)
        with server.client() as client:
            kept = client.get("/v1/accounts/default/secrets", params={"readMask": "name"}).json()["secrets"]
            num_done = {name: count_done(client, name) for name in SUCCEED}
    assert done.returncode == 0, done.stdout[-8000:]
    counted = re.search(r"(\d+) generated, (\d+) passed", done.stdout)
    assert counted is not None, done.stdout[-8000:]
    assert int(counted[1]) == int(counted[2]) >= LEAST_CASES, done.stdout[-8000:]
    # What was there was really found: else none of the answers but the refusals would have been checked.
    assert [secret["name"] for secret in kept] == ["accounts/default/secrets/kept"]
    assert [name for name, count in num_done.items() if not count] == []
