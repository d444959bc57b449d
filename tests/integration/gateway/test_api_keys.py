"""API keys over HTTP: who may make which, what is shown of them, and when they end."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import httpx2
import pytest
import time_machine
from sqlalchemy import select, update

from embergate.clock import now
from embergate.gateway.fresh_cache import TTL_S
from embergate.gateway.upkeep import settle
from embergate.storage.tables.credentials import ApiKeyRow
from embergate.web.caller import Role
from tests.integration.gateway.platform import Platform, on_sqlite_only

USERS = "/v1/accounts/acme/users"
OPERATOR = "operator"
KINDS = (*(role.value for role in Role), OPERATOR)
# Whose keys each kind of caller may make and manage, besides its own.
MAY_MANAGE = {
    "admin": {"admin", "user", "contributor", "inference-user"},
    "user": set(),
    "contributor": set(),
    "inference-user": set(),
    OPERATOR: set(KINDS),
}
HAS_KEYS_OF_ITS_OWN = {"admin", "user", OPERATOR}
NOON = datetime.fromisoformat("2026-03-01T12:00:00Z")
LIMITED_S = 3600


@pytest.fixture
async def admin(platform: Platform) -> str:
    return await platform.add_account("acme")


def keys_of(user_id: str) -> str:
    return f"{USERS}/{user_id}/apiKeys"


async def create(platform: Platform, key: str, user_id: str = "admin", **fields: Any) -> httpx2.Response:
    return await platform.call(key, "POST", keys_of(user_id), json={"apiKey": fields})


async def created(platform: Platform, key: str, user_id: str = "admin", **fields: Any) -> dict[str, Any]:
    answer = await create(platform, key, user_id, **fields)
    assert answer.status_code == 200, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def listed(platform: Platform, key: str, user_id: str = "admin", **query: Any) -> dict[str, Any]:
    answer = await platform.call(key, "GET", keys_of(user_id), params=query)
    assert answer.status_code == 200, answer.text
    page: dict[str, Any] = answer.json()
    return page


async def works(platform: Platform, key: str) -> bool:
    answer = await platform.call(key, "GET", "/v1/models")
    assert answer.status_code in {200, 401}
    return answer.status_code == 200


async def end(platform: Platform, key: str, key_id: str, user_id: str = "admin") -> httpx2.Response:
    return await platform.call(key, "POST", f"{keys_of(user_id)}:delete", json={"keyId": key_id})


async def rows_of(platform: Platform) -> list[tuple[Any, ...]]:
    async with platform.database.reading() as db:
        columns = (ApiKeyRow.key_id, ApiKeyRow.expire_time, ApiKeyRow.delete_time)
        return [tuple(row) for row in await db.execute(select(*columns).order_by(ApiKeyRow.key_id))]


async def test_key_is_shown_once_and_its_digest_alone_is_kept(platform: Platform, admin: str) -> None:
    made = await created(platform, admin, displayName="ci", annotations={"team": "search"})
    key = made.pop("key")
    assert key.startswith("eg_")
    assert len(key) >= 3 + 43  # 256 bits in base64
    assert made.pop("keyId").startswith("key_")
    assert made.pop("createTime").endswith("Z")
    assert made == {
        "displayName": "ci",
        "secure": True,
        "email": "admin@acme.example",
        "prefix": key[:8],
        "annotations": {"team": "search"},
    }
    assert await works(platform, key)
    assert key not in str(await listed(platform, admin))
    async with platform.database.reading() as db:
        stored = (await db.execute(select(ApiKeyRow).where(ApiKeyRow.display_name == "ci"))).scalar_one()
    assert key not in str(vars(stored))
    assert key.removeprefix("eg_").encode() not in stored.digest
    assert (await created(platform, admin))["displayName"] == "default"


@pytest.mark.parametrize("kind", KINDS)
async def test_key_never_exceeds_its_creator(platform: Platform, admin: str, kind: str) -> None:
    keys = {"admin": admin}
    for role in Role:
        if role is not Role.ADMIN:
            keys[role.value] = await platform.add_user("acme", role.value, role)
    # The rights of an operator are more than its role's.
    keys[OPERATOR] = await platform.add_user("acme", OPERATOR, Role.USER, is_operator=True)
    mine = keys[kind]
    for of in KINDS:
        target = await created(platform, keys[OPERATOR], of)
        before = await rows_of(platform)
        answers = {
            "create": await create(platform, mine, of),
            "list": await platform.call(mine, "GET", keys_of(of)),
            "get": await platform.call(mine, "GET", f"{keys_of(of)}/{target['keyId']}"),
            "rotate": await platform.call(mine, "POST", f"{keys_of(of)}/{target['keyId']}:rotate", json={}),
            "delete": await end(platform, mine, target["keyId"], of),
        }
        may = of in MAY_MANAGE[kind] or (of == kind and kind in HAS_KEYS_OF_ITS_OWN)
        assert {name: answer.status_code for name, answer in answers.items()} == dict.fromkeys(
            answers, 200 if may else 403
        ), (kind, of)
        if not may:
            assert await rows_of(platform) == before
            assert target["keyId"] not in str([answer.text for answer in answers.values()])
            assert await works(platform, target["key"])


async def test_key_acts_with_the_role_its_user_has_now(platform: Platform, admin: str) -> None:
    await platform.add_user("acme", "ada", Role.ADMIN)
    key = (await created(platform, admin, "ada"))["key"]
    assert (await platform.call(key, "GET", USERS)).status_code == 200
    assert (await platform.call(admin, "PATCH", f"{USERS}/ada", json={"role": "user"})).status_code == 200
    assert (await create(platform, key, "admin")).status_code == 403
    assert (await platform.call(key, "GET", "/v1/accounts/acme/secrets")).status_code == 403


async def test_key_of_limited_life_makes_no_key_that_outlives_it(platform: Platform, admin: str) -> None:
    ends = (now() + timedelta(seconds=LIMITED_S)).replace(microsecond=0)
    limited = (await created(platform, admin, expireTime=ends.isoformat()))["key"]
    for fields in ({}, {"expireTime": (ends + timedelta(seconds=1)).isoformat()}):
        answer = await create(platform, limited, **fields)
        assert (answer.status_code, answer.json()["code"]) == (400, 3)
        assert answer.json()["details"][0]["fieldViolations"][0]["field"] == "apiKey.expireTime"
    assert (await create(platform, limited, expireTime=ends.isoformat())).status_code == 200
    # Neither does it rotate one that does.
    endless = (await created(platform, admin))["keyId"]
    assert (await platform.call(limited, "POST", f"{keys_of('admin')}/{endless}:rotate", json={})).status_code == 400


async def test_key_is_described_by_both_paths_and_by_nobody_elses(platform: Platform, admin: str) -> None:
    await platform.add_user("acme", "ada", Role.USER)
    made = await created(platform, admin, displayName="mine", annotations={"a": "b"})
    hers = await created(platform, admin, "ada")
    expected = {**made, "key": ""}
    literal = f"{keys_of('admin')}/accounts/acme/users/admin"
    for query in ({"keyId": made["keyId"]}, {"key_id": made["keyId"]}):
        assert (await platform.call(admin, "GET", literal, params=query)).json() == expected
    assert (await platform.call(admin, "GET", f"{keys_of('admin')}/{made['keyId']}")).json() == expected
    masked = {"displayName": "mine"}
    query = {"keyId": made["keyId"], "readMask": "display_name"}
    assert (await platform.call(admin, "GET", literal, params=query)).json() == masked
    by_path = await platform.call(admin, "GET", f"{keys_of('admin')}/{made['keyId']}?readMask=displayName")
    assert by_path.json() == masked
    for key_id in (hers["keyId"], "key_none"):
        for answer in (
            await platform.call(admin, "GET", literal, params={"keyId": key_id}),
            await platform.call(admin, "GET", f"{keys_of('admin')}/{key_id}"),
            await platform.call(admin, "POST", f"{keys_of('admin')}/{key_id}:rotate", json={}),
            await end(platform, admin, key_id),
        ):
            assert answer.status_code == 404
            assert answer.json() == {"code": 5, "message": "resource not found", "details": []}
    for path, message in (
        (literal, "keyId is required"),
        (f"{keys_of('admin')}/accounts/acme/users/ada?keyId={hers['keyId']}", "two different users"),
        (f"{keys_of('admin')}/accounts/other/users/admin?keyId={made['keyId']}", "two different users"),
    ):
        answer = await platform.call(admin, "GET", path)
        assert (answer.status_code, answer.json()["code"]) == (400, 3)
        assert message in answer.json()["message"]


async def test_last_use_is_written_down_when_it_is_settled(platform: Platform, admin: str) -> None:
    used, unused = await created(platform, admin), await created(platform, admin)
    elsewhere = Platform(platform.database)
    with time_machine.travel(now() + timedelta(hours=1), tick=False):
        moment = now()
        assert await works(elsewhere, used["key"])
    await settle(platform.gateway)  # another process, which has not seen it
    path = f"{keys_of('admin')}/{used['keyId']}"
    assert "lastUsed" not in (await platform.call(admin, "GET", path)).json()
    await settle(elsewhere.gateway)
    shown = (await platform.call(admin, "GET", path)).json()
    assert abs(datetime.fromisoformat(shown["lastUsed"]) - moment) < timedelta(seconds=1)
    other = await platform.call(admin, "GET", f"{keys_of('admin')}/{unused['keyId']}")
    assert "lastUsed" not in other.json()
    found = await listed(platform, admin, filter=f'last_used >= "{moment.isoformat()}"')
    assert [key["keyId"] for key in found["apiKeys"]] == [used["keyId"]]
    await elsewhere.close()


async def test_keys_are_paged_through_oldest_first(platform: Platform, admin: str) -> None:
    first = (await listed(platform, admin))["apiKeys"][0]["keyId"]
    with time_machine.travel(now(), tick=False):  # made in one moment: the id decides
        made = [(await created(platform, admin))["keyId"] for _ in range(4)]
    made = [first, *sorted(made)]
    await end(platform, admin, made.pop(2))
    for size in (1, 2, 3, 4, 50):
        seen: list[str] = []
        token = ""
        while True:
            page = await listed(platform, admin, pageSize=size, pageToken=token)
            assert page["totalSize"] == len(made)
            assert len(page["apiKeys"]) <= size
            seen += [key["keyId"] for key in page["apiKeys"]]
            token = page["nextPageToken"]
            if not token:
                break
        assert seen == made


async def test_keys_are_filtered_ordered_and_masked(platform: Platform, admin: str) -> None:
    ends = now() + timedelta(days=30)
    names = ("beta", "alpha", "gamma")
    made = {
        name: await created(
            platform,
            admin,
            displayName=name,
            annotations={"team": name, "x": "y"} if name != "gamma" else {},
            **({"expireTime": ends.isoformat()} if name == "alpha" else {}),
        )
        for name in names
    }
    key_id = made["beta"]["keyId"]
    for text, expected in (
        ('display_name="beta"', ["beta"]),
        ('displayName:"A" -displayName=default', ["alpha", "beta", "gamma"]),
        ("annotations.team=alpha", ["alpha"]),
        ("annotations:team", ["alpha", "beta"]),
        ("expireTime:*", ["alpha"]),
        (f'expire_time > "{now().isoformat()}"', ["alpha"]),
        (f'keyId="{key_id}"', ["beta"]),
        (f'prefix="{made["gamma"]["prefix"]}"', ["gamma"]),
        ("gamm", ["gamma"]),
        ("last_used:*", []),
    ):
        page = await listed(platform, admin, filter=text, orderBy="displayName")
        assert [key["displayName"] for key in page["apiKeys"]] == expected, text
        assert page["totalSize"] == len(expected)
    page = await listed(
        platform, admin, orderBy="display_name desc", pageSize=2, readMask="displayName,annotations.team"
    )
    assert page["apiKeys"] == [
        {"displayName": "gamma", "annotations": {}},
        {"displayName": "default"} | {"annotations": {}},
    ]


@on_sqlite_only
@pytest.mark.parametrize(
    "query",
    [
        {"filter": "key=x"},
        {"filter": "digest:*"},
        {"filter": "secure=true"},
        {"filter": "email:*"},
        {"orderBy": "annotations"},
        {"orderBy": "key"},
        {"pageSize": "-1"},
        {"pageToken": "x"},
    ],
)
async def test_bad_list_is_refused_by_name(platform: Platform, admin: str, query: dict[str, str]) -> None:
    answer = await platform.call(admin, "GET", keys_of("admin"), params=query)
    assert (answer.status_code, answer.json()["code"]) == (400, 3)
    assert answer.json()["details"][0]["fieldViolations"][0]["field"] == next(iter(query))


@on_sqlite_only
@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "apiKey"),
        ({"apiKey": None}, "apiKey"),
        ({"displayName": "x"}, "displayName"),
        ({"apiKey": {"displayName": "x" * 64}}, "apiKey.displayName"),
        ({"apiKey": {"expireTime": "tomorrow"}}, "apiKey.expireTime"),
        ({"apiKey": {"expireTime": "2020-01-01T00:00:00Z"}}, "apiKey.expireTime"),
        ({"apiKey": {"annotations": {"k" * 257: "v"}}}, "apiKey.annotations"),
        ({"apiKey": {"annotations": {str(number): "v" for number in range(101)}}}, "apiKey.annotations"),
        ({"apiKey": {"role": "admin"}}, "role"),
    ],
)
async def test_bad_key_is_refused_by_field(platform: Platform, admin: str, body: dict[str, Any], field: str) -> None:
    before = await rows_of(platform)
    answer = await platform.call(admin, "POST", keys_of("admin"), json=body)
    assert (answer.status_code, answer.json()["code"]) == (400, 3)
    assert field in answer.json()["message"]
    assert await rows_of(platform) == before


async def test_what_the_server_sets_is_ignored_in_a_request(platform: Platform, admin: str) -> None:
    chosen = {"key": "eg_chosen", "keyId": "key_chosen", "email": "x@y.z", "prefix": "eg_", "secure": False}
    times = dict.fromkeys(("createTime", "lastUsed"), "2020-01-01T00:00:00Z")
    made = (await platform.call(admin, "POST", keys_of("admin"), json={"apiKey": {**chosen, **times}})).json()
    assert not [name for name, value in chosen.items() if made[name] == value]
    assert made["secure"] is True
    assert datetime.fromisoformat(made["createTime"]) > now() - timedelta(minutes=5)
    assert "lastUsed" not in made
    assert not await works(platform, "eg_chosen")


async def test_key_ends_at_its_time_to_the_microsecond_also_where_it_is_cached(
    platform: Platform, admin: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = Platform(platform.database)
    ends = now() + timedelta(hours=1)
    key = (await created(platform, admin, expireTime=ends.isoformat()))["key"]
    monkeypatch.setattr("embergate.gateway.fresh_cache.monotonic_s", lambda: 1000.0)
    for moment, expected in ((ends - timedelta(microseconds=1), True), (ends, False)):
        monkeypatch.setattr("embergate.gateway.authentication.now", lambda moment=moment: moment)
        assert await works(platform, key) is expected
        assert await works(elsewhere, key) is expected
    await elsewhere.close()


async def test_expiry_that_another_process_sets_is_noticed_within_a_second(
    platform: Platform, admin: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = Platform(platform.database)
    old = await created(platform, admin)
    clock_s = [1000.0]
    monkeypatch.setattr("embergate.gateway.fresh_cache.monotonic_s", lambda: clock_s[0])
    assert await works(elsewhere, old["key"])
    path = f"{keys_of('admin')}/{old['keyId']}:rotate"
    assert (await platform.call(admin, "POST", path, json={"gracePeriod": "0s"})).status_code == 200
    assert not await works(platform, old["key"])
    clock_s[0] += TTL_S
    assert not await works(elsewhere, old["key"])
    await elsewhere.close()


async def test_revocation_holds_at_once_here_and_within_a_second_elsewhere(
    platform: Platform, admin: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert TTL_S <= 1.0
    elsewhere = Platform(platform.database)
    made = await created(platform, admin)
    clock_s = [1000.0]
    monkeypatch.setattr("embergate.gateway.fresh_cache.monotonic_s", lambda: clock_s[0])
    assert await works(platform, made["key"])
    assert await works(elsewhere, made["key"])
    answer = await end(platform, admin, made["keyId"])
    assert (answer.status_code, answer.json()) == (200, {})
    assert not await works(platform, made["key"])
    clock_s[0] += TTL_S * 0.99
    assert await works(elsewhere, made["key"])  # or this test would not tell whether it looks again
    clock_s[0] += TTL_S * 0.02
    assert not await works(elsewhere, made["key"])
    assert (await end(platform, admin, made["keyId"])).status_code == 404
    assert (await platform.call(admin, "GET", f"{keys_of('admin')}/{made['keyId']}")).status_code == 404
    await elsewhere.close()


async def test_rotated_key_goes_on_for_a_day_and_is_replaced_by_one_like_it(platform: Platform, admin: str) -> None:
    ends = (now() + timedelta(days=90)).replace(microsecond=0)
    old = await created(platform, admin, displayName="ci", annotations={"a": "b"}, expireTime=ends.isoformat())
    path = f"{keys_of('admin')}/{old['keyId']}"
    with time_machine.travel(now(), tick=False):
        new = (await platform.call(admin, "POST", f"{path}:rotate", json={})).json()
        grace_ends = now() + timedelta(days=1)
    assert new["keyId"] != old["keyId"]
    assert new["key"].startswith("eg_")
    assert new["key"] != old["key"]
    kept = ("displayName", "annotations", "expireTime", "email")
    assert [new[name] for name in kept] == [old[name] for name in kept]
    shown = (await platform.call(admin, "GET", path)).json()
    assert datetime.fromisoformat(shown["expireTime"]) == grace_ends
    for moment, expected in ((grace_ends - timedelta(seconds=2), True), (grace_ends, False)):
        with time_machine.travel(moment, tick=False):
            assert await works(platform, old["key"]) is expected
            assert await works(platform, new["key"])
    (entry,) = await platform.trail(admin, "acme", filter='method:"RotateApiKey"')
    assert (entry["resource"], entry["message"]) == (
        f"accounts/acme/users/admin/apiKeys/{old['keyId']}",
        f"replaced by {new['keyId']}",
    )


async def test_rotation_never_lengthens_a_life(platform: Platform, admin: str) -> None:
    ends = (now() + timedelta(hours=1)).replace(microsecond=0)
    old = await created(platform, admin, expireTime=ends.isoformat())
    path = f"{keys_of('admin')}/{old['keyId']}"
    new = await platform.call(admin, "POST", f"{path}:rotate", json={"gracePeriod": "2592000s"})
    assert datetime.fromisoformat(new.json()["expireTime"]) == ends
    assert datetime.fromisoformat((await platform.call(admin, "GET", path)).json()["expireTime"]) == ends
    for grace in ("-1s", "2592001s", "1d"):
        answer = await platform.call(admin, "POST", f"{path}:rotate", json={"gracePeriod": grace})
        assert (answer.status_code, answer.json()["code"]) == (400, 3)
        assert "gracePeriod" in answer.json()["message"]


async def test_key_that_has_expired_is_not_rotated_into_one_that_has_not(platform: Platform, admin: str) -> None:
    made = await created(platform, admin)
    async with platform.database.writing() as db:
        over = update(ApiKeyRow).where(ApiKeyRow.key_id == made["keyId"]).values(expire_time=NOON - timedelta(days=365))
        await db.execute(over)
    answer = await platform.call(admin, "POST", f"{keys_of('admin')}/{made['keyId']}:rotate", json={})
    assert (answer.status_code, answer.json()["code"]) == (400, 3)


async def test_trail_names_the_key_and_never_shows_it(platform: Platform, admin: str) -> None:
    made = await created(platform, admin)
    await listed(platform, admin)
    await platform.call(admin, "GET", f"{keys_of('admin')}/{made['keyId']}")
    await end(platform, admin, made["keyId"])
    entries = await platform.trail(admin, "acme", filter='method:"ApiKey"')
    name = f"accounts/acme/users/admin/apiKeys/{made['keyId']}"
    assert [(entry["method"].rsplit("/", 1)[1], entry["resource"]) for entry in entries] == [
        ("DeleteApiKey", name),
        ("GetApiKey", name),
        ("ListApiKeys", "accounts/acme/users/admin/apiKeys"),
        ("CreateApiKey", name),
    ]
    assert made["key"] not in str(entries)
