"""Every route, with every kind of caller: what may be done, and that nothing of another account is ever seen.

The walk is made from the routes themselves, so that a new one is in it from its first day.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import httpx2
import pytest
from fastapi.routing import RouteContext, iter_route_contexts
from sqlalchemy import select

from embergate.clock import now
from embergate.gateway.access import PERMISSIONS
from embergate.gateway.document import operation_of
from embergate.gateway.edge import Operation
from embergate.gateway.models.imports.runs import KIND, Order
from embergate.gateway.models.imports.sources import Place
from embergate.storage.rows import Base
from embergate.storage.tables.batch_jobs import BatchJobRow
from embergate.storage.tables.credentials import ApiKeyRow
from embergate.storage.tables.jobs import JobRunRow
from embergate.storage.tables.prices import PricingPlanRow
from embergate.web.caller import Role
from tests.integration.gateway.operating import make_code
from tests.integration.gateway.platform import Platform
from tests.integration.gateway.trails import verified

MINE, THEIRS = "mine", "theirs"
# Rights end here: nothing that is asked for by these names is there, so a call that gets in finds nothing to harm.
ABSENT = {"user_id": "nobody", "key_id": "key_none"} | dict.fromkeys(
    (
        "secret_id",
        "model_id",
        "pricing_plan_id",
        "dataset_id",
        "batch_inference_job_id",
        "file_id",
        "batch_id",
        "operation_id",
    ),
    "none",
)
# What every account has, by the same name.
EVERYWHERE = {"quota_id": "monthly-spend-usd"}
# What questions about usage cannot do without; other calls do not mind.
YESTERDAY, TOMORROW = now() - timedelta(days=1), now() + timedelta(days=1)
RANGE = {
    "startTime": f"{YESTERDAY:%Y-%m-%dT00:00:00Z}",
    "endTime": f"{TOMORROW:%Y-%m-%dT00:00:00Z}",
    "includeAverageTokensPerMinuteByBaseModel": "true",
}
PUBLIC = {"/health/live", "/health/ready", "/metrics"}
# Open to a URL that is signed, and to no caller whatever: see test_file_urls.py.
SIGNED = {"/files/{key:path}"}
OPERATOR = "operator"
# What a call would need to come to its end, were it let in; of the others an empty body is enough.
BODIES: dict[str, dict[str, Any]] = {
    "CreateUser": {"email": "new@mine.example", "role": "user"},
    "UpdateUser": {"displayName": "taken over"},
    "CreateApiKey": {"apiKey": {}},
    "CreateSecret": {"name": "accounts/mine/secrets/new", "keyName": "K", "value": "v"},
    "UpdateSecret": {"value": "taken over"},
    "UpdatePolicySettings": {"rules": []},
    "GetDatasetUploadEndpoint": {"filenameToSize": {"rows.jsonl": "1"}},
    "SplitDataset": {"chunkSize": 200},
    "GetModelUploadEndpoint": {"filenameToSize": {"config.json": "1"}},
    "ImportModel": {"awsS3Source": {"s3Bucket": "bucket"}},
}
# What authenticates by its body: an empty one gets nowhere.
NEED_NO_CALLER = {"Login", "RefreshSessionToken", "Logout", "OidcLogin", "OidcCallback"}
# What changes by being called at all.
TRAILS = {"audit_entries", "audit_heads", "alembic_version"}


@dataclass(frozen=True)
class Route:
    """A route with its methods apart; `operation` is None on the inference plane."""

    method: str
    path: str
    operation: Operation | None

    @property
    def names_a_key_or_secret(self) -> bool:
        in_path = {"key_id", "secret_id"} & self.parameters
        return bool(in_path) or (self.operation is not None and self.operation.name in {"GetApiKey", "DeleteApiKey"})

    @property
    def reads_what_is_there(self) -> bool:
        """Whether it finds what each account has: no served model is there, and what has no files cannot be read."""
        is_of_model = "model_id" in self.parameters
        has_nothing = is_of_model and (self.operation is None or self.operation.writes)
        return self.method == "GET" and not has_nothing and not self.path.endswith("/content")

    @property
    def parameters(self) -> set[str]:
        return set(re.findall(r"\{(\w+?)(?:_again)?(?::path)?\}", self.path))

    def at(self, account_id: str, **ids: str) -> str:
        """Return the path in an account; what is not given is not there."""
        chosen = {**ABSENT, **EVERYWHERE, "account_id": account_id, **ids}
        return re.sub(r"\{(\w+?)(?:_again)?(?::path)?\}", lambda match: chosen[match.group(1)], self.path)

    def body(self, **ids: str) -> dict[str, Any]:
        name = self.operation.name if self.operation else ""
        if name == "DeleteApiKey":
            return {"keyId": ids.get("key_id", ABSENT["key_id"])}
        return BODIES.get(name, {})


def full_path(context: RouteContext) -> str:
    return str(context.path)


def routes(platform: Platform) -> Iterator[Route]:
    for context in iter_route_contexts(platform.app.routes):
        for method in sorted(context.methods or ()) if full_path(context) not in SIGNED else ():
            yield Route(method, full_path(context), operation_of(context))


async def settle_in(platform: Platform, account_id: str, key: str, user_id: str) -> dict[str, str]:
    """Let an admin and a user of an account leave something of each kind there; return the ids."""
    secret_id, dataset_id, model_id = (f"{kind}-of-{account_id}" for kind in ("secret", "dataset", "model"))
    name = f"accounts/{account_id}/secrets/{secret_id}"
    calls: list[tuple[str, dict[str, Any]]] = [
        (f"/v1/accounts/{account_id}/users/{user_id}/apiKeys", {"apiKey": {"displayName": f"key-of-{account_id}"}}),
        (f"/v1/accounts/{account_id}/secrets", {"name": name, "keyName": f"K_{account_id}", "value": "v"}),
        ("/v1/creditCodes:redeem", {"code": "WELCOME", "name": f"accounts/{account_id}"}),
        (f"/v1/accounts/{account_id}/datasets", {"datasetId": dataset_id, "dataset": {"exampleCount": 1}}),
        (f"/v1/accounts/{account_id}/models", {"modelId": model_id, "model": {"kind": "EMBEDDING_MODEL"}}),
    ]
    answers = [await platform.call(key, "POST", path, json=body) for path, body in calls]
    assert [answer.status_code for answer in answers] == [200] * len(calls)
    plan_id = f"plan-of-{account_id}"
    async with platform.database.writing() as db:
        moments = dict.fromkeys(("start_time", "create_time", "update_time"), now())
        contents: dict[str, Any] = {"token_config": [], "accelerator_hour_config": []}
        kinds = {"billing_type": "TOKEN_USAGE", "state": "READY"}
        db.add(PricingPlanRow(account_id=account_id, id=plan_id, **kinds, **contents, **moments))
        db.add(batch_job(account_id, f"batch-of-{account_id}"))
        db.add(cancelled_import(account_id, f"operation-of-{account_id}"))
    key_id = answers[0].json()["keyId"]
    ids = {"user_id": user_id, "key_id": key_id, "secret_id": secret_id, "pricing_plan_id": plan_id}
    ids |= {"dataset_id": dataset_id, "model_id": model_id, "operation_id": f"operation-of-{account_id}"}
    ids |= {"file_id": dataset_id, "batch_id": f"batch-of-{account_id}"}
    return {**ids, "batch_inference_job_id": f"batch-of-{account_id}"}


def refusal_of(answer: httpx2.Response) -> tuple[str | int, str]:
    """Return the code and the message of an error, in whichever shape."""
    body = answer.json()
    return (body["error"]["code"], body["error"]["message"]) if "error" in body else (body["code"], body["message"])


def batch_job(account_id: str, job_id: str) -> BatchJobRow:
    """Return one that has ended."""
    texts = ("display_name", "created_by", "status_message", "input_dataset_id", "continued_from_job_name")
    counts = ("num_requests", "num_succeeded", "num_failed", "num_tokens", "needed_nanos", "active_ms")
    output = f"accounts/{account_id}/datasets/none"
    return BatchJobRow(
        account_id=account_id,
        id=job_id,
        run_id=f"run-of-{account_id}",
        state="JOB_STATE_COMPLETED",
        status_code="OK",
        model="fireworks/tiny",
        precision="BF16",
        parameters={},
        is_prepared=True,
        output_dataset_id=output,
        output_format="JSONL",
        **dict.fromkeys(texts, ""),
        **dict.fromkeys(counts, 0),
        **dict.fromkeys(("create_time", "update_time"), now()),
    )


def cancelled_import(account_id: str, run_id: str) -> JobRunRow:
    """Return one that has ended."""
    order = Order(f"model-of-{account_id}", "none", Place("s3", "bucket"))
    return JobRunRow(
        id=run_id,
        kind=KIND,
        account_id=account_id,
        payload=order.payload(),
        state="CANCELLED",
        step="END",
        priority=0,
        num_done=0,
        is_expired=False,
        create_time=now(),
    )


async def rows_of(platform: Platform) -> dict[str, list[tuple[Any, ...]]]:
    """Return everything that is in the database, but for the trails of the calls."""
    found: dict[str, list[tuple[Any, ...]]] = {}
    async with platform.database.reading() as db:
        for name, table in Base.metadata.tables.items():
            if name not in TRAILS:
                found[name] = sorted((tuple(row) for row in await db.execute(select(table))), key=repr)
    return found


@pytest.fixture
async def keys(platform: Platform) -> dict[str, str]:
    """A key of each role of one account, by the role's name, of an operator there, and of the other account's admin."""
    found = {"theirs": await platform.add_account(THEIRS), "admin": await platform.add_account(MINE)}
    for role in Role:
        if role is not Role.ADMIN:
            found[role.value] = await platform.add_user(MINE, role.value, role)
    found[OPERATOR] = await platform.add_user(MINE, OPERATOR, Role.USER, is_operator=True)
    return found


@pytest.fixture
async def ids(platform: Platform, keys: dict[str, str]) -> dict[str, dict[str, str]]:
    """What is in each account, by the account and the parameter that names it."""
    await make_code(platform, maxRedemptions=2)
    await platform.add_user(THEIRS, "user-of-theirs", Role.USER)
    return {
        MINE: await settle_in(platform, MINE, keys["admin"], "admin"),
        THEIRS: await settle_in(platform, THEIRS, keys["theirs"], "user-of-theirs"),
    }


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
            answer = await platform.call(credential, route.method, route.at(MINE, user_id="admin"), json={})
            assert answer.status_code == 401, (route, credential)
            assert answer.json()["error"]["code"] == "UNAUTHORIZED"
            assert answer.headers["www-authenticate"] == "Bearer"
            num_walked += 1
    assert num_walked > 50


async def test_routes_that_need_no_caller_tell_nobody_anything(
    platform: Platform, keys: dict[str, str], ids: dict[str, dict[str, str]]
) -> None:
    before = await rows_of(platform)
    walked = set()
    for route in routes(platform):
        is_open = route.path in PUBLIC if route.operation is None else route.operation.needs is None
        if not is_open:
            continue
        for credential in (None, "eg_nobody-has-this-key", keys["admin"]):
            answer = await platform.call(credential, route.method, route.path, json={})
            if route.operation is None:
                assert answer.status_code == 200, route
            else:
                assert answer.status_code in {400, 401, 404}, route
                assert list(answer.json()) == ["code", "message", "details"], route
                walked.add(route.operation.name)
            assert not [name for name in (MINE, THEIRS, ".example") if name in answer.text], route
    assert walked == NEED_NO_CALLER
    assert await rows_of(platform) == before


async def test_another_account_gets_a_403_and_sees_nothing_whatever_exists_there(
    platform: Platform, keys: dict[str, str], ids: dict[str, dict[str, str]]
) -> None:
    before = await rows_of(platform)
    num_walked = 0
    for route in routes(platform):
        if "{account_id}" not in route.path:
            continue
        for account_id in (MINE, "no-such-account"):
            path, body = route.at(account_id, **ids[MINE]), route.body(**ids[MINE])
            answer = await platform.call(keys["theirs"], route.method, path, json=body)
            assert answer.status_code == 403, route
            assert answer.json() == {
                "code": 7,
                "message": "this API key or session has no access to the account",
                "details": [],
            }
            num_walked += 1
    assert num_walked > 20
    body = {"code": "WELCOME", "name": f"accounts/{MINE}"}
    assert (await platform.call(keys["theirs"], "POST", "/v1/creditCodes:redeem", json=body)).status_code == 403
    assert await rows_of(platform) == before


@pytest.mark.parametrize("kind", [*(role.value for role in Role), OPERATOR])
async def test_what_another_account_has_is_not_found_in_ones_own(
    platform: Platform, keys: dict[str, str], ids: dict[str, dict[str, str]], kind: str
) -> None:
    before = await rows_of(platform)
    # All of it is theirs; or their key and their secret are looked for at one's own user.
    own = {**ids[THEIRS], "user_id": "admin" if kind == OPERATOR else kind}
    num_walked = 0
    for route in routes(platform):
        for there in (ids[THEIRS], own):
            if not (route.parameters & ids[THEIRS].keys()) or (there is own and not route.names_a_key_or_secret):
                continue
            if route.operation is None:  # of the other plane, whose names are of no account
                continue
            query = {"keyId": ids[THEIRS]["key_id"]}
            options = {"params": query} if route.method == "GET" else {"json": route.body(**ids[THEIRS])}
            answer = await platform.call(keys[kind], route.method, route.at(MINE, **there), **options)
            allowed = {404} if kind in {"admin", OPERATOR} else {403, 404}
            assert answer.status_code in allowed, (route, there, answer.text)
            assert refusal_of(answer)[0] in {5, 7, "NOT_FOUND", "FORBIDDEN"}
            assert not [value for value in ids[THEIRS].values() if value in answer.text], route
            num_walked += 1
    assert num_walked > 15
    assert await rows_of(platform) == before


@pytest.mark.parametrize("role", list(Role))
async def test_each_role_gets_as_far_as_its_permissions(
    platform: Platform, keys: dict[str, str], ids: dict[str, dict[str, str]], role: Role
) -> None:
    user_id = "admin" if role is Role.ADMIN else role.value
    key_id = await key_of(platform, user_id)
    there = {**ids[MINE], "user_id": user_id, "key_id": key_id}
    num_read = 0
    for route in routes(platform):
        operation = route.operation
        if route.path in PUBLIC or (operation is not None and operation.needs is None):
            continue
        if route.method == "GET":
            answer = await platform.call(
                keys[role.value], "GET", route.at(MINE, **there), params={**RANGE, "keyId": key_id}
            )
        else:
            answer = await platform.call(keys[role.value], route.method, route.at(MINE, user_id=user_id), json={})
        if operation is not None and operation.needs not in PERMISSIONS[role]:
            assert answer.status_code == 403, (route, answer.text)
            assert role.value in refusal_of(answer)[1]
        elif route.reads_what_is_there:
            assert answer.status_code == 200, (route, answer.text)
            num_read += 1
        else:
            assert answer.status_code in {200, 400, 404}, (route, answer.text)
    assert num_read == {Role.ADMIN: 42, Role.USER: 31, Role.CONTRIBUTOR: 28, Role.INFERENCE_USER: 2}[role]


async def test_nothing_that_any_role_reads_names_another_account(
    platform: Platform, keys: dict[str, str], ids: dict[str, dict[str, str]]
) -> None:
    for role in Role:
        for route in routes(platform):
            if route.method == "GET" and route.path not in PUBLIC:
                query = {**RANGE, "keyId": ids[MINE]["key_id"], "pageSize": "200"}
                answer = await platform.call(keys[role.value], "GET", route.at(MINE, **ids[MINE]), params=query)
                assert THEIRS not in answer.text, route


async def test_operator_reaches_every_account_and_its_key_lists_only_its_own(
    platform: Platform, keys: dict[str, str], ids: dict[str, dict[str, str]]
) -> None:
    listed = await platform.call(keys[OPERATOR], "GET", "/v1/accounts")
    assert [account["name"] for account in listed.json()["accounts"]] == [f"accounts/{MINE}"]
    for route in routes(platform):
        if route.reads_what_is_there and "{account_id}" in route.path:
            path, query = route.at(THEIRS, **ids[THEIRS]), {**RANGE, "keyId": ids[THEIRS]["key_id"]}
            answer = await platform.call(keys[OPERATOR], "GET", path, params=query)
            assert answer.status_code == 200, (route, answer.text)
            assert MINE not in answer.text.replace(f"{OPERATOR}@{MINE}", ""), route
            if "creditRedemptions" in path or "auditLogs" in path:
                assert THEIRS in answer.text


async def key_of(platform: Platform, user_id: str) -> str:
    """Return the id of the first key of a user of MINE."""
    statement = select(ApiKeyRow.key_id).where(ApiKeyRow.account_id == MINE, ApiKeyRow.user_id == user_id)
    async with platform.database.reading() as db:
        return str(await db.scalar(statement.order_by(ApiKeyRow.create_time).limit(1)))


async def test_account_that_does_not_exist_is_a_404_to_an_operator_everywhere(
    platform: Platform, keys: dict[str, str]
) -> None:
    for route in routes(platform):
        if "{account_id}" not in route.path:
            continue
        for account_id in ("no-such-account", "x" * 64):
            answer = await platform.call(keys[OPERATOR], route.method, route.at(account_id, user_id="admin"), json={})
            assert (answer.status_code, answer.json()["code"]) == (404, 5), (route, answer.text)
    assert set(await verified(platform.database)) == {MINE}  # no trail of an account that is none
