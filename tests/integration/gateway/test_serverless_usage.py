"""Rate limits and tokens a minute over HTTP, on both databases, of calls that the meter charged."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
import time_machine

from embergate.gateway.usage.standing import Billing
from tests.integration.gateway.platform import Platform
from tests.integration.gateway.test_call_limits import limit
from tests.integration.gateway.test_metering import MODEL, set_up
from tests.integration.gateway.test_usage import OTHER, used

LIMITS = "/v1/accounts/acme/serverlessRateLimits"
USAGE = "/v1/accounts/acme/serverlessTokenUsage"
MIDNIGHT = int(datetime(2026, 3, 1, tzinfo=UTC).timestamp())
RANGE = {"start": "2026-03-01T00:00:00Z", "end": "2026-03-01T01:00:00Z", "interval": "1800s"}
AVERAGE = {"includeAverageTokensPerMinuteByBaseModel": "true"}
PEAK = {"includePeakTokensPerMinuteByBaseModel": "true"}


@pytest.fixture
async def key(platform: Platform) -> str:
    """An admin's key of an account that used one model twice within a minute, then both."""
    await set_up(platform, billing=Billing.POSTPAID)
    await used(platform, "2026-02-28T23:59:59+00:00", 7)
    await used(platform, "2026-03-01T00:10:01+00:00", 900)
    await used(platform, "2026-03-01T00:10:59+00:00", 900)
    await used(platform, "2026-03-01T00:29:59+00:00", 300)
    await used(platform, "2026-03-01T00:45:00+00:00", 60)
    await used(platform, "2026-03-01T00:45:30+00:00", 90, model=OTHER)
    return await platform.add_key("acme", "admin")


async def ask(platform: Platform, key: str, path: str, **query: str) -> Any:
    answer = await platform.call(key, "GET", path, params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


def points(series: dict[str, Any]) -> list[tuple[int, str]]:
    return [(int(point["timestamp"]) - MIDNIGHT, point["value"]) for point in series["values"]]


def deployment_of(model: str) -> str:
    return model.replace("/models/", "/deployments/")


async def test_rate_limits_are_per_second_and_so_is_what_was_used(platform: Platform, key: str) -> None:
    await limit(platform, prompt_tokens_per_minute=6000, prompt_tokens_per_minute_per_model=3000)
    told = await ask(platform, key, LIMITS, **RANGE)
    assert told["rateLimits"] == [
        {"deployment": deployment_of(model), "metric": "TOKENS_PROMPT", "effectiveLimit": 50.0}
        for model in (MODEL, OTHER)
    ]
    assert [series["labels"] for series in told["series"]] == [
        {"deployment": deployment_of(model), "metric": "TOKENS_PROMPT"} for model in (MODEL, OTHER)
    ]
    assert [points(series) for series in told["series"]] == [
        [(0, "1.166667"), (1800, "0.033333")],
        [(0, "0"), (1800, "0.05")],
    ]
    assert told["series"][0]["values"][0] == {"timestamp": str(MIDNIGHT), "value": "1.166667"}


@pytest.mark.parametrize("name", [OTHER, deployment_of(OTHER), f"{OTHER}#{deployment_of(OTHER)}"])
async def test_rate_limits_of_one_deployment(platform: Platform, key: str, name: str) -> None:
    told = await ask(platform, key, LIMITS, deployment=name, **RANGE)
    assert told["rateLimits"] == []  # nothing is limited
    assert [points(series) for series in told["series"]] == [[(0, "0"), (1800, "0.05")]]


async def test_averages_are_by_interval_and_model(platform: Platform, key: str) -> None:
    told = await ask(platform, key, USAGE, **RANGE, **AVERAGE)
    assert [(series["labels"], points(series)) for series in told["averageTokensPerMinuteByBaseModel"]] == [
        ({"base_model": MODEL}, [(0, "70"), (1800, "2")]),
        ({"base_model": OTHER}, [(0, "0"), (1800, "3")]),
    ]
    assert told["totalPeakUncachedPromptTokensPerMinute"] is None
    assert told["peakUncachedPromptTokensPerMinuteByBaseModel"] == []


async def test_peaks_are_of_single_minutes(platform: Platform, key: str) -> None:
    told = await ask(platform, key, USAGE, **RANGE, **PEAK)
    assert [points(series) for series in told["peakUncachedPromptTokensPerMinuteByBaseModel"]] == [
        [(0, "1800"), (1800, "60")],
        [(0, "0"), (1800, "90")],
    ]
    assert points(told["totalPeakUncachedPromptTokensPerMinute"]) == [(0, "1800"), (1800, "150")]
    for name in ("Cached", "Generated"):
        part = "CachedPrompt" if name == "Cached" else name
        assert points(told[f"totalPeak{part}TokensPerMinute"]) == [(0, "0"), (1800, "0")]
    assert told["averageTokensPerMinuteByBaseModel"] == []


async def test_what_is_not_said_is_thirty_days_by_four_hours_until_now(platform: Platform, key: str) -> None:
    with time_machine.travel(datetime(2026, 3, 1, 1, tzinfo=UTC), tick=True):
        told = await ask(platform, key, USAGE, **AVERAGE)
    series = points(told["averageTokensPerMinuteByBaseModel"][0])
    assert len(series) in {180, 181}
    assert series[1][0] - series[0][0] == 4 * 3600
    # Of the interval that goes on only what has passed counts.
    with time_machine.travel(datetime(2026, 3, 1, 0, 50, tzinfo=UTC), tick=False):
        told = await ask(platform, key, USAGE, start=RANGE["start"], interval="3600s", **AVERAGE)
    assert points(told["averageTokensPerMinuteByBaseModel"][1]) == [(0, "1.8")]


@pytest.mark.parametrize(
    ("path", "query", "message"),
    [
        (USAGE, RANGE, "one of includePeakTokensPerMinuteByBaseModel and"),
        (USAGE, {**RANGE, "includePeakTokensPerMinuteByBaseModel": "false"}, "must be true"),
        (LIMITS, {**RANGE, "end": RANGE["start"]}, "end must be after start"),
        (LIMITS, {**RANGE, "end": "2026-04-01T01:00:01Z"}, "at most 31 days"),
        (LIMITS, {**RANGE, "interval": "60s"}, 'interval: expected a multiple of "900s"'),
        (LIMITS, {**RANGE, "interval": "1000s"}, 'interval: expected a multiple of "900s"'),
        (LIMITS, {**RANGE, "interval": "-900s"}, 'interval: expected a multiple of "900s"'),
        (LIMITS, {**RANGE, "interval": "4h"}, "expected a duration in seconds"),
        (LIMITS, {"start": "0001-01-01T00:00:00Z", "end": "0001-01-02T00:00:00Z"}, "start must be of a year from 1970"),
        (LIMITS, {"end": "0001-01-01T00:00:00Z"}, "end must be of a year from 1970"),
        (LIMITS, {"start": "9999-12-30T00:00:00Z", "end": "9999-12-31T00:00:00Z"}, "of a year from 1970"),
        (LIMITS, {"start": "yesterday"}, "expected a timestamp"),
    ],
)
async def test_bad_question_is_told_what_is_wrong(
    platform: Platform, path: str, query: dict[str, str], message: str
) -> None:
    key = await platform.add_account("acme")
    answer = await platform.call(key, "GET", path, params=query)
    assert (answer.status_code, answer.json()["code"]) == (400, 3), answer.text
    assert message in answer.json()["message"]


async def test_others_usage_is_never_told(platform: Platform, key: str) -> None:
    stranger = await platform.add_account("other")
    for path in (LIMITS, USAGE):
        assert (await platform.call(stranger, "GET", path)).status_code == 403
        assert MODEL not in (await platform.call(stranger, "GET", path.replace("acme", "other"), params=PEAK)).text
