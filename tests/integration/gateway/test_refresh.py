"""Refresh tokens: each is good for one use, whoever asks at the same time, and a thief's use is noticed."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import datetime, timedelta
from typing import Any

import jwt
import pytest
import time_machine
from sqlalchemy import func, select, text

from embergate.clock import now
from embergate.errors import UnavailableError
from embergate.gateway.sessions import service, store
from embergate.gateway.sessions.rules import SessionRules
from embergate.storage.database import Database
from embergate.storage.tables.credentials import RefreshTokenRow, SessionRow, SigningKeyRow
from embergate.web.caller import Role
from tests.integration.gateway.platform import Platform, Tokens, on_sqlite_only

EMAIL = "ada@acme.example"
PASSWORD = "correct horse battery"
LATER = timedelta(seconds=11)


@pytest.fixture
async def admin(platform: Platform) -> str:
    """The key of an account's admin, beside whom there is Ada with a password."""
    key = await platform.add_account("acme")
    await platform.add_user("acme", "ada", Role.USER)
    await platform.set_password("acme", "ada", PASSWORD)
    return key


@pytest.fixture
async def tokens(platform: Platform, admin: str) -> Tokens:
    """A session of Ada's."""
    return await platform.log_in(email=EMAIL, password=PASSWORD)


async def who(platform: Platform, token: str) -> int:
    return (await platform.call(token, "GET", "/v1/accounts/acme")).status_code


async def num_unspent(database: Database) -> int:
    async with database.reading() as db:
        statement = select(func.count()).select_from(RefreshTokenRow).where(RefreshTokenRow.spend_time.is_(None))
        return int((await db.execute(statement)).scalar_one())


async def num_rows(database: Database, table: type[Any]) -> int:
    async with database.reading() as db:
        return int((await db.execute(select(func.count()).select_from(table))).scalar_one())


async def test_refresh_answers_a_fresh_pair_of_the_same_session(platform: Platform, tokens: Tokens) -> None:
    with time_machine.travel(now() + timedelta(minutes=20), tick=True):
        assert await who(platform, tokens.token) == 401
        answer = await platform.refresh(tokens.refreshToken)
        assert answer.status_code == 200
        assert answer.headers["cache-control"] == "no-store"
        assert list(answer.json()) == ["token", "expireTime", "refreshToken", "refreshExpireTime"]
        fresh = Tokens(**answer.json())
        assert await who(platform, fresh.token) == 200
    before, after = (jwt.decode(pair.token, options={"verify_signature": False}) for pair in (tokens, fresh))
    for name in ("iss", "sub", "account", "sid"):
        assert before[name] == after[name], name
    assert before["sub"] == "accounts/acme/users/ada"
    assert before["jti"] != after["jti"]
    assert after["exp"] - after["iat"] == 900
    assert datetime.fromisoformat(fresh.expireTime).timestamp() == after["exp"]
    assert fresh.refreshExpireTime == tokens.refreshExpireTime
    assert fresh.refreshToken != tokens.refreshToken


@pytest.mark.parametrize("name", ["refreshToken", "refresh_token"])
async def test_refresh_reads_either_spelling_and_needs_no_key(platform: Platform, tokens: Tokens, name: str) -> None:
    answer = await platform.call(None, "POST", "/v1/auth/refresh", json={name: tokens.refreshToken})
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("body", "status", "code", "says"),
    [
        ({}, 400, 3, "refreshToken is required"),
        ({"refreshToken": ""}, 400, 3, "refreshToken is required"),
        ({"refreshToken": None}, 400, 3, "refreshToken is required"),
        ({"refreshToken": 5}, 400, 3, "refreshToken"),
        ({"refreshToken": "x", "refresh_token": "x"}, 400, 3, "given twice"),
        ({"refreshToken": "x", "colour": 1}, 400, 3, 'unknown field "colour"'),
        ({"refreshToken": "nobody has this one"}, 401, 16, "the refresh token is not valid"),
        ({"refreshToken": "x" * 4097}, 400, 3, "refreshToken"),
        ({"refreshToken": "ünïcødé \U0001f511"}, 401, 16, "the refresh token is not valid"),
    ],
)
async def test_bad_refresh_is_refused_in_the_gateways_shape(
    platform: Platform, admin: str, body: dict[str, Any], status: int, code: int, says: str
) -> None:
    answer = await platform.call(None, "POST", "/v1/auth/refresh", json=body)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert set(answer.json()) == {"code", "message", "details"}
    assert says in answer.json()["message"]


async def test_expired_session_is_not_refreshed(platform: Platform, tokens: Tokens) -> None:
    with time_machine.travel(now() + timedelta(days=30, seconds=1), tick=True):
        answer = await platform.refresh(tokens.refreshToken)
        assert (answer.status_code, answer.json()["code"]) == (401, 16)
        assert answer.json()["message"] == "the session has ended; log in again"


async def test_no_refresh_makes_a_session_longer(database: Database) -> None:
    lifetime = timedelta(minutes=20)
    platform = Platform(database, rules=SessionRules(session_lifetime=lifetime))
    key = await platform.add_account("acme")
    first = await platform.log_in(apiKey=key)
    with time_machine.travel(now() + timedelta(minutes=10), tick=True):
        second = Tokens(**(await platform.refresh(first.refreshToken)).json())
        assert second.refreshExpireTime == first.refreshExpireTime
        # No access token outlives its session.
        session_ends = datetime.fromisoformat(second.refreshExpireTime)
        assert timedelta(0) <= session_ends - datetime.fromisoformat(second.expireTime) < timedelta(seconds=1)
    with time_machine.travel(now() + lifetime, tick=True):
        assert (await platform.refresh(second.refreshToken)).status_code == 401
        assert await who(platform, second.token) == 401
    await platform.close()


async def test_of_fifty_refreshes_at_once_in_two_processes_one_succeeds_and_its_successor_lives(
    platform: Platform, tokens: Tokens, database_url: str
) -> None:
    other_database = Database.open(database_url)
    elsewhere = Platform(other_database)
    answers = await asyncio.gather(
        *((platform, elsewhere)[number % 2].refresh(tokens.refreshToken) for number in range(50))
    )
    assert Counter(answer.status_code for answer in answers) == {200: 1, 401: 49}
    assert {answer.json()["code"] for answer in answers if answer.status_code == 401} == {16}
    assert await num_unspent(platform.database) == 1
    successor = next(Tokens(**answer.json()) for answer in answers if answer.status_code == 200)
    assert await who(platform, successor.token) == await who(elsewhere, successor.token) == 200
    assert (await elsewhere.refresh(successor.refreshToken)).status_code == 200
    await elsewhere.close()
    await other_database.close()


async def test_token_shown_again_within_the_leeway_is_refused_and_the_session_goes_on(
    platform: Platform, admin: str, tokens: Tokens
) -> None:
    fresh = Tokens(**(await platform.refresh(tokens.refreshToken)).json())
    again = await platform.refresh(tokens.refreshToken)
    assert (again.status_code, again.json()["code"]) == (401, 16)
    assert await who(platform, fresh.token) == 200
    entry = (await platform.trail(admin, "acme", filter='method:"Refresh"'))[0]
    assert entry["message"] == "a refresh token was shown again right after its use"
    assert (await platform.refresh(fresh.refreshToken)).status_code == 200


async def test_token_shown_again_after_the_leeway_ends_the_session(
    platform: Platform, admin: str, tokens: Tokens
) -> None:
    other = await platform.log_in(email=EMAIL, password=PASSWORD)
    fresh = Tokens(**(await platform.refresh(tokens.refreshToken)).json())
    assert await who(platform, fresh.token) == 200
    with time_machine.travel(now() + LATER, tick=True):
        again = await platform.refresh(tokens.refreshToken)
        assert (again.status_code, again.json()["code"]) == (401, 16)
        # At once in this process: the access token, which the authenticator has just seen to be good, and the successor.
        assert await who(platform, fresh.token) == 401
        assert (await platform.refresh(fresh.refreshToken)).status_code == 401
        assert await who(platform, other.token) == 200
        entries = await platform.trail(admin, "acme", filter='message:"revoked"')
    assert [entry["message"] for entry in entries] == ["a used refresh token was shown again: the session is revoked"]
    assert entries[0]["status"]["code"] == "UNAUTHENTICATED"
    assert entries[0]["principal"] == EMAIL
    assert "/sessions/ses_" in entries[0]["resource"]
    assert entries[0]["payload"]["body"] == {"refreshToken": "[redacted]"}


async def test_grandfather_of_the_live_token_ends_the_session_too(platform: Platform, tokens: Tokens) -> None:
    pair = tokens
    for _ in range(3):
        pair = Tokens(**(await platform.refresh(pair.refreshToken)).json())
    with time_machine.travel(now() + LATER, tick=True):
        assert (await platform.refresh(tokens.refreshToken)).status_code == 401
        assert (await platform.refresh(pair.refreshToken)).status_code == 401


async def test_theft_that_cannot_be_written_down_is_answered_as_one_to_try_again(
    platform: Platform, tokens: Tokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh = Tokens(**(await platform.refresh(tokens.refreshToken)).json())

    async def full(*_: Any) -> None:
        raise UnavailableError("The disk of the database is full.")

    with time_machine.travel(now() + LATER, tick=True):
        with monkeypatch.context() as patched:
            patched.setattr(store, "revoke", full)
            assert (await platform.refresh(tokens.refreshToken)).status_code == 503
            assert await who(platform, fresh.token) == 200
        assert (await platform.refresh(tokens.refreshToken)).status_code == 401
        assert await who(platform, fresh.token) == 401


async def test_refresh_token_of_an_older_master_key_is_good_once(platform: Platform, tokens: Tokens) -> None:
    rotated = Platform(platform.database, master_keys=(b"n" * 32, bytes(range(32))))
    assert await who(rotated, tokens.token) == 200
    fresh = Tokens(**(await rotated.refresh(tokens.refreshToken)).json())
    assert await who(rotated, fresh.token) == 200
    assert (await rotated.refresh(tokens.refreshToken)).status_code == 401
    await rotated.close()


async def test_purge_deletes_what_ended_long_ago_and_nothing_else(
    platform: Platform, tokens: Tokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "PURGE_BATCH", 2)
    parts = platform.gateway.sessions
    await platform.refresh(tokens.refreshToken)
    for _ in range(3):
        ended = await platform.log_in(email=EMAIL, password=PASSWORD)
        await platform.call(ended.token, "POST", "/v1/auth/logout", json={})
    assert await service.purge(platform.database, parts) == 0
    with time_machine.travel(now() + timedelta(days=8), tick=True):
        recent = await platform.log_in(email=EMAIL, password=PASSWORD)
        await platform.call(recent.token, "POST", "/v1/auth/logout", json={})
        assert await service.purge(platform.database, parts) == 3
        assert await num_rows(platform.database, SessionRow) == 2
        assert await num_rows(platform.database, RefreshTokenRow) == 3
    with time_machine.travel(now() + timedelta(days=38), tick=True):
        assert await service.purge(platform.database, parts) == 2
        assert await num_rows(platform.database, SessionRow) == await num_rows(platform.database, RefreshTokenRow) == 0
        assert await num_rows(platform.database, SigningKeyRow) == 1


@on_sqlite_only
async def test_made_up_refresh_token_takes_no_lock_and_counts_against_its_client(database: Database) -> None:
    platform = Platform(database, rules=SessionRules(attempts_per_client=4))
    key = await platform.add_account("acme")
    tokens = await platform.log_in(apiKey=key)
    async with database.writing() as db:
        await db.execute(text("UPDATE accounts SET display_name = ''"))  # from now on SQLite has no other writer
        body = {"refreshToken": "made up"}
        answers = [await platform.call(None, "POST", f"/v1/auth/{verb}", json=body) for verb in ("refresh", "logout")]
        answers += [await platform.refresh("made up") for _ in range(2)]
    assert [answer.status_code for answer in answers] == [401, 401, 401, 429]
    assert (await platform.refresh(tokens.refreshToken)).status_code == 200  # one that there is is not counted
    await platform.close()
