"""Credit codes over HTTP, on both databases: each account redeems one once, and never more accounts than it has places."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import httpx2
import pytest
from sqlalchemy import func, select

from embergate.aip.errors import InvalidArgumentError
from embergate.errors import AlreadyExistsError, NotFoundError
from embergate.gateway.credits.ledger import GRANTED_CREDIT, balance, check, credit_of
from embergate.gateway.credits.service import MAX_GUESSES
from embergate.gateway.money import NANOS_PER_UNIT
from embergate.storage.tables.audit import AuditEntryRow
from embergate.storage.tables.credits import CreditCodeRow, PostingRow
from embergate.web.caller import Role
from tests.integration.gateway.operating import disable_code, make_code
from tests.integration.gateway.platform import Platform, on_sqlite_only

REDEEM: Final = "/v1/creditCodes:redeem"
REDEMPTIONS: Final = "/v1/accounts/acme/creditRedemptions"
AMOUNT: Final = {"currencyCode": "USD", "units": "12", "nanos": 500_000_000}
AMOUNT_NANOS: Final = 12_500_000_000
NOON: Final = datetime(2026, 8, 1, 12, tzinfo=UTC)


@pytest.fixture
async def admin(platform: Platform) -> str:
    return await platform.add_account("acme")


async def redeem(platform: Platform, key: str, code: str = "WELCOME", account_id: str = "acme") -> httpx2.Response:
    return await platform.call(key, "POST", REDEEM, json={"code": code, "name": f"accounts/{account_id}"})


async def balance_of(platform: Platform, ledger_account: str, currency_code: str = "USD") -> int:
    async with platform.database.reading() as db:
        assert await check(db) == []
        return await balance(db, ledger_account, currency_code)


async def num_redemptions_of(platform: Platform, code: str) -> int:
    async with platform.database.reading() as db:
        return int((await db.scalars(select(CreditCodeRow.num_redemptions).where(CreditCodeRow.code == code))).one())


async def entries_of(platform: Platform, account_id: str, method: str) -> list[AuditEntryRow]:
    statement = (
        select(AuditEntryRow)
        .where(AuditEntryRow.account_id == account_id, AuditEntryRow.method == f"/gateway.Gateway/{method}")
        .order_by(AuditEntryRow.sequence)
    )
    async with platform.database.reading() as db:
        return list((await db.scalars(statement)).all())


async def test_redeeming_grants_the_amount_and_is_written_down(platform: Platform, admin: str) -> None:
    await make_code(platform)
    answer = await redeem(platform, admin)
    assert (answer.status_code, answer.json()) == (200, {"amount": AMOUNT})
    listed = (await platform.call(admin, "GET", REDEMPTIONS)).json()
    (redemption,) = listed["creditRedemptions"]
    assert redemption == {"name": redemption["name"], "creditCode": "WELCOME", "createTime": redemption["createTime"]}
    assert redemption["name"].startswith("accounts/acme/creditRedemptions/")
    assert (listed["nextPageToken"], listed["totalSize"]) == ("", 1)
    assert await balance_of(platform, credit_of("acme")) == AMOUNT_NANOS
    assert await balance_of(platform, GRANTED_CREDIT) == -AMOUNT_NANOS
    async with platform.database.reading() as db:
        assert set(await db.scalars(select(PostingRow.cause))) == {redemption["name"]}
    (entry,) = await entries_of(platform, "acme", "RedeemCreditCode")
    assert (entry.resource, entry.status_code, entry.is_admin_action) == (redemption["name"], "OK", False)


@pytest.mark.parametrize("spelling", ["welcome", "  Welcome\t", "WELCOME\n"])
async def test_code_is_known_in_any_case_and_with_space_around_it(
    platform: Platform, admin: str, spelling: str
) -> None:
    await make_code(platform, " wElcome ")
    assert (await redeem(platform, admin, spelling)).status_code == 200
    listed = (await platform.call(admin, "GET", REDEMPTIONS)).json()
    assert [redemption["creditCode"] for redemption in listed["creditRedemptions"]] == ["WELCOME"]


async def test_unknown_code_is_not_found(platform: Platform, admin: str) -> None:
    for code in ("NOTHING", "ß" * 100, "' OR 1=1 --", "%", "   "):
        answer = await redeem(platform, admin, code)
        assert (answer.status_code, answer.json()["code"]) == (404, 5)


@on_sqlite_only
async def test_codes_are_not_guessed_without_end(platform: Platform, admin: str) -> None:
    await make_code(platform, maxRedemptions=5)
    other = await platform.add_account("other")
    for _ in range(MAX_GUESSES + 1):  # a code that there is costs no guess
        assert (await redeem(platform, admin)).status_code in {200, 409}
    answers = await asyncio.gather(*(redeem(platform, admin, f"GUESS-{number}") for number in range(MAX_GUESSES + 2)))
    assert Counter(answer.status_code for answer in answers) == {404: MAX_GUESSES, 429: 2}
    refused = await redeem(platform, admin)
    assert (refused.status_code, refused.json()["code"]) == (429, 8)
    assert 1 <= int(refused.headers["retry-after"]) <= 300
    assert (await redeem(platform, other, account_id="other")).status_code == 200


async def test_second_redemption_already_exists_and_grants_nothing(platform: Platform, admin: str) -> None:
    await make_code(platform, maxRedemptions=5)
    await redeem(platform, admin)
    answer = await redeem(platform, admin)
    assert (answer.status_code, answer.json()["code"], answer.headers["x-should-retry"]) == (409, 6, "false")
    assert await num_redemptions_of(platform, "WELCOME") == 1
    assert await balance_of(platform, credit_of("acme")) == AMOUNT_NANOS
    assert [entry.status_code for entry in await entries_of(platform, "acme", "RedeemCreditCode")] == [
        "OK",
        "ALREADY_EXISTS",
    ]


async def test_redeemed_code_already_exists_also_when_it_is_over(platform: Platform, admin: str) -> None:
    await make_code(platform)
    await redeem(platform, admin)
    await disable_code(platform, "welcome")
    assert (await redeem(platform, admin)).json()["code"] == 6


async def test_disabled_code_cannot_be_redeemed(platform: Platform, admin: str) -> None:
    await make_code(platform)
    await disable_code(platform, "welcome")
    answer = await redeem(platform, admin)
    assert (answer.status_code, answer.json()["code"]) == (400, 9)
    assert "no longer accepted" in answer.json()["message"]


async def test_used_up_code_cannot_be_redeemed(platform: Platform, admin: str) -> None:
    await make_code(platform)
    await redeem(platform, await platform.add_account("other"), account_id="other")
    answer = await redeem(platform, admin)
    assert (answer.status_code, answer.json()["code"]) == (400, 9)
    assert "used up" in answer.json()["message"]


@pytest.mark.parametrize(
    ("moment", "says"),
    [
        (NOON - timedelta(microseconds=1), "not valid yet"),
        (NOON, None),
        (NOON + timedelta(hours=1, microseconds=-1), None),
        (NOON + timedelta(hours=1), "expired"),
    ],
    ids=["before", "first", "last", "after"],
)
async def test_code_is_valid_from_its_start_until_before_its_end(
    platform: Platform, admin: str, monkeypatch: pytest.MonkeyPatch, moment: datetime, says: str | None
) -> None:
    await make_code(platform, startTime=NOON.isoformat(), endTime=(NOON + timedelta(hours=1)).isoformat())
    monkeypatch.setattr("embergate.gateway.credits.service.now", lambda: moment)
    answer = await redeem(platform, admin)
    if says is None:
        assert answer.status_code == 200
    else:
        assert (answer.status_code, answer.json()["code"]) == (400, 9)
        assert says in answer.json()["message"]
        assert await num_redemptions_of(platform, "WELCOME") == 0


@on_sqlite_only
@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"name": "accounts/acme"}, "code"),
        ({"code": "", "name": "accounts/acme"}, "code"),
        ({"code": "WELCOME"}, "name"),
        ({"code": "WELCOME", "name": "acme"}, "name"),
        ({"code": "WELCOME", "name": "accounts/"}, "name"),
        ({"code": "WELCOME", "name": "accounts/acme/users/admin"}, "name"),
        ({"code": "WELCOME", "name": "accounts/Acme"}, "name"),
        ({"code": "WELCOME", "name": "accounts/acme\n"}, "name"),
        ({"code": 1, "name": "accounts/acme"}, "code"),
        ({"code": "WELCOME", "name": "accounts/acme", "account": "acme"}, "account"),
    ],
)
async def test_bad_body_is_refused_by_field(platform: Platform, admin: str, body: dict[str, Any], field: str) -> None:
    await make_code(platform)
    answer = await platform.call(admin, "POST", REDEEM, json=body)
    assert (answer.status_code, answer.json()["code"]) == (400, 3)
    assert field in answer.json()["message"]
    assert await num_redemptions_of(platform, "WELCOME") == 0


async def test_only_an_admin_of_the_account_redeems_and_reads(platform: Platform, admin: str) -> None:
    await make_code(platform, maxRedemptions=9)
    other = await platform.add_account("other")
    for role in Role:
        key = admin if role is Role.ADMIN else await platform.add_user("acme", role.value, role)
        expected = 200 if role is Role.ADMIN else 403
        assert (await redeem(platform, key)).status_code == expected, role
        assert (await platform.call(key, "GET", REDEMPTIONS)).status_code == expected, role
    for account_id in ("acme", "no-such-account"):
        answer = await redeem(platform, other, account_id=account_id)
        assert (answer.status_code, answer.json()["code"]) == (403, 7)
    assert (await platform.call(other, "GET", REDEMPTIONS)).status_code == 403
    assert await balance_of(platform, credit_of("other")) == 0
    refused = await entries_of(platform, "other", "RedeemCreditCode")
    assert [(entry.status_code, entry.resource) for entry in refused] == [
        ("PERMISSION_DENIED", "accounts/acme"),
        ("PERMISSION_DENIED", "accounts/no-such-account"),
    ]
    assert await entries_of(platform, "no-such-account", "RedeemCreditCode") == []


async def test_operator_redeems_for_an_account_in_that_accounts_trail(platform: Platform, admin: str) -> None:
    await make_code(platform)
    await platform.add_account("platform")
    operator = await platform.add_user("platform", "root", Role.ADMIN, is_operator=True)
    assert (await redeem(platform, operator, account_id="no-such-account")).status_code == 404
    assert (await redeem(platform, operator)).status_code == 200
    (entry,) = await entries_of(platform, "acme", "RedeemCreditCode")
    assert (entry.is_admin_action, entry.principal) == (True, "root@platform.example")
    assert await balance_of(platform, credit_of("acme")) == AMOUNT_NANOS


async def test_fifty_redemptions_at_once_by_one_account_credit_it_once(platform: Platform, admin: str) -> None:
    await make_code(platform)
    async with platform.client(admin) as client:
        body = {"code": "welcome", "name": "accounts/acme"}
        answers = await asyncio.gather(*(client.post(REDEEM, json=body) for _ in range(50)))
    codes = Counter((answer.status_code, answer.json().get("code")) for answer in answers)
    assert codes == {(200, None): 1, (409, 6): 49}
    assert await balance_of(platform, credit_of("acme")) == AMOUNT_NANOS
    assert await num_redemptions_of(platform, "WELCOME") == 1
    assert (await platform.call(admin, "GET", REDEMPTIONS)).json()["totalSize"] == 1
    outcomes = Counter(entry.status_code for entry in await entries_of(platform, "acme", "RedeemCreditCode"))
    assert outcomes == {"OK": 1, "ALREADY_EXISTS": 49}


async def test_fifty_accounts_at_once_take_exactly_the_ten_places_of_a_code(platform: Platform) -> None:
    await make_code(platform, maxRedemptions=10)
    keys = {f"account-{number}": await platform.add_account(f"account-{number}") for number in range(50)}
    answers = await asyncio.gather(*(redeem(platform, key, account_id=name) for name, key in keys.items()))
    codes = Counter((answer.status_code, answer.json().get("code")) for answer in answers)
    assert codes == {(200, None): 10, (400, 9): 40}
    assert await num_redemptions_of(platform, "WELCOME") == 10
    assert await balance_of(platform, GRANTED_CREDIT) == -10 * AMOUNT_NANOS
    for (name, _), answer in zip(keys.items(), answers, strict=True):
        assert await balance_of(platform, credit_of(name)) == (AMOUNT_NANOS if answer.status_code == 200 else 0)


async def test_two_codes_redeemed_at_once_by_two_accounts_wait_for_each_other_and_succeed(platform: Platform) -> None:
    codes = [f"CODE{number}" for number in range(8)]
    for code in codes:
        await make_code(platform, code, maxRedemptions=2)
    keys = {name: await platform.add_account(name) for name in ("one", "two")}
    answers = await asyncio.gather(
        *(redeem(platform, keys["one"], code, "one") for code in codes),
        *(redeem(platform, keys["two"], code, "two") for code in reversed(codes)),
    )
    assert {answer.status_code for answer in answers} == {200}
    assert await balance_of(platform, credit_of("one")) == 8 * AMOUNT_NANOS


async def test_redemption_that_would_overflow_the_ledger_is_refused_and_leaves_nothing(
    platform: Platform, admin: str
) -> None:
    most = {"currencyCode": "USD", "units": "9223372036", "nanos": 854_775_807}
    await make_code(platform, "MOST", amount=most)
    await make_code(platform)
    assert (await redeem(platform, admin, "MOST")).json() == {"amount": most}
    answer = await redeem(platform, admin)
    assert (answer.status_code, answer.json()["code"]) == (400, 9)
    assert await num_redemptions_of(platform, "WELCOME") == 0
    async with platform.database.reading() as db:
        assert await db.scalar(select(func.count()).select_from(PostingRow)) == 2


async def test_list_filters_orders_pages_and_masks(platform: Platform, admin: str) -> None:
    for code in ("AAA", "BBB", "CCC"):
        await make_code(platform, code, maxRedemptions=2)
        await redeem(platform, admin, code)
    await redeem(platform, await platform.add_account("other"), "AAA", "other")

    async def listed(**params: Any) -> dict[str, Any]:
        answer = await platform.call(admin, "GET", REDEMPTIONS, params=params)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def codes_of(page: dict[str, Any]) -> list[str]:
        return [redemption["creditCode"] for redemption in page["creditRedemptions"]]

    everything = await listed()
    assert codes_of(everything) == ["AAA", "BBB", "CCC"]
    assert codes_of(await listed(orderBy="create_time desc")) == ["CCC", "BBB", "AAA"]
    assert codes_of(await listed(orderBy="creditCode desc")) == ["CCC", "BBB", "AAA"]
    assert codes_of(await listed(filter='credit_code="BBB"')) == ["BBB"]
    second = everything["creditRedemptions"][1]
    assert codes_of(await listed(filter=f'create_time>"{second["createTime"]}"')) == ["CCC"]
    assert codes_of(await listed(filter=f'name="{second["name"]}"')) == ["BBB"]
    assert await listed(readMask="creditCode", pageSize=1, filter="bbb") == {
        "creditRedemptions": [{"creditCode": "BBB"}],
        "nextPageToken": "",
        "totalSize": 1,
    }
    first = await listed(pageSize=2)
    rest = await listed(pageSize=2, pageToken=first["nextPageToken"])
    assert (codes_of(first), codes_of(rest)) == (["AAA", "BBB"], ["CCC"])
    assert (first["totalSize"], rest["totalSize"], rest["nextPageToken"]) == (3, 3, "")


@on_sqlite_only
@pytest.mark.parametrize(
    "params", [{"filter": "amount=3"}, {"orderBy": "amount"}, {"pageSize": "-1"}, {"pageToken": "nonsense"}]
)
async def test_bad_list_is_refused(platform: Platform, admin: str, params: dict[str, str]) -> None:
    answer = await platform.call(admin, "GET", REDEMPTIONS, params=params)
    assert (answer.status_code, answer.json()["code"]) == (400, 3)
    assert next(iter(params)) in answer.json()["message"]


@on_sqlite_only
@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"code": ""}, "code"),
        ({"code": "two words"}, "code: use"),
        ({"code": "-A"}, "code: use"),
        ({"code": "A" * 65}, "code: use"),
        ({"code": "ÄÖÜ"}, "code: use"),
        ({"amount": None}, "amount is required"),
        ({"amount": {**AMOUNT, "units": "0", "nanos": 0}}, "more than nothing"),
        ({"amount": {**AMOUNT, "units": "-1", "nanos": 0}}, "more than nothing"),
        ({"amount": {**AMOUNT, "units": "1", "nanos": -1}}, "same sign"),
        ({"amount": {**AMOUNT, "units": "9223372037"}}, "at most 9,223,372,036"),
        ({"amount": {**AMOUNT, "currencyCode": "usd"}}, "amount.currencyCode"),
        ({"amount": {**AMOUNT, "currencyCode": "EURO"}}, "amount.currencyCode"),
        ({"maxRedemptions": 0}, "maxRedemptions: at least 1"),
        ({"startTime": NOON.isoformat(), "endTime": NOON.isoformat()}, "endTime: it must be after"),
    ],
)
async def test_bad_code_cannot_be_made(platform: Platform, fields: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        await make_code(platform, **{"code": "WELCOME", **fields})
    assert says in caught.value.message
    (entry,) = await entries_of(platform, "", "CreateCreditCode")
    assert (entry.status_code, entry.is_admin_action, entry.principal) == ("INVALID_ARGUMENT", True, "ops@cli")


async def test_code_is_made_as_asked_and_once(platform: Platform) -> None:
    made = await make_code(platform, "summer-26", maxRedemptions=3, endTime="2026-09-01T00:00:00+02:00")
    assert (made.code, made.max_redemptions, made.num_redemptions, made.enabled) == ("SUMMER-26", 3, 0, True)
    assert made.amount is not None
    assert made.amount.units * NANOS_PER_UNIT + made.amount.nanos == AMOUNT_NANOS
    assert made.end_time == datetime(2026, 8, 31, 22, tzinfo=UTC)
    with pytest.raises(AlreadyExistsError, match="SUMMER-26"):
        await make_code(platform, "Summer-26")
    with pytest.raises(NotFoundError):
        await disable_code(platform, "winter-26")
    created, refused = await entries_of(platform, "", "CreateCreditCode")
    assert (created.resource, created.status_code) == ("creditCodes/SUMMER-26", "OK")
    assert refused.status_code == "ALREADY_EXISTS"
