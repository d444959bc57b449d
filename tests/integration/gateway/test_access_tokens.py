"""Access tokens: what is accepted and what is not, and the keys that sign them, shared by processes and rotated."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import jwt
import pytest
import time_machine
from sqlalchemy import delete, select

from embergate.clock import now
from embergate.errors import UnauthorizedError
from embergate.gateway.sessions.rules import SessionRules
from embergate.gateway.sessions.tokens import AccessToken, AccessTokens, Claims, looks_like_access_token
from embergate.storage.database import Database
from embergate.storage.tables.credentials import SessionRow, SigningKeyRow
from embergate.web.keyring import Keyring
from tests.integration.gateway.platform import Platform

MASTER_KEY = bytes(range(32))
KEYRING = Keyring([MASTER_KEY])
Forge = Callable[[str, bytes], str]


def session(*, ends_in: timedelta = timedelta(days=300)) -> SessionRow:
    return SessionRow(id="ses_1", account_id="acme", user_id="ada", expire_time=now() + ends_in)


async def mint(tokens: AccessTokens, database: Database) -> AccessToken:
    async with database.writing() as db:
        return await tokens.mint(db, session())


async def verify(tokens: AccessTokens, database: Database, token: str) -> Claims:
    async with database.reading() as db:
        return await tokens.verify(db, token)


async def signing_keys(database: Database, keyring: Keyring = KEYRING) -> dict[str, bytes]:
    async with database.reading() as db:
        rows = (await db.execute(select(SigningKeyRow).order_by(SigningKeyRow.create_time))).scalars()
        return {row.id: keyring.decrypt(row.encrypted_key) for row in rows}


def kid(token: str) -> str:
    return str(jwt.get_unverified_header(token)["kid"])


def payload(token: str) -> dict[str, Any]:
    return jwt.decode(token, options={"verify_signature": False})


def base64url(document: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(document).encode()).rstrip(b"=").decode()


async def test_token_says_whose_session_it_is_and_when_it_ends(database: Database) -> None:
    tokens = AccessTokens(KEYRING)
    minted = await mint(tokens, database)
    claims = await verify(tokens, database, minted.token)
    assert claims == Claims("acme", "ada", "ses_1", minted.expires_at)
    assert looks_like_access_token(minted.token)
    assert jwt.get_unverified_header(minted.token) == {"alg": "HS256", "kid": "1", "typ": "JWT"}
    assert minted.token not in repr(minted)


async def test_signing_keys_are_stored_encrypted(database: Database) -> None:
    await mint(AccessTokens(KEYRING), database)
    async with database.reading() as db:
        row = (await db.execute(select(SigningKeyRow))).scalar_one()
    secret = (await signing_keys(database))["1"]
    assert len(secret) == 32
    assert secret not in row.encrypted_key
    assert secret not in base64.urlsafe_b64decode(row.encrypted_key)


def with_claim(**changes: Any) -> Forge:
    """Return a forger who even has the key."""

    def forge(token: str, secret: bytes) -> str:
        claims = {name: value for name, value in (payload(token) | changes).items() if value is not None}
        return jwt.encode(claims, secret, "HS256", headers={"kid": kid(token)})

    return forge


def with_header(**changes: Any) -> Forge:
    def forge(token: str, secret: bytes) -> str:
        header = {name: value for name, value in ({"kid": "1", "typ": "JWT"} | changes).items() if value is not None}
        return jwt.encode(payload(token), secret, changes.get("alg", "HS256"), headers=header)

    return forge


def unsigned(algorithm: str) -> Forge:
    def forge(token: str, secret: bytes) -> str:
        return f"{base64url({'alg': algorithm, 'kid': '1', 'typ': 'JWT'})}.{token.split('.')[1]}."

    return forge


FORGERIES: dict[str, Forge] = {
    "a changed payload": lambda token, _: ".".join(
        (token.split(".")[0], base64url(payload(token) | {"sub": "accounts/acme/users/admin"}), token.split(".")[2])
    ),
    "a changed signature": lambda token, _: token[:-4] + ("AAAA" if token[-4:] != "AAAA" else "BBBB"),
    "no signature": lambda token, _: token.rpartition(".")[0] + ".",
    "alg none": unsigned("none"),
    "alg None": unsigned("None"),
    "alg HS256 with an empty signature": unsigned("HS256"),
    "another algorithm by the same key": with_header(alg="HS512"),
    "another key": lambda token, _: with_header()(token, b"x" * 32),
    "an unknown kid": with_header(kid="99"),
    "a kid that is a path": with_header(kid="../../dev/null"),
    "no kid": with_header(kid=None),
    "an unknown critical header": with_header(crit=["embergate"], embergate=1),
    "another issuer": with_claim(iss="somebody else"),
    "no issuer": with_claim(iss=None),
    "no session": with_claim(sid=None),
    "no account": with_claim(account=None),
    "no end": with_claim(exp=None),
    "no id": with_claim(jti=None),
    "an end that is no number": with_claim(exp="never"),
    "issued tomorrow": with_claim(iat=int(datetime(2099, 1, 1).timestamp())),
    "not good before tomorrow": with_claim(nbf=int(datetime(2099, 1, 1).timestamp())),
    "a header nested too deep": lambda *_: (
        base64.urlsafe_b64encode(b'{"a":' + b"[" * 2000).rstrip(b"=").decode() + ".e30.e30"
    ),
    "nothing": lambda *_: "eyJ..",
    "not base64": lambda *_: "eyJ!.?.*",
}


@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")
async def test_forged_token_is_refused(database: Database) -> None:
    tokens = AccessTokens(KEYRING)
    token = (await mint(tokens, database)).token
    secret = (await signing_keys(database))["1"]
    assert await verify(
        tokens, database, with_claim()(token, secret)
    )  # what forgers do without a change is a good token
    for name, forge in FORGERIES.items():
        with pytest.raises(UnauthorizedError) as refused:
            await verify(tokens, database, forge(token, secret))
        assert refused.value.message == "the access token is not valid", name


async def test_forged_tokens_are_401s_on_both_planes(platform: Platform) -> None:
    key = await platform.add_account("acme")
    token = (await platform.log_in(apiKey=key)).token
    for forged in (unsigned("none")(token, b""), token[:-4] + "AAAA", "eyJ.eyJ.eyJ"):
        for path in ("/v1/accounts", "/inference/v1/models"):
            answer = await platform.call(forged, "GET", path)
            assert (answer.status_code, answer.json()["error"]["code"]) == (401, "UNAUTHORIZED")


async def test_token_of_a_session_that_is_not_there_is_refused(platform: Platform) -> None:
    key = await platform.add_account("acme")
    tokens = await platform.log_in(apiKey=key)
    secret = (await signing_keys(platform.database))["1"]
    for forge in (with_claim(sid="ses_none"), with_claim(account="other")):
        answer = await platform.call(forge(tokens.token, secret), "GET", "/v1/accounts")
        assert answer.status_code == 401
    assert (await platform.call(with_claim()(tokens.token, secret), "GET", "/v1/accounts")).status_code == 200


async def test_expired_token_is_refused_to_the_second(platform: Platform) -> None:
    key = await platform.add_account("acme")
    tokens = await platform.log_in(apiKey=key)
    ends = datetime.fromisoformat(tokens.expireTime)
    with time_machine.travel(ends - timedelta(seconds=1), tick=False):
        assert (await platform.call(tokens.token, "GET", "/v1/accounts")).status_code == 200
    with time_machine.travel(ends, tick=False):
        assert (await platform.call(tokens.token, "GET", "/v1/accounts")).status_code == 401
        platform.gateway.authenticator.forget()
        assert (await platform.call(tokens.token, "GET", "/v1/accounts")).status_code == 401
    platform.gateway.authenticator.forget()
    with time_machine.travel(ends + timedelta(minutes=1), tick=False):
        answer = await platform.call(tokens.token, "GET", "/v1/accounts")
        assert answer.json()["error"]["message"] == "the access token has expired; refresh it"


async def test_clocks_of_two_processes_may_differ_by_seconds(database: Database) -> None:
    with time_machine.travel(now() + timedelta(seconds=4), tick=True):
        ahead = await mint(AccessTokens(KEYRING), database)
    assert await verify(AccessTokens(KEYRING), database, ahead.token)


async def test_processes_make_one_first_key_between_them(database: Database, database_url: str) -> None:
    other_database = Database.open(database_url)
    processes = [(AccessTokens(KEYRING), each) for each in (database, other_database) for _ in range(4)]
    minted = await asyncio.gather(*(mint(tokens, each) for tokens, each in processes))
    assert {kid(each.token) for each in minted} == set(await signing_keys(database)) == {"1"}
    for tokens, each in processes:
        for token in minted:
            assert await verify(tokens, each, token.token)
    await other_database.close()


async def test_keys_rotate_without_a_break(database: Database, database_url: str) -> None:
    other_database = Database.open(database_url)
    rules = SessionRules()
    here, there = AccessTokens(KEYRING, rules), AccessTokens(KEYRING, rules)
    first = await mint(here, database)
    assert kid((await mint(there, other_database)).token) == kid(first.token) == "1"
    due = now() + rules.signing_key_age
    with time_machine.travel(due, tick=True):
        # Whoever comes first makes the next key, which signs a little later, when every process can have read it.
        minted = await asyncio.gather(mint(here, database), mint(there, other_database), mint(here, database))
        assert {kid(each.token) for each in minted} == {"1"}
        assert list(await signing_keys(database)) == ["1", "2"]
    with time_machine.travel(due + timedelta(seconds=10), tick=True):
        new = await mint(there, other_database)
        assert kid(new.token) == "2"
        for token in (*minted, new):
            assert await verify(here, database, token.token)
            assert await verify(there, other_database, token.token)
    # As long as a token of the old key can live, it is accepted.
    with time_machine.travel(minted[0].expires_at - timedelta(seconds=2), tick=True):
        assert await verify(here, database, minted[0].token)
    await other_database.close()


async def test_retired_key_verifies_nothing_even_for_whoever_has_it(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock_s = 1000.0
    monkeypatch.setattr("embergate.gateway.sessions.tokens.monotonic_s", lambda: clock_s)
    tokens = AccessTokens(KEYRING)
    first = await mint(tokens, database)
    secret = (await signing_keys(database))["1"]
    far = int((now() + timedelta(days=365)).timestamp())
    stolen = with_claim(exp=far)(first.token, secret)
    assert await verify(tokens, database, stolen)
    due = now() + timedelta(days=30)
    with time_machine.travel(due, tick=True):
        await mint(tokens, database)
    with time_machine.travel(due + timedelta(minutes=16), tick=True):
        clock_s += 60.0  # keys are read again once a minute, so that a process hears of the new one
        with pytest.raises(UnauthorizedError):
            await verify(tokens, database, stolen)
        async with database.writing() as db:
            await tokens.delete_retired(db)
        assert list(await signing_keys(database)) == ["1", "2"]
    with time_machine.travel(due + timedelta(days=2), tick=True):
        async with database.writing() as db:
            await tokens.delete_retired(db)
        assert list(await signing_keys(database)) == ["2"]
        with pytest.raises(UnauthorizedError):
            await verify(AccessTokens(KEYRING), database, stolen)


async def test_unknown_key_is_looked_for_once_a_second(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    clock_s = 1000.0
    monkeypatch.setattr("embergate.gateway.sessions.tokens.monotonic_s", lambda: clock_s)
    here, there = AccessTokens(KEYRING), AccessTokens(KEYRING)
    with pytest.raises(UnauthorizedError):
        await verify(here, database, jwt.encode({}, b"x" * 32, "HS256", headers={"kid": "9"}))
    token = (await mint(there, database)).token
    clock_s += 0.9
    with pytest.raises(UnauthorizedError):
        await verify(here, database, token)
    clock_s += 0.1
    assert await verify(here, database, token)


async def test_first_tokens_that_come_at_once_all_wait_for_the_keys(database: Database) -> None:
    token = (await mint(AccessTokens(KEYRING), database)).token
    fresh = AccessTokens(KEYRING)
    claims = await asyncio.gather(*(verify(fresh, database, token) for _ in range(20)))
    assert len(claims) == 20


async def test_deleted_signing_key_is_noticed_within_a_minute(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock_s = 1000.0
    monkeypatch.setattr("embergate.gateway.sessions.tokens.monotonic_s", lambda: clock_s)
    tokens = AccessTokens(KEYRING)
    token = (await mint(tokens, database)).token
    assert await verify(tokens, database, token)
    async with database.writing() as db:
        await db.execute(delete(SigningKeyRow))
    clock_s += 60.0
    with pytest.raises(UnauthorizedError):
        await verify(tokens, database, token)


async def test_key_of_an_undone_transaction_signs_nothing(database: Database) -> None:
    tokens = AccessTokens(KEYRING)

    async def mint_and_fail() -> None:
        async with database.writing() as db:
            await tokens.mint(db, session())
            raise RuntimeError("the rest of the call fails")

    with pytest.raises(RuntimeError):
        await mint_and_fail()
    assert await signing_keys(database) == {}
    minted = await mint(tokens, database)
    assert await verify(AccessTokens(KEYRING), database, minted.token)


async def test_rotated_master_key_still_opens_the_signing_keys(database: Database) -> None:
    token = (await mint(AccessTokens(KEYRING), database)).token
    rotated = AccessTokens(Keyring([b"n" * 32, MASTER_KEY]))
    assert await verify(rotated, database, token)
    assert kid((await mint(rotated, database)).token) == "1"


async def test_lost_master_key_ends_the_tokens_and_nothing_else(database: Database) -> None:
    token = (await mint(AccessTokens(KEYRING), database)).token
    bereft = AccessTokens(Keyring([b"n" * 32]))
    with pytest.raises(UnauthorizedError):
        await verify(bereft, database, token)
    minted = await mint(bereft, database)
    assert kid(minted.token) == "2"
    assert await verify(bereft, database, minted.token)


@pytest.mark.parametrize(
    ("credential", "is_token"),
    [
        ("eg_abc", False),
        ("eyJhbGciOiJIUzI1NiJ9.e30.x", True),
        ("eyJ.a", False),
        ("eyJ.a.b.c", False),
        ("a.b.c", False),
        ("eyJ.é.b", False),
        ("", False),
    ],
)
def test_access_tokens_are_told_from_keys_by_their_look(credential: str, is_token: bool) -> None:
    assert looks_like_access_token(credential) is is_token
