"""`kill -9` while the gateway writes: what was acknowledged is there with its audit entry, and nothing is half there."""

from __future__ import annotations

import base64
import random
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2

from tests.e2e.server import Server

NUM_CALLS = 200
NUM_KILLS = 5
USERS = "/v1/accounts/default/users"


def settings_of(database_url: str) -> dict[str, str]:
    secret = base64.b64encode(bytes(range(32))).decode()
    return {"database_url": database_url, "secret_keys": secret, "self_check": "false"}


def create_until_killed(server: Server, ids: Iterator[str], acknowledged: set[str], tried: set[str]) -> None:
    """Create users until the server is gone or there are no more ids."""
    with server.client() as client:
        for user_id in ids:
            tried.add(user_id)
            try:
                body = {"role": "user", "email": f"{user_id}@example.org"}
                answer = client.post(f"{USERS}?userId={user_id}", json=body)
            except httpx2.TransportError:
                return
            assert answer.status_code == 200, answer.text
            acknowledged.add(user_id)


def read_all(client: httpx2.Client, path: str, plural: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    token = ""
    while True:
        page = client.get(path, params={"pageSize": 200, "pageToken": token}).json()
        found += page[plural]
        token = page["nextPageToken"]
        if not token:
            return found


def test_acknowledged_writes_survive_with_their_audit_entries(database_url: str, tmp_path: Path) -> None:
    generator = random.Random(20_261_124)
    ids = (f"user-{number}" for number in range(NUM_CALLS))
    acknowledged: set[str] = set()
    tried: set[str] = set()
    for _ in range(NUM_KILLS):
        with Server(tmp_path, **settings_of(database_url)) as server:
            timer = threading.Timer(generator.uniform(0.05, 0.5), server.process.kill)
            timer.start()
            create_until_killed(server, ids, acknowledged, tried)
            timer.join()
            server.process.wait()
    with Server(tmp_path, **settings_of(database_url)) as server, server.client() as client:
        create_until_killed(server, ids, acknowledged, tried)
        users = {user["name"].rsplit("/", 1)[1] for user in read_all(client, USERS, "users")}
        entries = read_all(client, "/v1/accounts/default/auditLogs", "auditLogs")
    written = [
        entry["resource"].rsplit("/", 1)[1]
        for entry in entries
        if entry["method"] == "/gateway.Gateway/CreateUser" and entry["status"]["code"] == "OK"
    ]
    assert len(tried) == NUM_CALLS
    assert acknowledged <= users
    assert sorted(written) == sorted(users & tried), "a user without its entry, or an entry without its user"
    assert len(tried - acknowledged) <= NUM_KILLS
