"""Logging in and out, and passwords, over HTTP on both databases."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Any

import pytest
import time_machine
from argon2 import PasswordHasher

from embergate.clock import now
from embergate.gateway.sessions import store
from embergate.gateway.sessions.rules import SessionRules
from embergate.gateway.users import service as users
from embergate.gateway.users import store as user_store
from embergate.gateway.users.schemas import User
from embergate.storage.database import Database
from embergate.web.caller import Role
from tests.integration.gateway.platform import Platform, Tokens, on_sqlite_only
from tests.integration.gateway.trails import verified

EMAIL = "ada@acme.example"
PASSWORD = "correct horse battery"
WRONG = {
    "code": 16,
    "message": "the address or the password is wrong; if the address is in several accounts, name one in `account`",
    "details": [],
}


@pytest.fixture
async def admin(platform: Platform) -> str:
    """The key of an account's admin, beside whom there is Ada with a password."""
    key = await platform.add_account("acme")
    await platform.add_user("acme", "ada", Role.USER)
    await platform.set_password("acme", "ada", PASSWORD)
    return key


async def who(platform: Platform, token: str) -> int:
    return (await platform.call(token, "GET", "/v1/accounts/acme")).status_code


async def login(platform: Platform, **body: Any) -> Any:
    return await platform.call(None, "POST", "/v1/auth/login", json=body)


async def test_password_opens_a_session_that_both_planes_accept(platform: Platform, admin: str) -> None:
    answer = await login(platform, email="ADA@acme.example", password=PASSWORD)
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    assert list(answer.json()) == ["token", "expireTime", "refreshToken", "refreshExpireTime"]
    tokens = Tokens(**answer.json())
    assert now() + timedelta(minutes=14) < datetime.fromisoformat(tokens.expireTime) < now() + timedelta(minutes=16)
    ends = datetime.fromisoformat(tokens.refreshExpireTime)
    assert now() + timedelta(days=29) < ends < now() + timedelta(days=31)
    for path in ("/v1/accounts/acme", "/v1/accounts/acme/users", "/v1/models", "/inference/v1/models"):
        assert (await platform.call(tokens.token, "GET", path)).status_code == 200, path
    async with platform.client(**{"x-api-key": tokens.token}) as client:
        assert (await client.get("/inference/v1/models")).status_code == 200
    # With the rights of its user, and no others.
    assert (await platform.call(tokens.token, "GET", "/v1/accounts/acme/auditLogs")).status_code == 403
    assert (await platform.call(tokens.token, "GET", "/v1/accounts/other")).status_code == 403


async def test_api_key_opens_a_session_that_ends_with_the_key(platform: Platform, admin: str) -> None:
    ends = (now() + timedelta(hours=1)).replace(microsecond=0)
    key = await platform.add_key("acme", "ada", expire_time=ends)
    tokens = await platform.log_in(apiKey=key)
    assert datetime.fromisoformat(tokens.refreshExpireTime) == ends
    assert await who(platform, tokens.token) == 200
    listed = await platform.call(key, "GET", "/v1/accounts/acme/users/ada/apiKeys")
    key_id = next(item["keyId"] for item in listed.json()["apiKeys"] if "expireTime" in item)
    deleted = await platform.call(key, "POST", "/v1/accounts/acme/users/ada/apiKeys:delete", json={"keyId": key_id})
    assert deleted.status_code == 200
    assert await who(platform, tokens.token) == 401
    assert (await platform.refresh(tokens.refreshToken)).status_code == 401


async def test_session_of_a_key_ends_when_the_key_does(platform: Platform, admin: str) -> None:
    tokens = await platform.log_in(
        apiKey=await platform.add_key("acme", "ada", expire_time=now() + timedelta(minutes=5))
    )
    with time_machine.travel(now() + timedelta(minutes=6), tick=True):
        assert await who(platform, tokens.token) == 401
        assert (await platform.refresh(tokens.refreshToken)).status_code == 401


async def test_session_of_a_key_makes_no_key_that_outlives_it(platform: Platform, admin: str) -> None:
    ends = now() + timedelta(hours=1)
    tokens = await platform.log_in(apiKey=await platform.add_key("acme", "ada", expire_time=ends))
    path = "/v1/accounts/acme/users/ada/apiKeys"
    endless = await platform.call(tokens.token, "POST", path, json={"apiKey": {}})
    assert endless.status_code == 400
    assert "when the key that makes it ends" in endless.json()["message"]
    short = {"apiKey": {"expireTime": (ends - timedelta(minutes=1)).isoformat()}}
    assert (await platform.call(tokens.token, "POST", path, json=short)).status_code == 200
    with_password = await platform.log_in(email=EMAIL, password=PASSWORD)
    assert (await platform.call(with_password.token, "POST", path, json={"apiKey": {}})).status_code == 200


@on_sqlite_only
@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        ({}, 400, "send email and password, or apiKey alone"),
        ({"email": EMAIL}, 400, "send email and password"),
        ({"password": PASSWORD}, 400, "send email and password"),
        ({"account": "acme"}, 400, "send email and password"),
        ({"email": EMAIL, "password": PASSWORD, "apiKey": "eg_x"}, 400, "send email and password"),
        ({"apiKey": "eg_x", "account": "acme"}, 400, "send email and password"),
        ({"email": EMAIL, "passwort": PASSWORD}, 400, 'unknown field "passwort"'),
        ({"email": EMAIL, "password": "x" * 1025}, 400, "password"),
        ({"email": EMAIL, "password": 7}, 400, "password"),
        ({"apiKey": "eg_nobody-has-this-key"}, 401, "the API key is not valid"),
        ({"email": EMAIL, "password": PASSWORD, "account": "other"}, 401, WRONG["message"]),
        ({"email": "admin@acme.example", "password": PASSWORD}, 401, WRONG["message"]),
    ],
)
async def test_bad_login_is_refused(
    platform: Platform, admin: str, body: dict[str, Any], status: int, says: str
) -> None:
    answer = await login(platform, **body)
    assert (answer.status_code, answer.json()["code"]) == (status, 3 if status == 400 else 16)
    assert says in answer.json()["message"]
    assert PASSWORD not in answer.text


async def test_unknown_address_and_wrong_password_are_told_apart_by_nothing(platform: Platform, admin: str) -> None:
    passwordless = await platform.add_user("acme", "eve", Role.USER)
    assert passwordless
    for email in (EMAIL, "nobody@acme.example", "eve@acme.example"):
        before = platform.hasher.num_verified
        answer = await login(platform, email=email, password="not the password")
        assert (answer.status_code, answer.json()) == (401, WRONG)
        assert platform.hasher.num_verified == before + 1, email


async def test_access_token_is_no_key_to_log_in_with(platform: Platform, admin: str) -> None:
    tokens = await platform.log_in(email=EMAIL, password=PASSWORD)
    assert (await login(platform, apiKey=tokens.token)).status_code == 401


async def test_service_account_logs_in_by_key_only(platform: Platform, admin: str) -> None:
    async with platform.database.writing() as db:
        await users.add(db, "acme", "robot", User(role="user", service_account=True), Role.USER)
    await platform.set_password("acme", "robot", PASSWORD)
    answer = await login(platform, email="robot@acme.sa.fireworks.ai", password=PASSWORD)
    assert answer.status_code == 401
    await platform.log_in(apiKey=await platform.add_key("acme", "robot"))


async def test_address_in_several_accounts_needs_one_named(platform: Platform, admin: str) -> None:
    await platform.add_account("zeta")
    async with platform.database.writing() as db:
        await users.add(db, "zeta", "ada", User(role="user", email=EMAIL), Role.USER)
    # Of the two only one has a password, so there is nothing to choose.
    await platform.log_in(email=EMAIL, password=PASSWORD)
    await platform.set_password("zeta", "ada", "another password")
    before = platform.hasher.num_verified
    answer = await login(platform, email=EMAIL, password=PASSWORD)
    assert (answer.status_code, answer.json()["message"]) == (
        400,
        "the address is in several accounts; name one in `account`",
    )
    assert answer.json()["details"][0]["fieldViolations"][0]["field"] == "account"
    # Only whoever knows a password is told.
    assert (await login(platform, email=EMAIL, password="neither of both")).json() == WRONG
    assert platform.hasher.num_verified == before + 2
    await platform.log_in(email=EMAIL, password="another password", account="zeta")
    await platform.log_in(email=EMAIL, password=PASSWORD, account="acme")


async def test_outdated_hash_is_made_anew_by_a_login(platform: Platform, admin: str) -> None:
    old_hash = PasswordHasher(time_cost=1, memory_cost=16, parallelism=1).hash(PASSWORD)
    async with platform.database.writing() as db:
        await store.set_password(db, "acme", "ada", old_hash, moment=now())
    await platform.log_in(email=EMAIL, password=PASSWORD)
    async with platform.database.reading() as db:
        assert "m=8,t=1,p=1" in ((await user_store.get(db, "acme", "ada")).password_hash or "")
    await platform.log_in(email=EMAIL, password=PASSWORD)


async def test_logout_ends_the_session_at_once_here_and_within_a_second_elsewhere(
    platform: Platform, admin: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = Platform(platform.database)
    tokens, other = [await platform.log_in(email=EMAIL, password=PASSWORD) for _ in range(2)]
    clock_s = 1000.0
    monkeypatch.setattr("embergate.gateway.fresh_cache.monotonic_s", lambda: clock_s)
    assert await who(platform, tokens.token) == await who(elsewhere, tokens.token) == 200
    answer = await platform.call(tokens.token, "POST", "/v1/auth/logout", json={})
    assert (answer.status_code, answer.json()) == (200, {})
    assert await who(platform, tokens.token) == 401
    clock_s += 1.0
    assert await who(elsewhere, tokens.token) == 401
    refused = await platform.refresh(tokens.refreshToken)
    assert (refused.status_code, refused.json()["code"]) == (401, 16)
    assert await who(platform, other.token) == 200
    await elsewhere.close()


async def test_logout_by_refresh_token_needs_no_access_token(platform: Platform, admin: str) -> None:
    tokens = await platform.log_in(email=EMAIL, password=PASSWORD)
    assert await who(platform, tokens.token) == 200
    for _ in range(2):  # done twice it is done all the same
        body = {"refresh_token": tokens.refreshToken}
        assert (await platform.call(None, "POST", "/v1/auth/logout", json=body)).status_code == 200
    assert await who(platform, tokens.token) == 401


async def test_logout_without_a_session_is_refused(platform: Platform, admin: str) -> None:
    nobody = await platform.call(None, "POST", "/v1/auth/logout", json={})
    assert (nobody.status_code, nobody.json()["code"]) == (401, 16)
    unknown = await platform.call(None, "POST", "/v1/auth/logout", json={"refreshToken": "made up"})
    assert (unknown.status_code, unknown.json()["code"]) == (401, 16)
    with_key = await platform.call(admin, "POST", "/v1/auth/logout", json={})
    assert (with_key.status_code, with_key.json()["code"]) == (400, 3)
    assert await who(platform, admin) == 200


async def change(platform: Platform, token: str, current: str, new: str) -> Any:
    body = {"currentPassword": current, "newPassword": new}
    return await platform.call(token, "POST", "/v1/auth/password:change", json=body)


async def test_changed_password_ends_the_users_other_sessions(platform: Platform, admin: str) -> None:
    mine, other = [await platform.log_in(email=EMAIL, password=PASSWORD) for _ in range(2)]
    key = await platform.add_key("acme", "ada")
    assert await who(platform, other.token) == 200
    assert (await change(platform, mine.token, PASSWORD, "a new password")).json() == {}
    assert [await who(platform, token) for token in (mine.token, other.token, key)] == [200, 401, 200]
    assert (await platform.refresh(other.refreshToken)).status_code == 401
    assert (await platform.refresh(mine.refreshToken)).status_code == 200
    assert (await login(platform, email=EMAIL, password=PASSWORD)).status_code == 401
    await platform.log_in(email=EMAIL, password="a new password")


async def test_inference_user_may_change_its_own_password(platform: Platform, admin: str) -> None:
    key = await platform.add_user("acme", "ivy", Role.INFERENCE_USER)
    await platform.set_password("acme", "ivy", PASSWORD)
    session = await platform.log_in(email="ivy@acme.example", password=PASSWORD)
    assert (await change(platform, key, PASSWORD, "a new password")).status_code == 200
    assert (await platform.call(session.token, "GET", "/v1/models")).status_code == 401


@on_sqlite_only
@pytest.mark.parametrize(
    ("current", "new", "status", "says"),
    [
        ("not the password", "a new password", 403, "the current password is wrong"),
        (PASSWORD, "too short", 400, "newPassword must have 12 to 1024 characters"),
        (PASSWORD, "x" * 1025, 400, "newPassword"),
        ("", "a new password", 400, "currentPassword is required"),
        (PASSWORD, "", 400, "newPassword is required"),
    ],
)
async def test_bad_change_of_a_password_is_refused(
    platform: Platform, admin: str, current: str, new: str, status: int, says: str
) -> None:
    tokens = await platform.log_in(email=EMAIL, password=PASSWORD)
    answer = await change(platform, tokens.token, current, new)
    assert answer.status_code == status
    assert says in answer.json()["message"]
    await platform.log_in(email=EMAIL, password=PASSWORD)


async def test_user_without_a_password_cannot_give_itself_one(platform: Platform, admin: str) -> None:
    answer = await change(platform, admin, PASSWORD, "a new password")
    assert (answer.status_code, answer.json()["code"]) == (400, 9)


async def test_login_that_meets_a_change_of_the_password_opens_nothing_that_outlives_it(
    platform: Platform, admin: str
) -> None:
    mine = await platform.log_in(email=EMAIL, password=PASSWORD)
    changed, *logins = await asyncio.gather(
        change(platform, mine.token, PASSWORD, "a new password"),
        *(login(platform, email=EMAIL, password=PASSWORD) for _ in range(6)),
    )
    assert changed.status_code == 200
    for answer in logins:
        assert answer.status_code in {200, 401}
        if answer.status_code == 200:
            assert (await platform.refresh(answer.json()["refreshToken"])).status_code == 401


async def test_password_that_changes_while_it_is_compared_opens_and_changes_nothing(
    platform: Platform, admin: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    passwords = platform.gateway.sessions.passwords
    compare = passwords.fits

    async def compare_slowly(password_hash: str | None, password: str) -> bool:
        fits = await compare(password_hash, password)
        await platform.set_password("acme", "ada", "an operator's choice")
        return fits

    with monkeypatch.context() as patched:
        patched.setattr(passwords, "fits", compare_slowly)
        answer = await login(platform, email=EMAIL, password=PASSWORD)
        assert (answer.status_code, answer.json()) == (401, WRONG)
        await platform.set_password("acme", "ada", PASSWORD)
        key = await platform.add_key("acme", "ada")
        assert (await change(platform, key, PASSWORD, "a new password")).status_code == 403
    await platform.log_in(email=EMAIL, password="an operator's choice")


async def test_too_many_logins_by_one_address_are_a_429(database: Database) -> None:
    platform = Platform(database, rules=SessionRules(attempts_per_address=3))
    await platform.add_account("acme")
    await platform.set_password("acme", "admin", PASSWORD)
    for _ in range(3):
        assert (await login(platform, email="admin@acme.example", password="wrong")).status_code == 401
    refused = await login(platform, email="Admin@ACME.example", password=PASSWORD)
    assert (refused.status_code, refused.json()["code"]) == (429, 8)
    assert 1 <= int(refused.headers["retry-after"]) <= 300
    assert platform.hasher.num_verified == 3
    assert (await login(platform, email="other@acme.example", password="wrong")).status_code == 401
    await platform.close()


async def test_too_many_logins_from_one_client_are_a_429_whatever_they_try(database: Database) -> None:
    platform = Platform(database, rules=SessionRules(attempts_per_client=3))
    key = await platform.add_account("acme")
    for number in range(3):
        assert (await login(platform, email=f"{number}@acme.example", password="wrong")).status_code == 401
    assert (await login(platform, apiKey=key)).status_code == 429
    await platform.close()


async def test_guesses_at_the_current_password_are_limited(database: Database) -> None:
    platform = Platform(database, rules=SessionRules(attempts_per_address=3))
    key = await platform.add_account("acme")
    await platform.set_password("acme", "admin", PASSWORD)
    answers = [await change(platform, key, "not the password", "a new password") for _ in range(4)]
    assert [answer.status_code for answer in answers] == [403, 403, 403, 429]
    await platform.close()


async def test_trail_tells_who_logged_in_and_who_failed_and_no_secret(platform: Platform, admin: str) -> None:
    key = await platform.add_key("acme", "ada")
    await login(platform, email=EMAIL, password="not the password")
    await login(platform, email="nobody@acme.example", password=PASSWORD)
    with_password = await platform.log_in(email=EMAIL, password=PASSWORD)
    with_key = await platform.log_in(apiKey=key)
    await change(platform, with_password.token, "not the password", "a new password")
    await platform.call(None, "POST", "/v1/auth/logout", json={"refreshToken": with_key.refreshToken})
    entries = [
        entry for entry in await platform.trail(admin, "acme") if entry["method"].split("/")[2] != "ListAuditLogs"
    ]
    told = [
        (entry["method"].split("/")[2], entry["status"]["code"], entry["message"], bool(entry["apiKeyId"]))
        for entry in reversed(entries)
    ]
    assert told == [
        ("Login", "UNAUTHENTICATED", "wrong password", False),
        ("Login", "OK", "", False),
        ("Login", "OK", "", True),
        ("ChangePassword", "PERMISSION_DENIED", "wrong password", False),
        ("Logout", "OK", "", False),
    ]
    assert {entry["principal"] for entry in entries} == {EMAIL}
    assert entries[-1]["resource"] == "accounts/acme/users/ada"
    assert entries[0]["resource"] == entries[2]["resource"]
    assert entries[0]["resource"].startswith("accounts/acme/users/ada/sessions/ses_")
    assert entries[-1]["payload"]["body"] == {"email": EMAIL, "password": "[redacted]"}
    everything = str(entries)
    for secret in ("not the password", PASSWORD, "a new password", key, with_key.refreshToken, with_password.token):
        assert secret not in everything


async def test_trail_of_logins_is_whole(platform: Platform, admin: str) -> None:
    await asyncio.gather(*(login(platform, email=EMAIL, password="not the password") for _ in range(8)))
    assert (await verified(platform.database))["acme"].is_intact
