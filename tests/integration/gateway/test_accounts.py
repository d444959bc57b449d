"""GetAccount and ListAccounts, on both databases."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import update

from embergate.clock import now
from embergate.gateway.accounts.schemas import SuspendState
from embergate.storage.tables.accounts import AccountRow
from embergate.web.caller import Role
from tests.integration.gateway.platform import Platform, on_sqlite_only

MINE = "/v1/accounts/mine"


@pytest.fixture
async def admin(platform: Platform) -> str:
    return await platform.add_account("mine")


async def change(platform: Platform, account_id: str, **values: Any) -> None:
    """Change what no public operation changes."""
    async with platform.database.writing() as db:
        await db.execute(update(AccountRow).where(AccountRow.id == account_id).values(**values))


async def names(platform: Platform, key: str, **query: Any) -> list[str]:
    answer = await platform.call(key, "GET", "/v1/accounts", params=query)
    assert answer.status_code == 200, answer.text
    assert answer.json()["totalSize"] >= len(answer.json()["accounts"])
    return [account["name"] for account in answer.json()["accounts"]]


async def test_account_is_answered_with_every_field(platform: Platform, admin: str) -> None:
    shown = (await platform.call(admin, "GET", MINE)).json()
    listed = (await platform.call(admin, "GET", "/v1/accounts")).json()
    assert listed == {"accounts": [shown], "nextPageToken": "", "totalSize": 1}
    created, updated = (datetime.fromisoformat(shown.pop(name)) for name in ("createTime", "updateTime"))
    assert created == updated
    assert now() - timedelta(minutes=5) < created <= now()
    assert shown == {
        "name": "accounts/mine",
        "displayName": "",
        "accountType": "ACCOUNT_TYPE_UNSPECIFIED",
        "email": "owner@mine.example",
        "state": "READY",
        "status": {"code": "OK", "message": ""},
        "suspendState": "UNSUSPENDED",
        "notificationSettings": None,
    }


async def test_account_is_answered_as_it_is_now(platform: Platform, admin: str) -> None:
    thresholds = {"monthly_spend_thresholds": [{"currency_code": "USD", "units": 12, "nanos": 500_000_000}]}
    moment = datetime.fromisoformat("2030-01-02T03:04:05.678Z")
    await change(
        platform,
        "mine",
        display_name="Ours",
        account_type="ENTERPRISE",
        suspend_state=SuspendState.CREDIT_DEPLETED.value,
        notification_settings=thresholds,
        update_time=moment,
    )
    shown = (await platform.call(admin, "GET", MINE)).json()
    assert shown["displayName"] == "Ours"
    assert (shown["accountType"], shown["suspendState"]) == ("ENTERPRISE", "CREDIT_DEPLETED")
    assert shown["updateTime"] == "2030-01-02T03:04:05.678Z"
    assert shown["notificationSettings"] == {
        "monthlySpendThresholds": [{"currencyCode": "USD", "units": "12", "nanos": 500_000_000}]
    }


async def test_account_is_found_by_filters(platform: Platform, admin: str) -> None:
    await change(platform, "mine", display_name="The Lab", suspend_state=SuspendState.FAILED_PAYMENTS.value)
    for text, is_found in (
        ('state=READY AND display_name:"lab"', True),
        ('state=READY AND displayName:"office"', False),
        ("suspendState=FAILED_PAYMENTS", True),
        ("suspend_state=UNSUSPENDED", False),
        ('name="accounts/mine"', True),
        ('name="accounts/*"', True),
        ('name="accounts/theirs"', False),
        ('email="owner@mine.example"', True),
        ("accountType=ENTERPRISE", False),
        (f'create_time <= "{(now() + timedelta(minutes=1)).isoformat()}"', True),
        ('createTime < "2020-01-01T00:00:00Z"', False),
        ("lab", True),
        ("owner@mine", True),
        ("office", False),
    ):
        assert await names(platform, admin, filter=text) == (["accounts/mine"] if is_found else []), text


async def test_read_mask_chooses(platform: Platform, admin: str) -> None:
    await change(platform, "mine", notification_settings={"monthly_spend_thresholds": []})
    for mask, expected in (
        ("name", {"name": "accounts/mine"}),
        ("suspend_state,status.code", {"suspendState": "UNSUSPENDED", "status": {"code": "OK"}}),
        ("email,nothing", {"email": "owner@mine.example"}),
        ("notificationSettings.monthlySpendThresholds.units", {"notificationSettings": {"monthlySpendThresholds": []}}),
        ("nothing", {}),
    ):
        assert (await platform.call(admin, "GET", MINE, params={"readMask": mask})).json() == expected, mask
        page = (await platform.call(admin, "GET", "/v1/accounts", params={"read_mask": mask})).json()
        assert page == {"accounts": [expected], "nextPageToken": "", "totalSize": 1}, mask
    whole = (await platform.call(admin, "GET", MINE)).json()
    for mask in ("", "*", "name,*"):
        assert (await platform.call(admin, "GET", MINE, params={"readMask": mask})).json() == whole


async def test_everyone_but_an_operators_session_lists_the_own_account_alone(platform: Platform, admin: str) -> None:
    theirs = await platform.add_account("theirs")
    operator = await platform.add_user("mine", "root", Role.USER, is_operator=True)
    for key in (admin, operator, await platform.add_user("mine", "ada", Role.CONTRIBUTOR)):
        assert await names(platform, key) == ["accounts/mine"]
        assert await names(platform, key, filter='name="accounts/theirs"') == []
    assert await names(platform, theirs) == ["accounts/theirs"]
    session = (await platform.log_in(apiKey=admin)).token
    assert await names(platform, session) == ["accounts/mine"]


async def test_operators_session_lists_every_account_by_name_whatever_is_asked(platform: Platform, admin: str) -> None:
    for account_id in ("z-last", "a-first", "middle"):
        await platform.add_account(account_id)
    operator = await platform.add_user("mine", "root", Role.USER, is_operator=True)
    session = (await platform.log_in(apiKey=operator)).token
    expected = [f"accounts/{account_id}" for account_id in ("a-first", "middle", "mine", "z-last")]
    assert await names(platform, session) == expected
    assert await names(platform, session, orderBy="createTime desc, no-field") == expected
    assert await names(platform, session, filter="email:mi") == ["accounts/middle", "accounts/mine"]
    seen: list[str] = []
    token = ""
    while True:
        query = {"pageSize": 3, "pageToken": token}
        page = (await platform.call(session, "GET", "/v1/accounts", params=query)).json()
        assert page["totalSize"] == 4
        seen += [account["name"] for account in page["accounts"]]
        token = page["nextPageToken"]
        if not token:
            break
    assert seen == expected


async def test_account_that_is_not_there_is_a_404_for_an_operator_and_a_403_for_the_others(
    platform: Platform, admin: str
) -> None:
    theirs = await platform.add_account("theirs")
    operator = await platform.add_user("mine", "root", Role.USER, is_operator=True)
    answer = await platform.call(operator, "GET", "/v1/accounts/nobody")
    assert answer.status_code == 404
    assert answer.json() == {"code": 5, "message": "resource not found", "details": []}
    assert (await platform.call(operator, "GET", "/v1/accounts/theirs")).json()["name"] == "accounts/theirs"
    for key, account_id in ((admin, "nobody"), (admin, "theirs"), (theirs, "mine")):
        answer = await platform.call(key, "GET", f"/v1/accounts/{account_id}")
        assert (answer.status_code, answer.json()["code"]) == (403, 7)
    inference = await platform.add_user("mine", "robot", Role.INFERENCE_USER)
    for path in (MINE, "/v1/accounts"):
        assert (await platform.call(inference, "GET", path)).status_code == 403


@on_sqlite_only
@pytest.mark.parametrize(
    "query",
    [
        {"filter": "state=NOPE"},
        {"filter": "colour=red"},
        {"filter": "state>READY"},
        {"pageSize": "-1"},
        {"pageToken": "x"},
    ],
)
async def test_bad_list_is_refused_by_name(platform: Platform, admin: str, query: dict[str, str]) -> None:
    answer = await platform.call(admin, "GET", "/v1/accounts", params=query)
    assert (answer.status_code, answer.json()["code"]) == (400, 3)
    assert answer.json()["details"][0]["fieldViolations"][0]["field"] == next(iter(query))
