"""What the edge does for every room: bodies that do not arrive, and tokens that belong to another list."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from embergate.errors import UnavailableError
from embergate.gateway import upkeep
from embergate.web.caller import Role
from tests.integration.gateway.platform import Platform


async def test_body_that_does_not_arrive_is_not_waited_for(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("embergate.gateway.body.BODY_TIMEOUT_S", 0.05)

    async def dripping() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.sleep(60)

    answer = await platform.call(None, "POST", "/v1/auth/login", content=dripping())
    assert answer.status_code == 408
    assert answer.json()["message"] == "the body did not arrive within 0.05 s"


async def test_page_token_is_good_for_its_parent_alone(platform: Platform) -> None:
    admin = await platform.add_account("acme")
    for user_id in ("ada", "bob"):
        await platform.add_user("acme", user_id, Role.USER)
        await platform.add_key("acme", user_id)
    users = "/v1/accounts/acme/users"
    first = await platform.call(admin, "GET", f"{users}/ada/apiKeys", params={"pageSize": "1"})
    query = {"pageSize": "1", "pageToken": first.json()["nextPageToken"]}
    assert (await platform.call(admin, "GET", f"{users}/ada/apiKeys", params=query)).status_code == 200
    elsewhere = await platform.call(admin, "GET", f"{users}/bob/apiKeys", params=query)
    assert elsewhere.status_code == 400
    assert "pageToken: it belongs to another request" in elsewhere.json()["message"]


async def test_last_use_that_cannot_be_written_is_written_the_next_time(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = await platform.add_account("acme")
    reader = await platform.add_user("acme", "reader", Role.ADMIN)
    await platform.call(key, "GET", "/v1/accounts/acme")

    async def used() -> bool:
        answer = await platform.call(reader, "GET", "/v1/accounts/acme/users/admin/apiKeys")
        return "lastUsed" in answer.json()["apiKeys"][0]

    async def fail(*_: object) -> None:
        raise UnavailableError

    with monkeypatch.context() as broken:
        broken.setattr(upkeep, "note_use", fail)
        await upkeep.settle(platform.gateway)
    assert not await used()
    await upkeep.settle(platform.gateway)
    assert await used()
