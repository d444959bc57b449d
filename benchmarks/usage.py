"""What questions about usage cost with ten million calls of a month in the database: by every key, the options, the bill.

The whole call is timed in the process that serves it. Exits 1 if one takes longer than a tenth of a second.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

from both_databases import on_both, write_report
from sqlalchemy import insert, text

from embergate.cli.serving import configure_logs
from embergate.gateway.usage.queries import KEYS
from embergate.gateway.usage.records import EMBEDDING, SPANS, Dimensions
from embergate.storage.tables.usage import UsageDimensionsRow
from tests.integration.gateway.platform import Platform

ACCOUNT = "big"
START = datetime(2026, 10, 1, tzinfo=UTC)
NUM_DAYS = 31
NUM_MODELS, NUM_KEYS, NUM_TEAMS = 8, 25, 4
NUM_DIMENSIONS = 100
MAX_MS = 100.0
NUMBERS = {
    "sqlite": "WITH RECURSIVE numbers(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n < :count - 1)",
    "postgresql": "WITH numbers AS (SELECT generate_series(0, :count - 1) AS n)",
}
# The moment of call n, spread evenly over the month.
MOMENT = {
    "sqlite": "strftime('%Y-%m-%d %H:%M:%S.000000', '{start}', '+' || CAST(n * :seconds / :count AS INTEGER) || ' seconds')",
    "postgresql": "CAST('{start}+00' AS timestamptz) + CAST(n AS bigint) * :seconds / :count * interval '1 second'",
}
# The calls of one kind.
RECORDS = """
INSERT INTO usage_records (account_id, dimensions_id, time, request_id, user_id, num_inputs, prompt_tokens, cached_tokens,
                           cost_nanos)
{numbers}
SELECT :account, :id, {moment}, 'request', 'admin', 1, 20 + n % 17, 0, (20 + n % 17) * :price FROM numbers
"""
SLOTS = """
INSERT INTO usage_slots (account_id, dimensions_id, quarters, slot, num_requests, prompt_tokens, cached_tokens, cost_nanos)
SELECT account_id, dimensions_id, {quarters}, {slot}, count(*), sum(prompt_tokens), 0, sum(cost_nanos) FROM usage_records
WHERE account_id = :account GROUP BY account_id, dimensions_id, {slot}
"""
SLOT = {
    "sqlite": "CAST(strftime('%s', time) AS INTEGER) / (900 * {quarters}) * {quarters}",
    "postgresql": "CAST(floor(extract(epoch FROM time) / (900 * {quarters})) AS bigint) * {quarters}",
}
RANGE = {"startTime": START.isoformat(), "endTime": (START + timedelta(days=NUM_DAYS)).isoformat()}
# A range that cuts days and quarters of an hour, in a zone whose clocks change within it.
CUT = {
    "startTime": (START + timedelta(minutes=7)).isoformat(),
    "endTime": (START + timedelta(days=NUM_DAYS, minutes=-7)).isoformat(),
    "timezone": "Europe/Berlin",
}


def kinds() -> list[Dimensions]:
    """Return what calls are told apart by: each key with its team, on four of the models."""
    return [
        Dimensions(
            account_id=ACCOUNT,
            usage_type=EMBEDDING,
            model=f"accounts/fireworks/models/model-{number % NUM_MODELS}",
            api_key_id=f"key_{number % NUM_KEYS}",
            team=f"team-{number % NUM_KEYS % NUM_TEAMS}",
            project="",
            environment="production",
            is_batch=False,
            price_nanos=8,
            cached_price_nanos=4,
        )
        for number in range(NUM_DIMENSIONS)
    ]


async def fill(platform: Platform, count: int) -> str:
    """Add an account with so many calls; return its admin's key."""
    key = await platform.add_account(ACCOUNT)
    dialect = platform.database.dialect
    moment = MOMENT[dialect].format(start=f"{START:%Y-%m-%d %H:%M:%S}")
    records = text(RECORDS.format(numbers=NUMBERS[dialect], moment=moment))
    for kind in kinds():
        async with platform.database.writing() as db:
            await db.execute(insert(UsageDimensionsRow).values(**asdict(kind)))
            values = {"account": ACCOUNT, "id": kind.id, "price": kind.price_nanos, "seconds": NUM_DAYS * 86_400}
            await db.execute(records, {**values, "count": count // NUM_DIMENSIONS})
    for quarters in SPANS:
        async with platform.database.writing() as db:
            sums = SLOTS.format(quarters=quarters, slot=SLOT[dialect].format(quarters=quarters))
            await db.execute(text(sums), {"account": ACCOUNT})
    return key


async def measure(platform: Platform, key: str, count: int, rounds: int) -> dict[str, float]:
    """Return the median milliseconds of every question."""
    path = f"/v1/accounts/{ACCOUNT}"
    questions = {
        **{f"usage by {name}": (f"{path}/billingUsage", {**RANGE, "groupBy": name}) for name in KEYS},
        "usage of one model by key": (
            f"{path}/billingUsage",
            {**RANGE, "groupBy": "api_key_id", "filter[model_name]": kinds()[0].model},
        ),
        "usage, a cut range in Berlin": (f"{path}/billingUsage", CUT),
        "filter options": (f"{path}/accountUsageFilterOptions", RANGE),
        "billing summary": (f"{path}/billing/summary", RANGE),
    }
    times: dict[str, list[float]] = {name: [] for name in questions}
    async with platform.client(key) as client:
        for _ in range(rounds + 1):
            for name, (where, query) in questions.items():
                started = time.perf_counter()
                answer = await client.get(where, params=query)
                times[name].append((time.perf_counter() - started) * 1000)
                assert answer.status_code == 200, answer.text
        usage = (await client.get(f"{path}/billingUsage", params=RANGE)).json()["serverlessCosts"]
        bill = (await client.get(f"{path}/billing/summary", params=RANGE)).json()["lineItems"]
    tokens = sum(int(row["promptTokens"]) for row in usage)
    assert tokens == round(sum(line["quantity"] for line in bill) * 1_000_000), "usage and bill differ"
    assert tokens >= 20 * count, "calls are missing"
    return {name: round(statistics.median(found[1:]), 1) for name, found in times.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    configure_logs("warning")
    count, rounds, num_missed = arguments.calls, arguments.rounds, 0
    report: dict[str, Any] = {}
    for kind, figures in on_both(
        lambda platform: fill(platform, count), lambda platform, key: measure(platform, key, count, rounds)
    ):
        report[kind] = figures
        for name, ms in figures.items():
            num_missed += ms > MAX_MS
            print(f"{kind:<10} {name:<34} {ms:>7.1f} ms  {'met' if ms <= MAX_MS else 'MISSED'}", flush=True)
    write_report("usage", report, calls=count)
    return 1 if num_missed else 0


if __name__ == "__main__":
    sys.exit(main())
