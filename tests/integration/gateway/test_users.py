"""Users over HTTP, on both databases."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from embergate.gateway.users import store
from embergate.web.caller import Role
from tests.integration.gateway.platform import Platform, on_sqlite_only

USERS = "/v1/accounts/acme/users"


@pytest.fixture
async def admin(platform: Platform) -> str:
    return await platform.add_account("acme")


async def create(platform: Platform, key: str, user_id: str, **fields: Any) -> dict[str, Any]:
    body = {"role": "user", "email": f"{user_id}@acme.example", **fields}
    answer = await platform.call(key, "POST", f"{USERS}?userId={user_id}", json=body)
    assert answer.status_code == 200, answer.text
    created: dict[str, Any] = answer.json()
    return created


async def test_created_user_is_answered_with_every_field(platform: Platform, admin: str) -> None:
    created = await create(platform, admin, "ada", displayName="Ada")
    assert created.pop("createTime") == created.pop("updateTime")
    assert created == {
        "name": "accounts/acme/users/ada",
        "displayName": "Ada",
        "serviceAccount": False,
        "role": "user",
        "email": "ada@acme.example",
        "state": "READY",
        "status": {"code": "OK", "message": ""},
        "permissionPreset": "",
    }
    read = await platform.call(admin, "GET", f"{USERS}/ada")
    listed = await platform.call(admin, "GET", USERS, params={"filter": 'name="accounts/acme/users/ada"'})
    assert listed.json()["users"] == [read.json()]


async def test_id_is_made_from_the_address_where_none_is_given(platform: Platform, admin: str) -> None:
    answer = await platform.call(admin, "POST", USERS, json={"role": "user", "email": "Ada.L+x@acme.example"})
    assert answer.json()["name"] == "accounts/acme/users/ada-l-x"


async def test_service_account_acts_under_an_address_of_its_own(platform: Platform, admin: str) -> None:
    created = await create(platform, admin, "robot", serviceAccount=True, email="")
    assert created["email"] == "robot@acme.sa.fireworks.ai"


@on_sqlite_only
@pytest.mark.parametrize(
    ("query", "body", "says"),
    [
        ("userId=ada", {"email": "a@b.c"}, "role is required"),
        ("userId=ada", {"email": "a@b.c", "role": "king"}, "choose one of admin"),
        ("userId=ada", {"email": "nobody", "role": "user"}, "email: expected an address"),
        ("userId=Ada", {"email": "a@b.c", "role": "user"}, "userId"),
        ("userId=ada", {"email": "a@b.c", "role": "user", "displayName": "x" * 64}, "displayName"),
        ("userId=ada", {"email": "a@b.c", "role": "user", "permissionPreset": "x"}, "permissionPreset"),
        ("userId=ada", {"email": "a@b.c", "role": "user", "colour": 1}, 'unknown field "colour"'),
        ("userId=ada", {"email": "a@b.c", "role": "user", "display_name": "", "displayName": ""}, "given twice"),
        ("userId=ada", {"email": "a\0@b.c", "role": "user"}, "NUL"),
        ("userId=ada", [], "expected a JSON object"),
    ],
)
async def test_bad_user_is_refused_by_name(platform: Platform, admin: str, query: str, body: Any, says: str) -> None:
    answer = await platform.call(admin, "POST", f"{USERS}?{query}", json=body)
    assert (answer.status_code, answer.json()["code"]) == (400, 3)
    assert says in answer.json()["message"]
    assert "x-should-retry" not in answer.headers


async def test_id_and_address_are_taken_once(platform: Platform, admin: str) -> None:
    for user_id, email, says in (
        ("admin", "a@b.c", "already"),
        ("ada", "ADMIN@acme.example", "has this email"),
    ):
        answer = await platform.call(admin, "POST", f"{USERS}?userId={user_id}", json={"email": email, "role": "user"})
        assert (answer.status_code, answer.json()["code"]) == (409, 6)
        assert says in answer.json()["message"]
        assert answer.headers["x-should-retry"] == "false"


async def test_update_changes_what_the_body_names_and_nothing_else(platform: Platform, admin: str) -> None:
    await create(platform, admin, "ada", displayName="Ada")
    answer = await platform.call(admin, "PATCH", f"{USERS}/ada", json={"role": "contributor"})
    assert (answer.json()["role"], answer.json()["displayName"]) == ("contributor", "Ada")
    answer = await platform.call(admin, "PATCH", f"{USERS}/ada", json={"display_name": ""})
    assert (answer.json()["role"], answer.json()["displayName"]) == ("contributor", "")


@on_sqlite_only
@pytest.mark.parametrize(
    ("mask", "body", "status", "says"),
    [
        ("displayName", {"displayName": "new", "role": "admin"}, 200, '"role":"user"'),
        ("displayName", {}, 200, '"displayName":""'),
        ("*", {"role": "user", "email": "ada@acme.example"}, 200, '"displayName":""'),
        ("createTime,state", {"createTime": "2020-01-01T00:00:00Z"}, 200, '"state":"READY"'),
        ("colour", {}, 400, "colour"),
        ("role", {}, 400, "role is required"),
        ("serviceAccount", {"serviceAccount": True}, 400, "serviceAccount cannot be changed"),
        ("permissionPreset", {"permissionPreset": "x"}, 400, "permissionPreset"),
        ("permissionPreset", {"permissionPreset": ""}, 200, '"permissionPreset":""'),
    ],
)
async def test_update_mask_chooses(
    platform: Platform, admin: str, mask: str, body: Any, status: int, says: str
) -> None:
    await create(platform, admin, "ada", displayName="Ada")
    answer = await platform.call(admin, "PATCH", f"{USERS}/ada", params={"updateMask": mask}, json=body)
    assert answer.status_code == status, answer.text
    assert says in answer.text


async def test_last_admin_stays_one(platform: Platform, admin: str) -> None:
    answer = await platform.call(admin, "PATCH", f"{USERS}/admin", json={"role": "user"})
    assert (answer.status_code, answer.json()["code"]) == (400, 9)
    await create(platform, admin, "second", role="admin")
    assert (await platform.call(admin, "PATCH", f"{USERS}/admin", json={"role": "user"})).status_code == 200


async def test_two_admins_cannot_demote_each_other_at_the_same_time(platform: Platform, admin: str) -> None:
    other = await platform.add_user("acme", "second", Role.ADMIN)
    answers = await asyncio.gather(
        platform.call(admin, "PATCH", f"{USERS}/second", json={"role": "user"}),
        platform.call(other, "PATCH", f"{USERS}/admin", json={"role": "user"}),
    )
    assert sorted(answer.status_code for answer in answers) in ([200, 400], [200, 403])
    async with platform.database.reading() as db:
        assert await store.count_admins(db, "acme", besides="") == 1


async def test_demoted_admin_loses_its_rights_at_once(platform: Platform, admin: str) -> None:
    other = await platform.add_user("acme", "second", Role.ADMIN)
    assert (await platform.call(other, "GET", USERS)).status_code == 200
    assert (await platform.call(admin, "PATCH", f"{USERS}/second", json={"role": "inference-user"})).status_code == 200
    assert (await platform.call(other, "GET", USERS)).status_code == 403


async def test_lists_filter_order_page_and_mask(platform: Platform, admin: str) -> None:
    for user_id in ("ada", "bob", "cyd"):
        await create(platform, admin, user_id, displayName=user_id[::-1])
    params = {"filter": 'role=user AND display_name:"A"', "orderBy": "display_name desc", "readMask": "name"}
    answer = await platform.call(admin, "GET", USERS, params=params)
    assert answer.json() == {"users": [{"name": "accounts/acme/users/ada"}], "nextPageToken": "", "totalSize": 1}
    seen, token = [], ""
    while True:
        page = await platform.call(
            admin, "GET", USERS, params={"page_size": 2, "pageToken": token, "order_by": "displayName"}
        )
        seen += [user["displayName"] for user in page.json()["users"]]
        assert page.json()["totalSize"] == 4
        token = page.json()["nextPageToken"]
        if not token:
            break
    assert seen == ["Admin", "ada", "bob", "dyc"]


@on_sqlite_only
async def test_addresses_are_alike_by_the_case_of_ascii_letters_only(platform: Platform, admin: str) -> None:
    # Two people each: what Unicode's case folding makes of the first is the second.
    for number, pair in enumerate((("straße", "strasse"), ("\u017fue", "sue"), ("\u212aim", "kim"), ("Ära", "ära"))):
        for letter, local in zip("ab", pair, strict=True):
            await create(platform, admin, f"user-{letter}{number}", email=f"{local}@acme.example")
    taken = {"role": "user", "email": "STRAßE@ACME.example"}
    assert (await platform.call(admin, "POST", f"{USERS}?userId=third", json=taken)).status_code == 409


async def test_longest_address_is_kept_whatever_its_letters(platform: Platform, admin: str) -> None:
    email = "\u0390" * 64 + "@" + "\u0390" * 255  # folded, each would be three
    assert (await create(platform, admin, "ada", email=email))["email"] == email


@on_sqlite_only
async def test_operator_is_not_demoted_by_its_role(platform: Platform, admin: str) -> None:
    operator = await platform.add_user("acme", "root", Role.ADMIN, is_operator=True)
    answer = await platform.call(operator, "PATCH", f"{USERS}/root", json={"role": "inference-user"})
    assert (answer.status_code, answer.json()["code"]) == (400, 9)
    assert "set-operator acme root --no-operator" in answer.json()["message"]
    assert (await platform.call(operator, "PATCH", f"{USERS}/root", json={"displayName": "Root"})).status_code == 200
