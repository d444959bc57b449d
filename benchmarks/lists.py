"""What a page of a long list costs: the first against the ten thousandth, and a filter on an indexed field.

The whole call is timed in the process that serves it: authentication, the page, the count of all rows, the audit entry. The
peer is the same page by OFFSET, as bare SQL. Calls are interleaved; medians are printed. Exits 1 if a bound is missed.
"""

from __future__ import annotations

import argparse
import base64
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from both_databases import on_both, write_report
from sqlalchemy import ColumnElement, Row, Select, select, text

from embergate.cli.serving import configure_logs
from embergate.storage.tables.accounts import UserRow
from embergate.storage.tables.audit import AuditEntryRow
from tests.integration.gateway.platform import Platform

ACCOUNT = "big"
PAGE_SIZE = 100
FAR_PAGE = 10_000
MAX_RATIO = 2.0
MAX_FILTER_MS = 50.0
NEWEST = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=1)
START = "2020-01-01T00:00:00Z"  # of the trail, which shows 30 days without it; other lists do not know the parameter
DIGEST = slice(17, 33)  # where a page token has its request's digest: `aip/paging.py`
NUMBERS = {
    "sqlite": "WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < :count)",
    "postgresql": "WITH numbers AS (SELECT generate_series(1, :count) AS n)",
}
# A moment of row n, one a second, as each database stores it.
MOMENT = {
    "sqlite": "strftime('%Y-%m-%d %H:%M:%S.000000', '{newest}', '-' || (:count - n) || ' seconds')",
    "postgresql": "CAST('{newest}+00' AS timestamptz) - (:count - n) * interval '1 second'",
}
PADDED = {"sqlite": "printf('%07d', n)", "postgresql": "lpad(CAST(n AS text), 7, '0')"}
USERS = """
INSERT INTO users (account_id, id, display_name, email, email_key, service_account, role, is_operator, state,
                   create_time, update_time)
{numbers}
SELECT :account, 'user-' || {padded}, 'User ' || n, 'user-' || n || '@big.example', 'user-' || n || '@big.example',
       FALSE, 'user', FALSE, 'READY', {moment}, {moment} FROM numbers
"""
ENTRIES = """
INSERT INTO audit_entries (account_id, sequence, id, method, principal, payload, status_code, status_message, timestamp,
                           message, resource, is_admin_action, user_agent, client_ip, api_key_id, hash)
{numbers}
SELECT :account, 1000 + n, 'entry-' || {padded}, '/gateway.Gateway/GetUser', 'user-' || (n % 10000) || '@big.example',
       '{{}}', 'OK', '', {moment}, '', 'accounts/big/users/user-' || {padded}, FALSE, 'curl/8', '10.0.0.1', '', :hash
FROM numbers
"""


@dataclass(frozen=True)
class LongList:
    """A list, the columns it is ordered by, and the filters to time."""

    plural: str
    row: type[Any]
    columns: Sequence[ColumnElement[Any]]
    is_descending: bool
    filters: Mapping[str, str]

    @property
    def path(self) -> str:
        return f"/v1/accounts/{ACCOUNT}/{self.plural}"

    def page_by_offset(self, offset: int, limit: int, *columns: Any) -> Select[Any]:
        order = [column.desc() if self.is_descending else column for column in self.columns]
        mine = select(*columns).where(self.row.account_id == ACCOUNT)
        return mine.order_by(*order).limit(limit).offset(offset)


def long_lists(count: int) -> list[LongList]:
    """Return the lists and filters that are timed."""
    middle = NEWEST - timedelta(seconds=count // 2)
    hour = f'timestamp >= "{middle.isoformat()}" AND timestamp < "{(middle + timedelta(hours=1)).isoformat()}"'
    of_users = {"name": f'name="accounts/{ACCOUNT}/users/user-{count // 2:07}"'}
    of_entries = {"principal": 'principal="user-77@big.example"', "timestamp": hour}
    newest_first = [AuditEntryRow.timestamp.expression, AuditEntryRow.id.expression]
    return [
        LongList("users", UserRow, [UserRow.id.expression], False, of_users),
        LongList("auditLogs", AuditEntryRow, newest_first, True, of_entries),
    ]


async def fill(platform: Platform, count: int) -> str:
    """Add an account of `count` users and audit entries, one a second up to `NEWEST`; return its admin's key."""
    key = await platform.add_account(ACCOUNT)
    dialect = platform.database.dialect
    parts = {"numbers": NUMBERS[dialect], "padded": PADDED[dialect]}
    parts["moment"] = MOMENT[dialect].format(newest=f"{NEWEST:%Y-%m-%d %H:%M:%S}")
    async with platform.database.writing() as db:
        values: dict[str, Any] = {"account": ACCOUNT, "count": count}
        await db.execute(text(USERS.format(**parts)), values)
        await db.execute(text(ENTRIES.format(**parts)), {**values, "hash": bytes(32)})
    return key


async def far_token(platform: Platform, first: str, offset: int, of: LongList) -> tuple[str, Row[Any]]:
    """Return the token of the page behind the first `offset` rows, and the sort values of that page's first row.

    The list is not walked for it: the token of the second page is given the sort values of the row in front of the page.
    """
    async with platform.database.reading() as db:
        before, after = (await db.execute(of.page_by_offset(offset - 1, 2, *of.columns))).all()
    tokens = platform.gateway.page_tokens
    digest = base64.urlsafe_b64decode(first + "=" * (-len(first) % 4))[DIGEST]
    asked_at = tokens.decode(first, digest)[: -len(before)]
    return tokens.encode([*asked_at, *before], digest), after


async def timed_ms(call: Callable[[], Awaitable[Any]]) -> float:
    started = time.perf_counter()
    await call()
    return (time.perf_counter() - started) * 1000


async def measure(platform: Platform, key: str, count: int, rounds: int) -> dict[str, dict[str, float]]:
    """Return the median milliseconds of every call, by list."""
    offset = min(FAR_PAGE * PAGE_SIZE, count) - PAGE_SIZE
    figures: dict[str, dict[str, float]] = {}
    async with platform.client(key) as client:

        async def page(of: LongList, **query: str) -> dict[str, Any]:
            answer = await client.get(of.path, params={"pageSize": str(PAGE_SIZE), "startTime": START, **query})
            assert answer.status_code == 200, answer.text
            found: dict[str, Any] = answer.json()
            return found

        async def by_offset(of: LongList) -> None:
            async with platform.database.reading() as db:
                await db.execute(of.page_by_offset(offset, PAGE_SIZE, of.row))

        for of in long_lists(count):
            first = await page(of)
            assert len(first[of.plural]) == PAGE_SIZE, first
            token, begins_with = await far_token(platform, first["nextPageToken"], offset, of)
            far = await page(of, pageToken=token)
            last_part = (far[of.plural][0].get("name") or far[of.plural][0]["id"]).rpartition("/")[2]
            assert last_part == begins_with[-1], (far[of.plural][0], begins_with)
            for name, condition in of.filters.items():
                assert (await page(of, filter=condition))[of.plural], f"the filter on {name} finds nothing"
            calls: dict[str, Callable[[], Awaitable[Any]]] = {
                "page 1": lambda of=of: page(of),  # type: ignore[misc]
                f"page {FAR_PAGE:,}": lambda of=of, token=token: page(of, pageToken=token),  # type: ignore[misc]
                "by OFFSET": lambda of=of: by_offset(of),  # type: ignore[misc]
            }
            for name, condition in of.filters.items():
                calls[f"filter on {name}"] = lambda of=of, condition=condition: page(of, filter=condition)  # type: ignore[misc]
            times: dict[str, list[float]] = {name: [] for name in calls}
            for _ in range(rounds):
                for name, call in calls.items():
                    times[name].append(await timed_ms(call))
            figures[of.plural] = {name: round(statistics.median(found), 2) for name, found in times.items()}
    return figures


def misses(figures: Mapping[str, float]) -> list[str]:
    """Return which bounds one list's figures miss."""
    slow = [name for name, ms in figures.items() if name.startswith("filter") and ms >= MAX_FILTER_MS]
    ratio = figures[f"page {FAR_PAGE:,}"] / figures["page 1"]
    return [*slow, *([f"page {FAR_PAGE:,}"] if ratio > MAX_RATIO else [])]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()
    configure_logs("warning")
    count, rounds, num_missed = arguments.rows, arguments.rounds, 0
    report: dict[str, Any] = {}
    for kind, by_list in on_both(
        lambda platform: fill(platform, count), lambda platform, key: measure(platform, key, count, rounds)
    ):
        report[kind] = by_list
        for plural, figures in by_list.items():
            missed = misses(figures)
            num_missed += len(missed)
            row = "  ".join(f"{name} {ms:.1f} ms" for name, ms in figures.items())
            print(f"{kind:<10} {plural:<9} {row}  {'MISSED: ' + ', '.join(missed) if missed else 'met'}", flush=True)
    write_report("lists", report, rows=count, page_size=PAGE_SIZE)
    return 1 if num_missed else 0


if __name__ == "__main__":
    sys.exit(main())
