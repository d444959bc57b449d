"""What a real server logs, at the most talkative level: ids and numbers, and nothing that a caller wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx2

from tests.e2e.server import KEY, Server

WRITTEN = "xyzzyplugh"  # in all that a caller writes below


def send_everything(server: Server) -> list[str]:
    """Call both planes, well and badly; return what must stay secret besides."""
    users = "/v1/accounts/default/users"
    with server.client() as client:
        model = client.get("/v1/models").json()["data"][0]["id"]
        marks = {"idempotency-key": WRITTEN, "fireworks-annotations": f"team={WRITTEN}", "user-agent": WRITTEN}
        body = {"model": model, "input": [f"the fox and the {WRITTEN}"], "user": WRITTEN}
        assert client.post("/v1/embeddings", json=body, headers=marks).status_code == 200
        assert client.post("/v1/embeddings", json=body, headers=marks).status_code == 200
        changed = {**body, "input": WRITTEN}
        assert client.post("/v1/embeddings", json=changed, headers=marks).status_code == 400
        client.post("/v1/embeddings", json=body, headers={"x-embergate-dry-run": WRITTEN})
        client.post("/v1/embeddings", json={**body, "input": WRITTEN * 50_000})
        client.post("/v1/embeddings", json={**body, "model": WRITTEN})
        client.post("/v1/embeddings", content=f'{{"input": "{WRITTEN}')
        client.post("/v1/embeddings", json=body, headers={"authorization": f"Bearer {WRITTEN}"})
        client.get(f"/{WRITTEN}", params={"q": WRITTEN})
        client.get(users, params={"filter": f'email = "{WRITTEN}"'})
        client.post("/v1/auth/login", json={"email": f"{WRITTEN}@example.org", "password": WRITTEN})
        secret = {"name": "accounts/default/secrets/s3", "keyName": "NAME", "value": WRITTEN}
        kept = client.post("/v1/accounts/default/secrets", json=secret)
        assert kept.status_code == 200, kept.text
        made = client.post(f"{users}/admin/apiKeys", json={"apiKey": {"displayName": WRITTEN}}).json()
        session = client.post("/v1/auth/login", json={"apiKey": KEY}).json()
    httpx2.get(f"{server.base}{users}", headers={"authorization": f"Bearer {session['token']}"})
    return [KEY, WRITTEN, made["key"], session["token"], session["refreshToken"]]


def test_logs_hold_ids_and_nothing_that_a_caller_wrote(tiny_model: str, tmp_path: Path) -> None:
    with Server(tmp_path, models=tiny_model, log_level="debug", self_check="false") as server:
        server.ready()
        secrets = send_everything(server)
        assert server.stop() == 0
    logged = "\n".join(server.lines)
    for secret in secrets:
        assert secret not in logged
    requests: list[dict[str, Any]] = [
        line for text in server.lines if text.startswith("{") and (line := json.loads(text))["event"] == "request"
    ]
    embedded = [line for line in requests if line["route"] == "/embeddings" and line["status"] == 200]
    assert len(embedded) >= 2
    for line in embedded:
        assert (line["level"], line["account_id"], line["user_id"]) == ("debug", "default", "admin")
        assert line["key_id"].startswith("key_")
    assert embedded[0]["prompt_tokens"] > 0
    assert len({line["request_id"] for line in requests}) == len(requests)
    assert any("key_id" not in line and line.get("account_id") for line in requests)  # by a session
