"""What the edge does for every room: bodies that do not arrive, and tokens that belong to another list."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from embergate.clock import now
from embergate.errors import UnavailableError
from embergate.gateway import upkeep
from embergate.gateway.audit.trail import Event
from embergate.gateway.call import Call
from embergate.gateway.edge import NOBODY, unit_of_work
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


async def test_client_that_leaves_during_the_commit_does_not_keep_others_from_noticing(platform: Platform) -> None:
    noticed: list[str] = []
    committing = asyncio.Event()
    event = Event("Revoke", timestamp=now())
    call = Call(NOBODY, platform.gateway, db=None, event=event, account_id="acme")  # type: ignore[arg-type]

    async def revoke() -> None:
        async with unit_of_work(call, writes=True, audited=True):
            call.after_commit.append(lambda: noticed.append("revoked"))
            commit = call.db.commit

            async def slow_commit() -> None:
                committing.set()
                await asyncio.sleep(0.01)
                await commit()

            call.db.commit = slow_commit  # type: ignore[method-assign]

    task = asyncio.create_task(revoke())
    await committing.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert noticed == ["revoked"]


@pytest.mark.parametrize(
    ("condition", "num_found"), [("status.code=OK", 1), ("status.code=INTERNAL", 0), ("NOT status:*", 0)]
)
async def test_status_can_be_filtered_where_it_is_always_fine(
    platform: Platform, condition: str, num_found: int
) -> None:
    admin = await platform.add_account("acme")
    for path, plural in (("/v1/accounts", "accounts"), ("/v1/accounts/acme/users", "users")):
        answer = await platform.call(admin, "GET", path, params={"filter": condition})
        assert answer.status_code == 200, answer.text
        assert len(answer.json()[plural]) == num_found
