"""Secrets over HTTP: kept encrypted, used by the server alone, and shown to nobody."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx2
import pytest
from sqlalchemy import select, text, update
from structlog.testing import capture_logs

from embergate.errors import FailedPreconditionError, NotFoundError
from embergate.gateway.secrets.schemas import Secret
from embergate.gateway.secrets.service import MAX_VALUE_BYTES, reveal, rotate_all
from embergate.gateway.secrets.store import SECRETS_AT_ONCE
from embergate.storage.tables.credentials import SecretRow
from embergate.web.caller import Role
from tests.integration.gateway.platform import MASTER_KEY, Platform, on_sqlite_only

SECRETS = "/v1/accounts/mine/secrets"
VALUE = "hunter2-and-some-more"
NEW_MASTER_KEY = bytes(range(100, 132))
WRONG: list[dict[str, Any]] = [
    {"name": "accounts/theirs/secrets/x"},
    {"value": [VALUE]},
    {"value": {"plain": VALUE}},
    {"value": VALUE * 10_000},
    {"valeu": VALUE},
]


@pytest.fixture
async def admin(platform: Platform) -> str:
    return await platform.add_account("mine")


async def create(platform: Platform, key: str, secret_id: str = "s3", **fields: Any) -> httpx2.Response:
    body = {"name": f"accounts/mine/secrets/{secret_id}", "keyName": "AWS_SECRET", "value": VALUE, **fields}
    return await platform.call(key, "POST", SECRETS, json=body)


async def revealed(platform: Platform, account_id: str = "mine", secret_id: str = "s3") -> str:
    async with platform.database.reading() as db:
        return await reveal(db, platform.keyring, account_id, secret_id)


async def test_secret_is_kept_and_answered_without_its_value(platform: Platform, admin: str) -> None:
    shown = {"name": "accounts/mine/secrets/s3", "keyName": "AWS_SECRET"}
    created = await create(platform, admin)
    assert (created.status_code, created.json()) == (200, shown)
    assert (await platform.call(admin, "GET", f"{SECRETS}/s3")).json() == shown
    page = await platform.call(admin, "GET", SECRETS)
    assert page.json() == {"secrets": [shown], "nextPageToken": "", "totalSize": 1}
    assert (await platform.call(admin, "GET", f"{SECRETS}/s3?readMask=keyName")).json() == {"keyName": "AWS_SECRET"}
    assert await revealed(platform) == VALUE


async def test_value_stands_nowhere_but_encrypted(platform: Platform, admin: str) -> None:
    """Not in an answer, not in a log, not in the audit trail, whatever is wrong with the request."""
    answers = []
    with capture_logs() as logs:
        answers.append(await create(platform, admin))
        answers.append(await create(platform, admin))
        answers += [await create(platform, admin, "other", **wrong) for wrong in WRONG]
        answers.append(await platform.call(admin, "POST", SECRETS, json=VALUE))
        answers.append(await platform.call(admin, "POST", SECRETS, content=f'{{"value": "{VALUE}"'))
        answers.append(await platform.call(admin, "PATCH", f"{SECRETS}/s3", json={"value": VALUE + "2", "x": VALUE}))
        answers.append(await platform.call(admin, "PATCH", f"{SECRETS}/s3", json={"value": VALUE + "2"}))
        answers.append(await platform.call(admin, "DELETE", f"{SECRETS}/s3"))
    assert [answer.status_code for answer in answers] == [200, 409, *[400] * 8, 200, 200]
    assert not [answer.text for answer in answers if VALUE in answer.text]
    assert VALUE not in str(logs)
    async with platform.database.reading() as db:
        entries = (await db.execute(text("SELECT * FROM audit_entries"))).all()
    assert len(entries) == len(answers)
    assert VALUE not in str(entries)
    assert VALUE not in repr(Secret(value=VALUE))


async def test_stored_value_is_ciphertext_of_this_row_alone(platform: Platform, admin: str) -> None:
    await create(platform, admin, "one", value="first")
    await create(platform, admin, "two", value="second")
    async with platform.database.writing() as db:
        found = await db.execute(select(SecretRow.id, SecretRow.encrypted_value))
        stored = {row.id: row.encrypted_value for row in found}
        assert b"first" not in stored["one"]
        await db.execute(update(SecretRow).where(SecretRow.id == "one").values(encrypted_value=stored["two"]))
    assert await revealed(platform, secret_id="two") == "second"
    with pytest.raises(FailedPreconditionError, match="accounts/mine/secrets/one cannot be decrypted"):
        await revealed(platform, secret_id="one")


@on_sqlite_only
@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "s3"}, "name"),
        ({"name": "accounts/theirs/secrets/s3"}, "name"),
        ({"name": "accounts/mine/secrets/"}, "name"),
        ({"name": "accounts/mine/secrets/S3"}, "name"),
        ({"name": "accounts/mine/secrets/a/b"}, "name"),
        ({"name": "accounts/mine/users/s3"}, "name"),
        ({"keyName": ""}, "keyName"),
        ({"keyName": "x" * 257}, "keyName"),
        ({"value": ""}, "value"),
        ({"value": None}, "value"),
        ({"value": "x" * (MAX_VALUE_BYTES + 1)}, "value"),
        ({"value": "ä" * (MAX_VALUE_BYTES // 2 + 1)}, "value"),
        ({"value": 7}, "value"),
    ],
)
async def test_bad_secret_is_refused_by_name(
    platform: Platform, admin: str, fields: dict[str, Any], field: str
) -> None:
    answer = await create(platform, admin, **fields)
    assert (answer.status_code, answer.json()["code"]) == (400, 3)
    assert answer.json()["details"][0]["fieldViolations"][0]["field"] == field
    assert (await platform.call(admin, "GET", SECRETS)).json()["totalSize"] == 0


async def test_largest_value_fits(platform: Platform, admin: str) -> None:
    value = "ä" * (MAX_VALUE_BYTES // 2)
    assert (await create(platform, admin, value=value)).status_code == 200
    assert await revealed(platform) == value


async def test_second_secret_of_a_name_is_refused_also_at_the_same_moment(platform: Platform, admin: str) -> None:
    answers = await asyncio.gather(*(create(platform, admin, value=f"v{number}") for number in range(8)))
    assert sorted(answer.status_code for answer in answers) == [200, *[409] * 7]
    refused = next(answer for answer in answers if answer.status_code == 409)
    assert (refused.json()["code"], refused.headers["x-should-retry"]) == (6, "false")


@pytest.mark.parametrize(
    ("body", "mask", "key_name", "value"),
    [
        ({"keyName": "B"}, None, "B", VALUE),
        ({"key_name": "B", "value": "new"}, None, "B", "new"),
        ({"value": "new"}, None, "AWS_SECRET", "new"),
        ({"keyName": "B", "value": "new"}, "value", "AWS_SECRET", "new"),
        ({"keyName": "B", "value": "new"}, "keyName", "B", VALUE),
        ({"keyName": "B", "value": "new"}, "*", "B", "new"),
        ({"name": "accounts/mine/secrets/other", "keyName": "B"}, None, "B", VALUE),
        ({}, None, "AWS_SECRET", VALUE),
    ],
)
async def test_update_changes_what_it_names(
    platform: Platform, admin: str, body: dict[str, str], mask: str | None, key_name: str, value: str
) -> None:
    await create(platform, admin)
    answer = await platform.call(
        admin, "PATCH", f"{SECRETS}/s3", json=body, params={"updateMask": mask} if mask else {}
    )
    assert (answer.status_code, answer.json()) == (200, {"name": "accounts/mine/secrets/s3", "keyName": key_name})
    assert await revealed(platform) == value


@on_sqlite_only
@pytest.mark.parametrize(
    ("body", "mask"),
    [
        ({"keyName": ""}, None),
        ({"value": ""}, None),
        ({"keyName": "B"}, "value"),
        ({"keyName": "B"}, "*"),
        ({"name": "accounts/mine/secrets/other"}, "name"),
        ({"keyName": "B"}, "nothing"),
    ],
)
async def test_update_that_would_empty_or_rename_a_secret_is_refused(
    platform: Platform, admin: str, body: dict[str, str], mask: str | None
) -> None:
    await create(platform, admin)
    answer = await platform.call(
        admin, "PATCH", f"{SECRETS}/s3", json=body, params={"updateMask": mask} if mask else {}
    )
    assert answer.status_code == 400
    assert await revealed(platform) == VALUE


async def test_deleted_secret_is_gone(platform: Platform, admin: str) -> None:
    await create(platform, admin)
    assert (await platform.call(admin, "DELETE", f"{SECRETS}/s3")).json() == {}
    for method in ("GET", "DELETE", "PATCH"):
        gone = await platform.call(admin, method, f"{SECRETS}/s3", **({"json": {}} if method == "PATCH" else {}))
        assert (gone.status_code, gone.json()["message"]) == (404, "resource not found")
    with pytest.raises(NotFoundError):
        await revealed(platform)
    assert (await create(platform, admin)).status_code == 200


async def test_list_is_in_the_order_of_names_whatever_is_asked(platform: Platform, admin: str) -> None:
    for secret_id in ("b", "a-1", "c", "a"):
        await create(platform, admin, secret_id, keyName=f"KEY_{secret_id}")
    names, token = [], ""
    while True:
        query = {"pageSize": 3, "orderBy": "keyName desc, no-field", "pageToken": token}
        page = (await platform.call(admin, "GET", SECRETS, params=query)).json()
        names += [secret["name"].rsplit("/", 1)[1] for secret in page["secrets"]]
        token = page["nextPageToken"]
        if not token:
            break
    assert names == ["a", "a-1", "b", "c"]
    found = await platform.call(admin, "GET", SECRETS, params={"filter": 'keyName="KEY_b" OR name:"secrets/c"'})
    assert found.json()["totalSize"] == 2
    by_value = await platform.call(admin, "GET", SECRETS, params={"filter": f'value="{VALUE}"'})
    assert by_value.status_code == 400


async def test_only_admins_and_operators_come_near_a_secret(platform: Platform, admin: str) -> None:
    await create(platform, admin)
    theirs = await platform.add_account("theirs")
    keys = [await platform.add_user("mine", role.value, role) for role in Role if role is not Role.ADMIN]
    for key in (*keys, theirs):
        assert (await create(platform, key, "mine-too")).status_code == 403
        for method, path in (("GET", ""), ("GET", "/s3"), ("PATCH", "/s3"), ("DELETE", "/s3")):
            options = {"json": {"value": "x"}} if method == "PATCH" else {}
            assert (await platform.call(key, method, f"{SECRETS}{path}", **options)).status_code == 403
    operator = await platform.add_user("theirs", "root", Role.ADMIN, is_operator=True)
    assert (await platform.call(operator, "GET", f"{SECRETS}/s3")).status_code == 200
    nowhere = {"name": "accounts/nobody/secrets/a", "keyName": "A", "value": "x"}
    answer = await platform.call(operator, "POST", "/v1/accounts/nobody/secrets", json=nowhere)
    assert (answer.status_code, answer.json()["code"]) == (404, 5)


async def test_secrets_outlive_the_key_they_were_encrypted_with(platform: Platform, admin: str) -> None:
    for number in range(SECRETS_AT_ONCE + 3):
        await create(platform, admin, f"s{number}", value=f"value {number}")
    both = Platform(platform.database, master_keys=(NEW_MASTER_KEY, MASTER_KEY))
    new_only = Platform(platform.database, master_keys=(NEW_MASTER_KEY,))
    assert await revealed(both, secret_id="s7") == "value 7"
    with pytest.raises(FailedPreconditionError, match="set its value again"):
        await revealed(new_only, secret_id="s7")
    async with platform.database.writing() as db:
        assert await rotate_all(db, both.keyring) == (SECRETS_AT_ONCE + 3, [])
    for number in (0, 7, SECRETS_AT_ONCE + 2):
        assert await revealed(new_only, secret_id=f"s{number}") == f"value {number}"
    await both.close()
    await new_only.close()


async def test_rotation_names_what_cannot_be_decrypted_and_leaves_it(platform: Platform, admin: str) -> None:
    await create(platform, admin, "good")
    await create(platform, admin, "lost")
    async with platform.database.writing() as db:
        await db.execute(update(SecretRow).where(SecretRow.id == "lost").values(encrypted_value=b"of another key"))
    async with platform.database.writing() as db:
        assert await rotate_all(db, platform.keyring) == (1, ["accounts/mine/secrets/lost"])
    answer = await platform.call(admin, "PATCH", f"{SECRETS}/lost", json={"value": "set again"})
    assert answer.status_code == 200
    assert await revealed(platform, secret_id="lost") == "set again"
