"""ListAuditLogs over HTTP: what is in the trail, who sees it, and every way to look for it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest
import time_machine

from embergate.gateway.audit.trail import AUDIT_SEAL
from embergate.web.caller import Role
from tests.integration.gateway.platform import Platform, on_sqlite_only
from tests.integration.gateway.trails import verified, write

LOGS = "/v1/accounts/mine/auditLogs"
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
async def admin(platform: Platform) -> str:
    return await platform.add_account("mine")


async def listed(platform: Platform, key: str, **query: Any) -> dict[str, Any]:
    answer = await platform.call(key, "GET", LOGS, params=query)
    assert answer.status_code == 200, answer.text
    page: dict[str, Any] = answer.json()
    return page


async def methods(platform: Platform, key: str, **query: Any) -> list[str]:
    page = await listed(platform, key, pageSize=200, **query)
    return [entry["method"].removeprefix("/gateway.Gateway/") for entry in page["auditLogs"]]


async def add_user(platform: Platform, key: str, user_id: str, **fields: Any) -> int:
    body = {"role": "user", "email": f"{user_id}@mine.example", **fields}
    answer = await platform.call(key, "POST", "/v1/accounts/mine/users", params={"userId": user_id}, json=body)
    return answer.status_code


async def test_entry_says_who_did_what_with_which_outcome(platform: Platform, admin: str) -> None:
    async with platform.client(admin, **{"user-agent": "firectl/1.2.3 grpc-go/1.73.0"}) as client:
        keys = (await client.get("/v1/accounts/mine/users/admin/apiKeys")).json()["apiKeys"]
        body = {"role": "user", "email": "ada@mine.example", "displayName": "Ada"}
        await client.post("/v1/accounts/mine/users?userId=ada", json=body)
    newest, before = (await listed(platform, admin))["auditLogs"]
    assert before["method"] == "/gateway.Gateway/ListApiKeys"
    assert datetime.fromisoformat(newest.pop("timestamp")) >= datetime.fromisoformat(before["timestamp"])
    assert newest.pop("id") > before["id"]
    assert newest == {
        "method": "/gateway.Gateway/CreateUser",
        "principal": "admin@mine.example",
        "payload": {"account_id": "mine", "query": {"userId": "ada"}, "body": body},
        "status": {"code": "OK", "message": ""},
        "message": "",
        "resource": "accounts/mine/users/ada",
        "isAdminAction": False,
        "userAgent": "firectl/1.2.3 grpc-go/1.73.0",
        "clientIp": "127.0.0.1",
        "apiKeyId": keys[0]["keyId"],
    }


async def test_what_failed_is_in_the_trail_with_its_reason(platform: Platform, admin: str) -> None:
    user = await platform.add_user("mine", "joe", Role.USER)
    assert await add_user(platform, admin, "ada", role="queen") == 400
    assert await add_user(platform, user, "eve") == 403
    await platform.add_account("theirs")
    answer = await platform.call(admin, "POST", "/v1/accounts/theirs/users", json={})
    assert answer.status_code == 403
    entries = (await listed(platform, admin))["auditLogs"]
    found = [(entry["principal"], entry["status"]["code"], entry["resource"]) for entry in entries]
    assert found == [
        ("admin@mine.example", "PERMISSION_DENIED", "accounts/theirs/users"),
        ("joe@mine.example", "PERMISSION_DENIED", "accounts/mine/users"),
        ("admin@mine.example", "INVALID_ARGUMENT", "accounts/mine/users"),
    ]
    assert entries[2]["status"]["message"].startswith("role: there is no role 'queen'")


async def test_reading_the_trail_is_itself_in_the_trail_but_other_reads_are_not(platform: Platform, admin: str) -> None:
    await platform.call(admin, "GET", "/v1/accounts/mine/users")
    assert await methods(platform, admin) == []
    assert await methods(platform, admin) == ["ListAuditLogs"]
    refused = await platform.call(admin, "GET", LOGS, params={"pageSize": -1})
    assert (refused.status_code, refused.json()["code"]) == (400, 3)
    newest = (await listed(platform, admin))["auditLogs"][0]
    assert (newest["method"], newest["status"]["code"]) == ("/gateway.Gateway/ListAuditLogs", "INVALID_ARGUMENT")


async def test_what_operators_do_in_an_account_only_operators_see(platform: Platform, admin: str) -> None:
    await platform.add_account("platform")
    operator = await platform.add_user("platform", "root", Role.ADMIN, is_operator=True)
    assert await add_user(platform, operator, "ada") == 200
    assert await add_user(platform, admin, "eve") == 200
    seen = await listed(platform, admin)
    assert ([entry["resource"] for entry in seen["auditLogs"]], seen["totalSize"]) == (["accounts/mine/users/eve"], 1)
    for query in ({"filter": "is_admin_action=true"}, {"email": "root@platform.example"}, {"filter": "ada"}):
        assert (await listed(platform, admin, **query))["totalSize"] == 0
    by_operator = await listed(platform, operator, filter="isAdminAction=true")
    assert by_operator["totalSize"] == 1
    assert by_operator["auditLogs"][0]["principal"] == "root@platform.example"


async def test_pages_hold_ten_by_default_and_two_hundred_at_most(platform: Platform, admin: str) -> None:
    for _ in range(12):
        await write(platform.database)
    first = await listed(platform, admin)
    assert (len(first["auditLogs"]), first["totalSize"]) == (10, 12)
    assert len((await listed(platform, admin, page_size=1000))["auditLogs"]) == 13
    assert (await listed(platform, admin, pageSize=3, readMask="id"))["auditLogs"][0].keys() == {"id"}


async def test_pages_show_each_entry_once_while_others_are_written(platform: Platform, admin: str) -> None:
    for number in range(7):
        await write(platform.database, payload={"number": number})
    seen, token = [], ""
    while True:
        page = await listed(platform, admin, pageSize=2, pageToken=token)
        assert page["totalSize"] == 7
        seen += [entry["payload"]["number"] for entry in page["auditLogs"]]
        token = page["nextPageToken"]
        if not token:
            break
        await write(platform.database, payload={"number": 100})
    assert seen == [6, 5, 4, 3, 2, 1, 0]


async def test_window_of_the_first_page_holds_for_the_others(platform: Platform, admin: str) -> None:
    """It is 30 days back from when the first page was asked for, not from when the next one is."""
    for seconds in range(4):
        with time_machine.travel(NOON - timedelta(days=30) + timedelta(seconds=seconds), tick=False):
            await write(platform.database, payload={"number": seconds})
    with time_machine.travel(NOON, tick=False):
        first = await listed(platform, admin, pageSize=2)
    with time_machine.travel(NOON + timedelta(hours=1), tick=False):
        second = await listed(platform, admin, pageSize=2, pageToken=first["nextPageToken"])
        anew = await listed(platform, admin, pageSize=2)
    assert [entry["payload"]["number"] for entry in first["auditLogs"] + second["auditLogs"]] == [3, 2, 1, 0]
    assert (first["totalSize"], second["totalSize"], second["nextPageToken"]) == (4, 4, "")
    assert anew["totalSize"] == 1  # the list of an hour ago; this moment's are not before now


@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        ({"startTime": "2026-03-01T12:00:00Z"}, [3, 2, 1, 0]),
        ({"startTime": "2026-03-01T12:00:01Z"}, [3, 2, 1]),
        ({"start_time": "2026-03-01T14:00:01.000001+02:00"}, [3, 2]),
        ({"endTime": "2026-03-01T12:00:02Z"}, [1, 0]),
        ({"startTime": "2026-03-01T12:00:01Z", "end_time": "2026-03-01T12:00:03Z"}, [2, 1]),
        ({"startTime": "2027-01-01T00:00:00Z"}, []),
        ({"endTime": "2027-01-01T00:00:00Z"}, [3, 2, 1, 0]),
        ({"filter": 'timestamp>"2026-03-01T12:00:02Z"'}, [3]),
    ],
)
async def test_window_begins_with_its_start_and_ends_before_its_end(
    platform: Platform, admin: str, query: dict[str, str], numbers: list[int]
) -> None:
    for seconds in range(4):
        with time_machine.travel(NOON + timedelta(seconds=seconds), tick=False):
            await write(platform.database, payload={"number": seconds})
    with time_machine.travel(NOON + timedelta(days=1), tick=False):
        page = await listed(platform, admin, **query)
    assert [entry["payload"]["number"] for entry in page["auditLogs"]] == numbers
    assert page["totalSize"] == len(numbers)


@on_sqlite_only
@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"startTime": "yesterday"}, "startTime"),
        ({"endTime": "2026-03-01"}, "endTime"),
        ({"startTime": "2026-03-02T00:00:00Z", "endTime": "2026-03-01T00:00:00Z"}, "endTime"),
        ({"startTime": "2026-03-01T00:00:00Z", "endTime": "2026-03-01T00:00:00Z"}, "endTime"),
        ({"endTime": "2020-01-01T00:00:00Z"}, "endTime"),
        ({"pageSize": "-1"}, "pageSize"),
        ({"pageSize": "many"}, "pageSize"),
        ({"pageToken": "x"}, "pageToken"),
        ({"filter": "status.code=NOPE"}, "filter"),
        ({"filter": "nobody=1"}, "filter"),
        ({"filter": "is_admin_action>true"}, "filter"),
    ],
)
async def test_bad_query_is_refused_by_name(platform: Platform, admin: str, query: dict[str, str], field: str) -> None:
    answer = await platform.call(admin, "GET", LOGS, params=query)
    assert (answer.status_code, answer.json()["code"]) == (400, 3)
    assert answer.json()["details"][0]["fieldViolations"][0]["field"] == field


@pytest.mark.parametrize(
    ("query", "number"),
    [
        ({"email": "ada@mine.example"}, 0),
        ({"email": "admin@mine.example"}, 2),
        ({"filter": 'email="admin@mine.example"'}, 2),
        ({"filter": 'principal="admin@mine.example" AND status.code=OK'}, 1),
        ({"filter": 'resource="accounts/mine/users/ada"'}, 1),
        ({"filter": "resource:users"}, 2),
        ({"filter": 'method:"createuser"'}, 2),
        ({"filter": 'method="/gateway.Gateway/CreateUser" NOT status.code=OK'}, 1),
        ({"filter": "status.code != OK"}, 1),
        ({"filter": 'status.message:"no role"'}, 1),
        ({"filter": "queen"}, 1),
        ({"filter": "message:*"}, 0),
        ({"filter": 'message="made"'}, 0),
        ({"filter": 'user_agent:"python" clientIp="127.0.0.1" api_key_id:*'}, 2),
        ({"filter": "payload:*"}, 2),
        ({"orderBy": "whatever there may be,"}, 2),
    ],
)
async def test_filters_find(platform: Platform, admin: str, query: dict[str, str], number: int) -> None:
    assert await add_user(platform, admin, "ada") == 200
    assert await add_user(platform, admin, "eve", role="queen") == 400
    assert (await listed(platform, admin, **query))["totalSize"] == number


async def test_page_token_is_good_for_its_own_list_only(platform: Platform, admin: str) -> None:
    for _ in range(4):
        await write(platform.database)
    query = {"pageSize": 1, "email": "ada@mine.example", "endTime": "2100-01-01T00:00:00Z", "filter": "message:made"}
    token = (await listed(platform, admin, **query))["nextPageToken"]
    changes: list[dict[str, Any]] = [
        {"email": "eve@mine.example"},
        {"endTime": "2100-01-02T00:00:00Z"},
        {"startTime": "2000-01-01T00:00:00Z"},
        {"filter": "message:mad"},
    ]
    for change in changes:
        answer = await platform.call(admin, "GET", LOGS, params={**query, **change, "pageToken": token})
        assert answer.status_code == 400, change
    same = {"pageSize": 2, "readMask": "id", "orderBy": "x", "endTime": "2100-01-01T01:00:00+01:00"}
    assert len((await listed(platform, admin, **{**query, **same}, pageToken=token))["auditLogs"]) == 2
    await platform.add_account("theirs")
    operator = await platform.add_user("theirs", "root", Role.ADMIN, is_operator=True)
    theirs = await platform.call(operator, "GET", "/v1/accounts/theirs/auditLogs", params={**query, "pageToken": token})
    assert theirs.status_code == 400


async def answered(client: httpx2.AsyncClient, method: str, path: str, **options: Any) -> int:
    """Call until there is an answer: a slow machine may have no connection left for a while."""
    while (answer := await client.request(method, path, **options)).status_code == 503:
        pass
    return answer.status_code


async def test_fifty_calls_at_once_leave_one_unbroken_chain(platform: Platform, admin: str) -> None:
    def body(number: int) -> dict[str, str]:
        return {"role": "user", "email": f"{number}@mine.example"}

    users = "/v1/accounts/mine/users"
    async with platform.client(admin) as client:
        statuses = await asyncio.gather(
            *(answered(client, "GET", f"{users}/admin/apiKeys") for _ in range(25)),
            *(answered(client, "POST", f"{users}?userId=u{n % 20}", json=body(n)) for n in range(25)),
        )
    assert (statuses.count(200), statuses.count(409)) == (45, 5)
    report = (await verified(platform.database, platform.keyring.keys(AUDIT_SEAL)))["mine"]
    assert report.is_intact
    assert (await listed(platform, admin, filter="status.code=OK"))["totalSize"] == 45
    assert (await listed(platform, admin, filter="status.code=ALREADY_EXISTS"))["totalSize"] == 5
