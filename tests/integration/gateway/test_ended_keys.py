"""Keys that were deleted or have expired, and are tried all the same."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text
from structlog.testing import capture_logs

from embergate.clock import now
from embergate.errors import UnavailableError
from tests.integration.gateway.platform import Platform, on_sqlite_only

KEYS = "/v1/accounts/acme/users/admin/apiKeys"


@pytest.fixture
async def admin(platform: Platform) -> str:
    return await platform.add_account("acme")


async def deleted_key(platform: Platform, admin: str) -> tuple[str, str]:
    """Return a key that was deleted, and its id."""
    made = (await platform.call(admin, "POST", KEYS, json={"apiKey": {}})).json()
    answer = await platform.call(admin, "POST", f"{KEYS}:delete", json={"keyId": made["keyId"]})
    assert answer.status_code == 200
    return made["key"], made["keyId"]


async def attempts(platform: Platform, admin: str) -> list[dict[str, Any]]:
    """Return the entries of keys that were tried, the oldest first."""
    return (await platform.trail(admin, "acme", filter='method:"Authenticate"'))[::-1]


async def test_use_of_a_deleted_key_is_in_the_trail_of_its_account(platform: Platform, admin: str) -> None:
    key, key_id = await deleted_key(platform, admin)
    unknown = await platform.call("eg_nobody-has-this-key", "GET", "/v1/accounts")
    answer = await platform.call(key, "GET", "/v1/accounts")
    assert answer.status_code == 401
    assert answer.json()["error"] == unknown.json()["error"]  # nothing tells that there was one
    (entry,) = await attempts(platform, admin)
    assert (entry["apiKeyId"], entry["principal"]) == (key_id, "admin@acme.example")
    assert entry["resource"] == f"accounts/acme/users/admin/apiKeys/{key_id}"
    assert (entry["status"]["code"], entry["message"]) == ("UNAUTHENTICATED", "the key was deleted")
    assert entry["payload"] == {"method": "GET", "path": "/v1/accounts"}
    assert key not in str(entry)


@on_sqlite_only
async def test_use_of_an_expired_key_on_the_inference_plane_is_there_too(platform: Platform, admin: str) -> None:
    key = await platform.add_key("acme", "admin", expire_time=now() - timedelta(seconds=1))
    answer = await platform.call(key, "POST", "/inference/v1/embeddings", json={})
    assert (answer.status_code, answer.json()["error"]["message"]) == (401, "the API key or session has expired")
    (entry,) = await attempts(platform, admin)
    assert (entry["message"], entry["payload"]["path"]) == ("the key has expired", "/inference/v1/embeddings")


@on_sqlite_only
async def test_key_that_is_tried_again_and_again_leaves_one_entry_a_minute(
    platform: Platform, admin: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock_s = 1000.0
    monkeypatch.setattr("embergate.gateway.moving_window.monotonic_s", lambda: clock_s)
    keys = [await deleted_key(platform, admin) for _ in range(2)]
    for _ in range(3):
        for key, _ in keys:
            assert (await platform.call(key, "GET", "/v1/accounts")).status_code == 401
    clock_s += 60.0
    assert (await platform.call(keys[0][0], "GET", "/v1/accounts")).status_code == 401
    found = [entry["apiKeyId"] for entry in await attempts(platform, admin)]
    assert found == [keys[0][1], keys[1][1], keys[0][1]]


@on_sqlite_only
async def test_answer_does_not_wait_for_the_entry(platform: Platform, admin: str) -> None:
    key, _ = await deleted_key(platform, admin)
    is_answered = asyncio.Event()
    headers = [(b"authorization", f"Bearer {key}".encode())]
    scope = {"type": "http", "method": "GET", "path": "/v1/accounts", "headers": headers, "query_string": b""}

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b""}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body" and not message.get("more_body"):
            is_answered.set()

    async with platform.database.writing() as db:
        await db.execute(text("UPDATE accounts SET display_name = ''"))  # from now on SQLite has no other writer
        request = asyncio.ensure_future(platform.app(scope, receive, send))
        await asyncio.wait_for(is_answered.wait(), 5)
        assert not request.done()
    await request
    assert len(await attempts(platform, admin)) == 1


@on_sqlite_only
async def test_entry_that_cannot_be_written_fails_nothing(
    platform: Platform, admin: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, _ = await deleted_key(platform, admin)

    async def fail(*_: Any, **__: Any) -> None:
        raise UnavailableError

    monkeypatch.setattr("embergate.gateway.ended_keys.record", fail)
    with capture_logs() as logs:
        assert (await platform.call(key, "GET", "/v1/accounts")).status_code == 401
    assert "audit_entry_lost" in [line["event"] for line in logs]


@on_sqlite_only
async def test_login_by_an_ended_key_is_in_the_trail(platform: Platform, admin: str) -> None:
    key, key_id = await deleted_key(platform, admin)
    answer = await platform.call(None, "POST", "/v1/auth/login", json={"apiKey": key})
    assert (answer.status_code, answer.json()["message"]) == (401, "the API key is not valid")
    assert (await platform.call(key, "POST", "/v1/auth/logout", json={})).status_code == 401
    entries = await platform.trail(admin, "acme", filter='message="the key was deleted"')
    assert [(entry["method"].split("/")[2], entry["apiKeyId"]) for entry in entries] == [
        ("Logout", key_id),
        ("Login", key_id),
    ]
