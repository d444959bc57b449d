"""Usage and bills over HTTP, on both databases, of calls that the meter charged."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest
import time_machine

from embergate.gateway.usage.standing import Billing
from embergate.web.metering import Annotations
from tests.integration.gateway.platform import Platform
from tests.integration.gateway.test_metering import MODEL, call, demand, set_up

USAGE = "/v1/accounts/acme/billingUsage"
OPTIONS = "/v1/accounts/acme/accountUsageFilterOptions"
SUMMARY = "/v1/accounts/acme/billing/summary"
OTHER = "accounts/fireworks/models/bge-base-en-v1-5"

BY_MODEL = [("2026-02-28", MODEL, 30), ("2026-03-01", MODEL, 80), ("2026-03-01", OTHER, 40)]
CUT = [("startTime", "2026-02-28T23:00:00Z"), ("endTime", "2026-03-01T00:07:30Z")]


async def used(platform: Platform, at: str, tokens: int, **changes: Any) -> None:
    """Make one call at a moment."""
    with time_machine.travel(datetime.fromisoformat(at), tick=True):
        platform.gateway.meter.forget()
        assert await call(platform, demand(0, **changes), tokens) == "answered"


@pytest.fixture
async def key(platform: Platform) -> str:
    """An admin's key of an account with usage around midnight of the first of March, in UTC and elsewhere."""
    await set_up(platform, billing=Billing.POSTPAID)
    ada = Annotations(team="search", project="docs")
    await used(platform, "2026-02-28T22:59:59+00:00", 10)
    await used(platform, "2026-02-28T23:00:00+00:00", 20, annotations=ada)
    await used(platform, "2026-03-01T00:07:30+00:00", 40, model=OTHER, list_price_nanos=100)
    await used(platform, "2026-03-01T12:00:00+00:00", 80, annotations=Annotations())
    return await platform.add_key("acme", "admin")


async def ask(platform: Platform, key: str, path: str, *query: tuple[str, str]) -> Any:
    params = [("startTime", "2026-02-28T00:00:00Z"), ("endTime", "2026-03-02T00:00:00Z")]
    names = {name for name, _ in query}
    answer = await platform.call(key, "GET", path, params=[*query, *(one for one in params if one[0] not in names)])
    assert answer.status_code == 200, answer.text
    return answer.json()


def tokens(usage: Any, *keys: str) -> list[tuple[Any, ...]]:
    return [
        (row["startTime"][:10], *(row["group"][key] for key in keys), int(row["promptTokens"]))
        for row in usage["serverlessCosts"]
    ]


async def test_usage_is_by_day_and_model_where_nothing_else_is_said(platform: Platform, key: str) -> None:
    usage = await ask(platform, key, USAGE)
    assert tokens(usage, "model_name") == BY_MODEL
    assert usage["dedicatedCosts"] == []
    assert usage["serverlessCosts"][0] == {
        "modelName": MODEL,
        "promptTokens": "30",
        "completionTokens": "0",
        "startTime": "2026-02-28T00:00:00Z",
        "endTime": "2026-03-01T00:00:00Z",
        "audioInputSeconds": 0.0,
        "usageType": "EMBEDDING_INFERENCE_USAGE",
        "apiKeyId": "",
        "group": {"model_name": MODEL},
    }


@pytest.mark.parametrize(
    ("query", "keys", "expected"),
    [
        ([("groupBy", "api_key_id")], ["api_key_id"], [("2026-02-28", "key_1", 30), ("2026-03-01", "key_1", 120)]),
        (
            [("groupBy", "annotations.team,annotations.project")],
            ["annotations.team", "annotations.project"],
            [
                ("2026-02-28", "search", "", 10),
                ("2026-02-28", "search", "docs", 20),
                ("2026-03-01", "", "", 80),
                ("2026-03-01", "search", "", 40),
            ],
        ),
        (
            [("groupBy", "annotations.team"), ("groupBy", "model_name"), ("filter[annotations.team]", "search")],
            ["annotations.team", "model_name"],
            [("2026-02-28", "search", MODEL, 30), ("2026-03-01", "search", OTHER, 40)],
        ),
        ([("filter[model_name]", OTHER)], ["model_name"], [("2026-03-01", OTHER, 40)]),
        (
            [("filter[model_name][values]", OTHER), ("filter[model_name].values", MODEL), ("groupBy", "api_key_id")],
            ["api_key_id"],
            [("2026-02-28", "key_1", 30), ("2026-03-01", "key_1", 120)],
        ),
        (
            [("groupBy", "deployment_name")],
            ["model_name"],
            [("2026-02-28", MODEL, 30), ("2026-03-01", MODEL, 80), ("2026-03-01", OTHER, 40)],
        ),
        ([("filter[deployment_name]", "d")], [], []),
        ([("usageType", "DEDICATED_DEPLOYMENT")], [], []),
        # An hour east of UTC the last hour of February is March.
        (
            [("timezone", "Europe/Berlin"), ("groupBy", "api_key_id")],
            ["api_key_id"],
            [("2026-02-28", "key_1", 10), ("2026-03-01", "key_1", 140)],
        ),
        # A range that cuts days and quarters of an hour in two, to the second.
        (
            [("startTime", "2026-02-28T23:00:00Z"), ("endTime", "2026-03-01T00:07:30Z"), ("groupBy", "api_key_id")],
            ["api_key_id"],
            [("2026-02-28", "key_1", 20)],
        ),
        (
            [("startTime", "2026-03-01T00:07:30Z"), ("endTime", "2026-03-01T00:07:31Z")],
            ["model_name"],
            [("2026-03-01", OTHER, 40)],
        ),
        ([("startTime", "2026-03-01T00:07:31Z"), ("endTime", "2026-03-01T00:14:00Z")], [], []),
    ],
)
async def test_usage_by_what_is_asked_for(
    platform: Platform, key: str, query: list[tuple[str, str]], keys: list[str], expected: list[tuple[Any, ...]]
) -> None:
    assert tokens(await ask(platform, key, USAGE, *query), *keys) == expected


async def test_filter_options_are_what_was_used_and_can_be_asked_for(platform: Platform, key: str) -> None:
    options = (await ask(platform, key, OPTIONS))["filterOptions"]
    assert {name: found["values"] for name, found in options.items()} == {
        "model_name": [MODEL, OTHER],
        "api_key_id": ["key_1"],
        "annotations.team": ["search"],
        "annotations.project": ["docs"],
        "annotations.environment": [],
        "deployment_name": [],
        "accelerator_type": [],
    }
    for name, found in options.items():
        for value in found["values"]:
            assert (await ask(platform, key, USAGE, (f"filter[{name}]", value)))["serverlessCosts"]
    serverless = await ask(platform, key, OPTIONS, ("usageType", "SERVERLESS"))
    assert "deployment_name" not in serverless["filterOptions"]
    dedicated = await ask(platform, key, OPTIONS, ("usageType", "DEDICATED_DEPLOYMENT"))
    assert "model_name" not in dedicated["filterOptions"]
    later = await ask(platform, key, OPTIONS, ("startTime", "2026-03-01T12:00:00Z"))
    assert later["filterOptions"]["model_name"]["values"] == [MODEL]


def nanos(money: dict[str, Any]) -> int:
    return int(money["units"]) * 10**9 + int(money["nanos"])


async def test_bill_is_quantity_times_price_to_the_nano(platform: Platform, key: str) -> None:
    lines = (await ask(platform, key, SUMMARY))["lineItems"]
    assert [(line["groupingValue"], line["quantity"], line["secondaryGroupingValue"]) for line in lines] == [
        (MODEL, 0.00011, "false"),
        (OTHER, 0.00004, "false"),
    ]
    for line in lines:
        assert Decimal(repr(line["quantity"])) * nanos(line["unitAmount"]) == nanos(line["totalCost"])
    assert sum(nanos(line["totalCost"]) for line in lines) == 110 * 8 + 40 * 100
    assert lines[0]["unitAmount"] == {"currencyCode": "USD", "units": "0", "nanos": 8_000_000}
    # The time of day does not count, and the last day is not among them.
    february = await ask(
        platform, key, SUMMARY, ("startTime", "2026-02-28T17:00:00Z"), ("endTime", "2026-03-01T23:00:00Z")
    )
    assert [line["quantity"] for line in february["lineItems"]] == [0.00003]


@pytest.mark.parametrize(
    ("path", "query", "message"),
    [
        (USAGE, {"startTime": "2026-03-01T00:00:00Z"}, "endTime: Field required"),
        (
            USAGE,
            {"startTime": "2026-03-01T00:00:00Z", "endTime": "2026-03-01T00:00:00Z"},
            "endTime must be after startTime",
        ),
        (USAGE, {"startTime": "2026-03-01T00:00:00Z", "endTime": "2026-04-01T01:00:01Z"}, "at most 31 days"),
        (OPTIONS, {"startTime": "2026-03-01T00:00:00Z", "endTime": "2026-04-01T01:00:01Z"}, "at most 31 days"),
        (USAGE, {"startTime": "0001-01-01T00:00:00Z", "endTime": "0001-01-02T00:00:00Z"}, "of a year from 1970"),
        (OPTIONS, {"startTime": "9999-12-30T00:00:00Z", "endTime": "9999-12-31T23:59:59Z"}, "of a year from 1970"),
        (USAGE, {"timezone": "Mars/Olympus"}, "there is no IANA time zone 'Mars/Olympus'"),
        (USAGE, {"timezone": "../../etc/passwd"}, "there is no IANA time zone"),
        (USAGE, {"groupBy": "colour"}, "groupBy: there is no key 'colour'"),
        (
            USAGE,
            {"groupBy": "deployment_name", "usageType": "SERVERLESS"},
            "groupBy: there is no key 'deployment_name'",
        ),
        (
            USAGE,
            {"groupBy": "model_name", "usageType": "DEDICATED_DEPLOYMENT"},
            "groupBy: there is no key 'model_name'",
        ),
        (USAGE, {"filter[colour]": "red"}, "filter: 'filter[colour]' is none of"),
        (USAGE, {"filter": "model_name=a"}, "filter: 'filter' is none of"),
        (USAGE, {"usageType": "BOTH"}, "usageType"),
        (SUMMARY, {"startTime": "2026-03-01T00:00:00Z", "endTime": "2026-03-01T23:00:00Z"}, "later day"),
    ],
)
async def test_bad_question_is_told_what_is_wrong(
    platform: Platform, path: str, query: dict[str, str], message: str
) -> None:
    key = await platform.add_account("acme")
    whole = {"startTime": "2026-02-28T00:00:00Z", "endTime": "2026-03-02T00:00:00Z"}
    params = query if "startTime" in query else {**whole, **query}
    answer = await platform.call(key, "GET", path, params=params)
    assert answer.status_code == 400, answer.text
    assert message in answer.json()["message"]


@pytest.mark.parametrize("year", ["0001", "9999"])
async def test_first_and_last_year_have_bills_and_no_usage(platform: Platform, year: str) -> None:
    key = await platform.add_account("acme")
    query = ("startTime", f"{year}-01-01T00:00:00Z"), ("endTime", f"{year}-12-31T23:59:59Z")
    assert (await ask(platform, key, SUMMARY, *query))["lineItems"] == []


async def test_month_in_which_clocks_are_set_back_can_be_asked_for(platform: Platform) -> None:
    key = await platform.add_account("acme")
    month = ("startTime", "2026-10-01T00:00:00+02:00"), ("endTime", "2026-11-01T00:00:00+01:00")
    assert (await ask(platform, key, USAGE, *month, ("timezone", "Europe/Berlin")))["serverlessCosts"] == []


async def test_marks_beyond_a_thousand_a_day_are_others(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("embergate.gateway.usage.annotations.MAX_A_DAY", 2)
    await set_up(platform, billing=Billing.POSTPAID)
    key = await platform.add_key("acme", "admin")
    for day in ("2026-03-01", "2026-03-02"):
        for team in ("a", "b", "c", "a", "d", ""):
            await used(platform, f"{day}T12:00:00+00:00", 1, annotations=Annotations(team=team))
    usage = await ask(
        platform, key, USAGE, ("startTime", "2026-03-01T00:00:00Z"), ("endTime", "2026-03-03T00:00:00Z"),
        ("groupBy", "annotations.team"),
    )  # fmt: skip
    a_day = [("", 1), ("(other)", 2), ("a", 2), ("b", 1)]
    assert tokens(usage, "annotations.team") == [(day, *row) for day in ("2026-03-01", "2026-03-02") for row in a_day]


async def test_others_usage_is_never_told(platform: Platform, key: str) -> None:
    stranger = await platform.add_account("other")
    for path in (USAGE, OPTIONS, SUMMARY):
        answer = await platform.call(stranger, "GET", path)
        assert answer.status_code == 403
    own = await ask(platform, stranger, USAGE.replace("acme", "other"))
    assert own["serverlessCosts"] == []
