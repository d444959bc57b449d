"""Logging in by way of a real OpenID Connect provider, and by one that gets things wrong."""

from __future__ import annotations

import gzip
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import jwt
import pytest
import time_machine
from starlette.responses import JSONResponse, PlainTextResponse, Response

from embergate.clock import now
from embergate.gateway.sessions.rules import SessionRules
from embergate.gateway.users import service as users
from embergate.gateway.users.schemas import User
from embergate.storage.database import Database
from embergate.web.caller import Role
from tests.integration.gateway.oidc_provider import CLIENT_SECRET, OidcProvider, Person, key_called
from tests.integration.gateway.platform import Platform

EMAIL = "ada@acme.example"
LOGIN = "/v1/auth/oidc/login"
CALLBACK = "/v1/auth/oidc/callback"
DISCOVERY = "/.well-known/openid-configuration"


@pytest.fixture
def provider() -> Iterator[OidcProvider]:
    started = OidcProvider()
    yield started
    started.stop()


@pytest.fixture
async def server_on_either(database: Database, provider: OidcProvider) -> AsyncIterator[Platform]:
    """A server that the provider knows, with Ada in one account, on each kind of database."""
    made = await _server(database, provider)
    yield made
    await made.close()


@pytest.fixture
async def server(sqlite_url: str, provider: OidcProvider) -> AsyncIterator[Platform]:
    """The same on one kind, for what has nothing to do with the database."""
    database = Database.open(sqlite_url)
    made = await _server(database, provider)
    yield made
    await made.close()
    await database.close()


async def _server(database: Database, provider: OidcProvider) -> Platform:
    made = Platform(database, oidc=provider.client())
    await made.add_account("acme")
    await made.add_user("acme", "ada", Role.USER)
    return made


async def authorized(browser: httpx2.AsyncClient, login: str = LOGIN) -> dict[str, str]:
    """Take a browser to the provider, and return what the provider sends it back with."""
    begun = await browser.get(login)
    assert begun.status_code == 302, begun.text
    async with httpx2.AsyncClient() as network:
        back = await network.get(begun.headers["location"])
    assert back.status_code == 302, back.text
    return {name: values[0] for name, values in parse_qs(urlsplit(back.headers["location"]).query).items()}


async def log_in(server: Platform, login: str = LOGIN) -> httpx2.Response:
    async with server.client() as browser:
        return await browser.get(CALLBACK, params=await authorized(browser, login))


async def test_verified_address_opens_a_session_of_its_user(server_on_either: Platform) -> None:
    server = server_on_either
    async with server.client() as browser:
        answer = await browser.get(CALLBACK, params=await authorized(browser))
        assert "embergate_oidc" not in browser.cookies
    assert answer.status_code == 200, answer.text
    assert list(answer.json()) == ["token", "expireTime", "refreshToken", "refreshExpireTime"]
    assert answer.headers["cache-control"] == "no-store"
    listed = await server.call(answer.json()["token"], "GET", "/v1/accounts")
    assert [account["name"] for account in listed.json()["accounts"]] == ["accounts/acme"]
    assert (await server.refresh(answer.json()["refreshToken"])).status_code == 200


async def test_login_sends_the_browser_away_with_a_cookie_that_tells_it_nothing(
    server: Platform, provider: OidcProvider
) -> None:
    answer = await server.call(None, "GET", LOGIN)
    location = urlsplit(answer.headers["location"])
    query = {name: values[0] for name, values in parse_qs(location.query).items()}
    assert f"{location.scheme}://{location.netloc}" == provider.issuer
    assert set(query) == {
        *("response_type", "client_id", "redirect_uri", "scope", "state", "nonce"),
        *("code_challenge", "code_challenge_method"),
    }
    cookie = answer.headers["set-cookie"]
    for part in ("HttpOnly", "SameSite=lax", "Path=/v1/auth/oidc", "Max-Age=600"):
        assert part in cookie
    assert "Secure" not in cookie
    assert query["state"] not in cookie
    assert query["nonce"] not in cookie
    assert answer.headers["cache-control"] == "no-store"


async def test_cookie_of_a_server_behind_https_is_secure(server: Platform, provider: OidcProvider) -> None:
    secure = Platform(
        server.database, oidc=provider.client(redirect_url="https://embeddings.example/v1/auth/oidc/callback")
    )
    assert "Secure" in (await secure.call(None, "GET", LOGIN)).headers["set-cookie"]
    await secure.close()


async def test_server_without_a_provider_says_so(platform: Platform) -> None:
    for path in (LOGIN, CALLBACK):
        answer = await platform.call(None, "GET", path)
        assert (answer.status_code, answer.json()["code"]) == (404, 5)
        assert "EMBERGATE_OIDC_ISSUER" in answer.json()["message"]


@pytest.mark.parametrize(
    ("claims", "status", "says"),
    [
        ({"email": "Ada@ACME.example", "email_verified": True}, 200, "token"),
        ({"email": EMAIL, "email_verified": False}, 401, "does not vouch"),
        ({"email": EMAIL, "email_verified": "true"}, 401, "does not vouch"),
        ({"email": EMAIL}, 401, "does not vouch"),
        ({"email_verified": True}, 401, "does not vouch"),
        ({"email": [EMAIL], "email_verified": True}, 401, "does not vouch"),
        ({"email": "nobody@acme.example", "email_verified": True}, 403, "no user has this address"),
        ({"email": "robot@acme.sa.fireworks.ai", "email_verified": True}, 403, "no user has this address"),
    ],
)
async def test_address_must_be_verified_and_a_users(
    server: Platform, provider: OidcProvider, claims: dict[str, Any], status: int, says: str
) -> None:
    async with server.database.writing() as db:
        await users.add(db, "acme", "robot", User(role="user", service_account=True), Role.USER)
    provider.person = Person(claims=claims)
    answer = await log_in(server)
    assert answer.status_code == status
    assert says in answer.text


async def test_address_in_several_accounts_needs_one_named(server_on_either: Platform) -> None:
    server = server_on_either
    await server.add_account("zeta")
    async with server.database.writing() as db:
        await users.add(db, "zeta", "ada", User(role="user", email=EMAIL), Role.USER)
    answer = await log_in(server)
    assert (answer.status_code, answer.json()["code"]) == (400, 9)
    assert "/v1/auth/oidc/login?account=" in answer.json()["message"]
    answer = await log_in(server, f"{LOGIN}?account=zeta")
    listed = await server.call(answer.json()["token"], "GET", "/v1/accounts")
    assert [account["name"] for account in listed.json()["accounts"]] == ["accounts/zeta"]
    assert (await log_in(server, f"{LOGIN}?account=other")).status_code == 403


@pytest.mark.parametrize(
    "changes",
    [
        {"nonce": "of another login"},
        {"nonce": None},
        {"iss": "https://somebody.else"},
        {"aud": "another client"},
        {"aud": ["embergate-of-tests", "another client"], "azp": "another client"},
        {"exp": 1_000_000_000},
        {"exp": None},
        {"iat": None},
        {"iat": 4_000_000_000},
        {"sub": None},
    ],
    ids=str,
)
async def test_id_token_for_something_else_is_refused(
    server: Platform, provider: OidcProvider, changes: dict[str, Any]
) -> None:
    provider.person = Person(changes=changes)
    answer = await log_in(server)
    assert (answer.status_code, answer.json()["code"]) == (401, 16)
    assert "ID token" in answer.json()["message"]


async def test_id_token_for_several_clients_is_taken_if_it_was_made_for_this_one(
    server: Platform, provider: OidcProvider
) -> None:
    provider.person = Person(changes={"aud": ["another client", "embergate-of-tests"], "azp": "embergate-of-tests"})
    assert (await log_in(server)).status_code == 200


async def test_id_token_that_the_providers_keys_did_not_sign_is_refused(
    server: Platform, provider: OidcProvider
) -> None:
    provider.signing_key = key_called("of somebody else")
    assert (await log_in(server)).status_code == 401
    provider.algorithm, provider.signing_key = "HS256", CLIENT_SECRET.ljust(32)
    assert (await log_in(server)).status_code == 401
    provider.algorithm, provider.signing_key = "none", ""
    assert (await log_in(server)).status_code == 401


async def test_key_that_the_provider_has_made_since_is_looked_for(
    server: Platform, provider: OidcProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock_s = 1000.0
    monkeypatch.setattr("embergate.gateway.sessions.oidc.monotonic_s", lambda: clock_s)
    assert (await log_in(server)).status_code == 200
    provider.keys["key-2"] = key_called("key-2")
    clock_s += 9.0  # not more often than every ten seconds
    assert (await log_in(server)).status_code == 401
    clock_s += 1.0
    assert (await log_in(server)).status_code == 200
    assert (provider.num_requests["/keys"], provider.num_requests[DISCOVERY]) == (2, 1)
    clock_s += 3600.0
    assert (await log_in(server)).status_code == 200
    assert (provider.num_requests["/keys"], provider.num_requests[DISCOVERY]) == (3, 2)


async def test_id_token_that_names_no_key_is_checked_with_the_only_one(
    server: Platform, provider: OidcProvider
) -> None:
    provider.names_its_keys = False
    assert (await log_in(server)).status_code == 200
    provider.keys["key-2"] = key_called("key-2")
    fresh = Platform(server.database, oidc=provider.client())
    assert (await log_in(fresh)).status_code == 401
    await fresh.close()


async def test_state_of_another_browser_is_refused(server: Platform, provider: OidcProvider) -> None:
    async with server.client() as thief, server.client() as victim:
        stolen = await authorized(thief)
        for prepared in ("", LOGIN):  # a browser that began no login, and one that began its own
            if prepared:
                await victim.get(prepared)
            answer = await victim.get(CALLBACK, params=stolen)
            assert (answer.status_code, answer.json()["code"]) == (401, 16)
        assert provider.num_requests["/token"] == 0
        assert (await thief.get(CALLBACK, params={**stolen, "state": ""})).status_code == 401
        assert (await thief.get(CALLBACK, params=stolen)).status_code == 200


async def test_code_is_good_once(server: Platform) -> None:
    async with server.client() as browser:
        query = await authorized(browser)
        kept = browser.cookies["embergate_oidc"]
        assert (await browser.get(CALLBACK, params=query)).status_code == 200
        browser.cookies.set("embergate_oidc", kept)
        answer = await browser.get(CALLBACK, params=query)
    assert (answer.status_code, answer.json()["message"]) == (401, "the OIDC provider refused the login: invalid_grant")


async def test_login_that_took_too_long_begins_anew(server: Platform) -> None:
    async with server.client() as browser:
        query = await authorized(browser)
        kept = browser.cookies["embergate_oidc"]
        with time_machine.travel(now() + timedelta(minutes=11), tick=True):
            browser.cookies.set("embergate_oidc", kept)
            answer = await browser.get(CALLBACK, params=query)
    assert answer.status_code == 401
    assert "start again" in answer.json()["message"]


@pytest.mark.parametrize("cookie", ["nonsense", "", "another", "number"])
async def test_forged_cookie_is_refused(server: Platform, cookie: str) -> None:
    async with server.client() as browser:
        query = await authorized(browser)
        # What else the server may have encrypted.
        others = {"another": b'{"for": "something else"}', "number": b"7"}
        if cookie in others:
            cookie = server.keyring.encrypt(others[cookie]).decode()
        browser.cookies.clear()
        browser.cookies.set("embergate_oidc", cookie)
        assert (await browser.get(CALLBACK, params=query)).status_code == 401


async def test_refusal_of_the_provider_is_told(server: Platform) -> None:
    async with server.client() as browser:
        state = (await authorized(browser))["state"]
        answer = await browser.get(CALLBACK, params={"state": state, "error": "access_denied"})
        assert answer.json()["message"] == "the OIDC provider refused the login: access_denied"
        answer = await browser.get(CALLBACK, params={"state": state})
        assert (answer.status_code, answer.json()["message"]) == (400, "code is required")


async def test_secret_may_be_sent_in_the_body_to_a_provider_that_wants_it_there(
    server: Platform, provider: OidcProvider
) -> None:
    provider.metadata_changes = {"token_endpoint_auth_methods_supported": ["client_secret_post"]}
    assert (await log_in(server)).status_code == 200


async def test_wrong_client_secret_is_told(server: Platform, provider: OidcProvider) -> None:
    wrong = Platform(server.database, oidc=provider.client(client_secret="wrong"))
    answer = await log_in(wrong)
    assert (answer.status_code, answer.json()["message"]) == (
        401,
        "the OIDC provider refused the login: invalid_client",
    )
    await wrong.close()


async def test_address_may_stand_in_the_user_info_alone(server: Platform, provider: OidcProvider) -> None:
    info = {"sub": "248289761001", "email": EMAIL, "email_verified": True}
    provider.person = Person(claims={}, user_info=info)
    assert (await log_in(server)).status_code == 200
    provider.person = Person(claims={}, user_info=info | {"sub": "somebody else"})
    assert (await log_in(server)).status_code == 401


BROKEN: dict[str, tuple[str, Response]] = {
    "no discovery": (DISCOVERY, PlainTextResponse("no such page", 404)),
    "discovery that is no JSON": (DISCOVERY, PlainTextResponse("<html>")),
    "discovery that is a list": (DISCOVERY, JSONResponse(["issuer"])),
    "discovery without endpoints": (DISCOVERY, JSONResponse({})),
    "discovery that redirects": (DISCOVERY, Response(None, 302, {"location": "http://127.0.0.1:1/"})),
    "discovery that is too large": (DISCOVERY, PlainTextResponse(" " * (2 << 20) + "{}")),
    "discovery that is compressed": (
        DISCOVERY,
        Response(gzip.compress(b"{}"), headers={"content-encoding": "gzip"}),
    ),
    "keys that are broken": ("/keys", JSONResponse({"keys": "none"})),
    "no keys": ("/keys", PlainTextResponse("down", 500)),
    "tokens that are no JSON": ("/token", PlainTextResponse("<html>")),
    "tokens that fail": ("/token", PlainTextResponse("down", 500)),
    "tokens without an ID token": ("/token", JSONResponse({"access_token": "a", "token_type": "Bearer"})),
    "an ID token that is a number": ("/token", JSONResponse({"access_token": "a", "id_token": 5})),
    "an ID token that is none": ("/token", JSONResponse({"access_token": "a", "id_token": "eyJ.eyJ.eyJ"})),
    "tokens that are too large": ("/token", PlainTextResponse("{}" + " " * (2 << 20))),
}


@pytest.mark.parametrize("name", BROKEN)
async def test_broken_provider_is_no_bug_of_ours(server: Platform, provider: OidcProvider, name: str) -> None:
    path, broken = BROKEN[name]
    provider.answers[path] = broken
    async with server.client() as browser:
        answer = await browser.get(LOGIN)
        if path != DISCOVERY:
            async with httpx2.AsyncClient() as network:
                back = await network.get(answer.headers["location"])
            answer = await browser.get(CALLBACK, params=parse_qs(urlsplit(back.headers["location"]).query))
    assert answer.status_code in {401, 503}, answer.text
    assert answer.json()["message"].startswith("the OIDC provider")
    provider.answers.clear()
    assert (await log_in(server)).status_code == 200


async def test_provider_that_calls_itself_otherwise_is_refused(server: Platform, provider: OidcProvider) -> None:
    provider.metadata_changes = {"issuer": provider.issuer + "/"}
    answer = await server.call(None, "GET", LOGIN)
    assert answer.status_code == 503
    assert f"calls itself {provider.issuer}/; set EMBERGATE_OIDC_ISSUER" in answer.json()["message"]


@pytest.mark.parametrize("name", ["token_endpoint", "jwks_uri", "userinfo_endpoint"])
async def test_endpoint_that_is_not_https_is_refused(server: Platform, provider: OidcProvider, name: str) -> None:
    provider.metadata_changes = {name: "ftp://127.0.0.1/"}
    answer = await server.call(None, "GET", LOGIN)
    assert (answer.status_code, answer.json()["message"]) == (503, f"the OIDC provider's {name} is not https")


async def test_provider_that_never_answers_is_a_503(
    server: Platform, provider: OidcProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("embergate.gateway.sessions.oidc.TIMEOUT_S", 0.0)
    assert (await server.call(None, "GET", LOGIN)).status_code == 503


async def test_provider_that_is_not_there_is_a_503(server: Platform, provider: OidcProvider) -> None:
    absent = Platform(server.database, oidc=provider.client(issuer="http://127.0.0.1:9"))
    answer = await absent.call(None, "GET", LOGIN)
    assert (answer.status_code, answer.json()["code"]) == (503, 14)
    await absent.close()


async def test_callbacks_of_one_client_are_limited(server: Platform, provider: OidcProvider) -> None:
    limited = Platform(server.database, oidc=provider.client(), rules=SessionRules(attempts_per_client=2))
    statuses = [(await limited.call(None, "GET", CALLBACK)).status_code for _ in range(3)]
    assert statuses == [401, 401, 429]
    await limited.close()


async def test_trail_tells_of_the_login_and_neither_code_nor_state(server_on_either: Platform) -> None:
    server = server_on_either
    async with server.client() as browser:
        query = await authorized(browser)
        pair = (await browser.get(CALLBACK, params=query)).json()
    admin = await server.add_key("acme", "admin")
    entry = (await server.trail(admin, "acme", filter='method:"Oidc"'))[0]
    session_id = jwt.decode(pair["token"], options={"verify_signature": False})["sid"]
    assert (entry["principal"], entry["status"]["code"]) == (EMAIL, "OK")
    assert entry["resource"] == f"accounts/acme/users/ada/sessions/{session_id}"
    assert entry["payload"] == {}
    assert query["code"] not in str(entry)
    assert query["state"] not in str(entry)
