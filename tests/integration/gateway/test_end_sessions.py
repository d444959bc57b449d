"""Ending the sessions of a user: one's own, or as whoever manages the user."""

from __future__ import annotations

import httpx2
import pytest

from embergate.web.caller import Role
from tests.integration.gateway.platform import Platform, on_sqlite_only


@pytest.fixture
async def admin(platform: Platform) -> str:
    return await platform.add_account("acme")


async def end(platform: Platform, key: str, user_id: str, account_id: str = "acme") -> httpx2.Response:
    return await platform.call(key, "POST", f"/v1/accounts/{account_id}/users/{user_id}:endSessions")


async def who(platform: Platform, token: str) -> int:
    return (await platform.call(token, "GET", "/v1/accounts/acme")).status_code


async def test_admin_ends_every_session_of_a_user_and_nothing_else(platform: Platform, admin: str) -> None:
    key = await platform.add_user("acme", "ada", Role.USER)
    sessions = [await platform.log_in(apiKey=key) for _ in range(2)]
    mine = await platform.log_in(apiKey=admin)
    assert [await who(platform, session.token) for session in sessions] == [200, 200]
    answer = await end(platform, admin, "ada")
    assert (answer.status_code, answer.json()) == (200, {})
    assert [await who(platform, session.token) for session in sessions] == [401, 401]
    assert [(await platform.refresh(session.refreshToken)).status_code for session in sessions] == [401, 401]
    assert [await who(platform, credential) for credential in (mine.token, key)] == [200, 200]
    (entry,) = await platform.trail(admin, "acme", filter='method:"EndSessions"')
    assert (entry["resource"], entry["status"]["code"]) == ("accounts/acme/users/ada", "OK")
    assert (await end(platform, admin, "nobody")).status_code == 404


@on_sqlite_only
@pytest.mark.parametrize("role", list(Role))
async def test_user_of_any_role_ends_its_own_sessions(platform: Platform, admin: str, role: Role) -> None:
    session = await platform.log_in(apiKey=await platform.add_user("acme", "ada", role))
    assert (await end(platform, session.token, "ada")).status_code == 200
    assert await who(platform, session.token) == 401


@on_sqlite_only
async def test_nobody_ends_the_sessions_of_whom_it_may_not_manage(platform: Platform, admin: str) -> None:
    user = await platform.add_user("acme", "ada", Role.USER)
    operator = await platform.add_user("acme", "root", Role.USER, is_operator=True)
    session = await platform.log_in(apiKey=operator)
    for key, user_id in ((user, "root"), (user, "nobody"), (admin, "root")):
        answer = await end(platform, key, user_id)
        assert (answer.status_code, answer.json()["code"]) == (403, 7), user_id
    assert await who(platform, session.token) == 200
    elsewhere = await platform.add_account("other")
    assert (await end(platform, elsewhere, "ada")).status_code == 403
    assert (await end(platform, operator, "admin", "other")).status_code == 200


@on_sqlite_only
async def test_user_is_locked_out_as_the_how_to_says(platform: Platform, admin: str) -> None:
    key, password = await platform.add_user("acme", "bob", Role.ADMIN), "correct horse battery"
    await platform.set_password("acme", "bob", password)
    session = await platform.log_in(email="bob@acme.example", password=password)
    user = "/v1/accounts/acme/users/bob"
    for body in ({"role": "inference-user"}, {"email": "bob@locked.invalid"}):
        assert (await platform.call(admin, "PATCH", user, json=body)).status_code == 200
    for found in (await platform.call(admin, "GET", f"{user}/apiKeys")).json()["apiKeys"]:
        await platform.call(admin, "POST", f"{user}/apiKeys:delete", json={"keyId": found["keyId"]})
    assert (await end(platform, admin, "bob")).status_code == 200
    for credential in (key, session.token):
        assert (await platform.call(credential, "GET", "/v1/models")).status_code == 401
    body = {"email": "bob@acme.example", "password": password}
    assert (await platform.call(None, "POST", "/v1/auth/login", json=body)).status_code == 401
    assert (await platform.refresh(session.refreshToken)).status_code == 401
