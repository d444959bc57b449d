"""Every route, with every kind of caller: what may be done, and that nothing of another account is ever seen.

The walk is made from the routes themselves, so that a new one is in it from its first day.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

import pytest
from fastapi.routing import RouteContext, iter_route_contexts

from embergate.clock import now
from embergate.gateway.access import PERMISSIONS
from embergate.gateway.document import operation_of
from embergate.gateway.edge import Operation
from embergate.web.caller import Role
from tests.integration.gateway.platform import Platform
from tests.integration.gateway.trails import verified

MINE, THEIRS = "mine", "theirs"
# Rights end here: nothing that is asked for by these names is there, so a call that gets in finds nothing to harm.
ABSENT = {"key_id": "key_none", "secret_id": "none"}
PUBLIC = {"/health/live", "/health/ready", "/metrics"}


@dataclass(frozen=True)
class Route:
    """A route with its methods apart; `operation` is None on the inference plane."""

    method: str
    path: str
    operation: Operation | None

    def for_user(self, account_id: str, user_id: str) -> str:
        ids = {**ABSENT, "account_id": account_id, "user_id": user_id}
        return re.sub(r"\{(\w+?)(?:_again)?(?::path)?\}", lambda match: ids.get(match.group(1), "none"), self.path)


def full_path(context: RouteContext) -> str:
    return str(context.path)


def routes(platform: Platform) -> Iterator[Route]:
    for context in iter_route_contexts(platform.app.routes):
        for method in sorted(context.methods or ()):
            yield Route(method, full_path(context), operation_of(context))


@pytest.fixture
async def keys(platform: Platform) -> dict[str, str]:
    """A key of each role of one account, by the role's name, and the other account's admin's."""
    found = {"theirs": await platform.add_account(THEIRS), "admin": await platform.add_account(MINE)}
    for role in Role:
        if role is not Role.ADMIN:
            found[role.value] = await platform.add_user(MINE, role.value, role)
    return found


async def test_no_route_lets_a_caller_in_without_a_live_credential(platform: Platform, keys: dict[str, str]) -> None:
    expired = await platform.add_key(MINE, "admin", expire_time=now() - timedelta(seconds=1))
    listed = await platform.call(keys["admin"], "GET", f"/v1/accounts/{MINE}/users/admin/apiKeys")
    revoked = await platform.add_key(MINE, "admin")
    after = await platform.call(keys["admin"], "GET", f"/v1/accounts/{MINE}/users/admin/apiKeys")
    known = {key["keyId"] for key in listed.json()["apiKeys"]}
    revoked_id = next(key["keyId"] for key in after.json()["apiKeys"] if key["keyId"] not in known)
    assert (await platform.call(revoked, "GET", "/v1/accounts")).status_code == 200
    path = f"/v1/accounts/{MINE}/users/admin/apiKeys:delete"
    assert (await platform.call(keys["admin"], "POST", path, json={"keyId": revoked_id})).status_code == 200
    session = (await platform.log_in(apiKey=keys["admin"])).token
    assert (await platform.call(session, "POST", "/v1/auth/logout", json={})).status_code == 200
    forged = (await platform.log_in(apiKey=keys["admin"])).token[:-4] + "AAAA"
    bad = (None, "eg_nobody-has-this-key", expired, revoked, session, forged, "a.b.c", "eyJ.ey.ey")
    num_walked = 0
    for route in routes(platform):
        if route.path in PUBLIC or (route.operation is not None and route.operation.needs is None):
            continue
        for credential in bad:
            answer = await platform.call(credential, route.method, route.for_user(MINE, "admin"), json={})
            assert answer.status_code == 401, (route, credential)
            assert answer.json()["error"]["code"] == "UNAUTHORIZED"
            assert answer.headers["www-authenticate"] == "Bearer"
            num_walked += 1
    assert num_walked > 50


async def test_another_account_gets_a_403_and_sees_nothing_whatever_exists_there(
    platform: Platform, keys: dict[str, str]
) -> None:
    num_walked = 0
    for route in routes(platform):
        if "{account_id}" not in route.path:
            continue
        for account_id in (MINE, "no-such-account"):
            answer = await platform.call(keys["theirs"], route.method, route.for_user(account_id, "admin"), json={})
            assert answer.status_code == 403, route
            assert answer.json() == {
                "code": 7,
                "message": "this API key or session has no access to the account",
                "details": [],
            }
            num_walked += 1
    assert num_walked > 20


@pytest.mark.parametrize("role", list(Role))
async def test_each_role_gets_as_far_as_its_permissions(platform: Platform, keys: dict[str, str], role: Role) -> None:
    user_id = "admin" if role is Role.ADMIN else role.value
    for route in routes(platform):
        if route.path in PUBLIC:
            continue
        answer = await platform.call(keys[role.value], route.method, route.for_user(MINE, user_id), json={})
        operation = route.operation
        if operation is None or operation.needs in PERMISSIONS[role]:
            assert answer.status_code in {200, 400, 404, 429}, (route, answer.text)
        elif operation.needs is not None:
            assert answer.status_code == 403, (route, answer.text)
            assert role.value in answer.json()["message"]


async def test_nothing_that_any_role_reads_names_another_account(platform: Platform, keys: dict[str, str]) -> None:
    for role in Role:
        for route in routes(platform):
            if route.method == "GET" and route.path not in PUBLIC:
                answer = await platform.call(keys[role.value], "GET", route.for_user(MINE, "admin"))
                assert THEIRS not in answer.text, route


async def test_operator_reaches_every_account_and_its_key_lists_only_its_own(
    platform: Platform, keys: dict[str, str]
) -> None:
    operator = await platform.add_user(MINE, "root", Role.USER, is_operator=True)
    answer = await platform.call(operator, "GET", f"/v1/accounts/{THEIRS}/users")
    assert [user["name"] for user in answer.json()["users"]] == [f"accounts/{THEIRS}/users/admin"]
    listed = await platform.call(operator, "GET", "/v1/accounts")
    assert [account["name"] for account in listed.json()["accounts"]] == [f"accounts/{MINE}"]


async def test_account_that_does_not_exist_is_a_404_to_an_operator_everywhere(
    platform: Platform, keys: dict[str, str]
) -> None:
    operator = await platform.add_user(MINE, "root", Role.USER, is_operator=True)
    for route in routes(platform):
        if "{account_id}" not in route.path:
            continue
        for account_id in ("no-such-account", "x" * 64):
            answer = await platform.call(operator, route.method, route.for_user(account_id, "admin"), json={})
            assert (answer.status_code, answer.json()["code"]) == (404, 5), (route, answer.text)
    assert set(await verified(platform.database)) == {MINE}  # no trail of an account that is none
