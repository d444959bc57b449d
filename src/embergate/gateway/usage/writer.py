"""`UsageWriter`: one writer for all the calls of a process, which commits together what has come in meanwhile.

A commit costs a disk about a millisecond whatever is in it, so a busy server writes many records in one, and an idle one does
not wait for a second.
"""

from __future__ import annotations

import asyncio
import math
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from contextvars import Context
from copy import copy
from dataclasses import dataclass
from functools import partial
from typing import Final

import structlog

from embergate.clock import monotonic_s, now
from embergate.errors import UnavailableError
from embergate.gateway.usage.charging import Charged, charge
from embergate.gateway.usage.metrics import UsageMetrics
from embergate.gateway.usage.records import UsageRecord
from embergate.gateway.usage.watch import AccountWatch
from embergate.storage.database import Database

MAX_GROUP: Final = 500
# Dimensions that are remembered to be in the database; others are written once more, to no effect.
MAX_KNOWN: Final = 100_000
# Records of answered calls that wait for a database which is away. Beyond that they are lost, and said to be.
MAX_KEPT: Final = 100_000
FIRST_RETRY_S: Final = 0.1
MAX_RETRY_S: Final = 10.0
# How long a server that stops goes on trying.
CLOSING_S: Final = 5.0
log: structlog.stdlib.BoundLogger = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Entry:
    """A record that waits, and who waits for it."""

    record: UsageRecord
    handed_in_at_s: float
    on_done: Callable[[Charged | None], None]
    done: asyncio.Future[Charged]


class _Retries:
    """When to try again: after each failure twice as long."""

    def __init__(self) -> None:
        self._next_s = FIRST_RETRY_S
        self._at_s = 0.0

    @property
    def wait_s(self) -> float:
        return self._at_s - monotonic_s()

    def note(self, *, failed: bool) -> None:
        self._at_s = monotonic_s() + self._next_s if failed else 0.0
        self._next_s = min(2 * self._next_s, MAX_RETRY_S) if failed else FIRST_RETRY_S


class UsageWriter:
    """Charges records, as many at once as are waiting."""

    def __init__(self, database: Database, watch: AccountWatch, metrics: UsageMetrics) -> None:
        """Write nothing yet; `watch` is shown what was charged."""
        self._database = database
        self._watch = watch
        self._metrics = metrics
        self._waiting: deque[_Entry] = deque()
        # Those of answered calls that could not be written, to be tried again.
        self._kept: deque[_Entry] = deque()
        self._retries = _Retries()
        self._closes_by_s = math.inf
        self._wake = asyncio.Event()
        self._known: set[bytes] = set()
        self._task: asyncio.Task[None] | None = None
        metrics.waiting_charges.set_function(lambda: len(self._waiting) + len(self._kept))

    def submit(self, record: UsageRecord, on_done: Callable[[Charged | None], None]) -> asyncio.Future[Charged]:
        """Have a record charged; return what will tell what came of it. To be shielded by whoever awaits it.

        `on_done` is called for every record of a group, with None for one that could not be written, before anybody else
        may act on any of them. The future raises UnavailableError if the database cannot be written to; nothing is charged
        then. Where the call is answered already, the record is tried again until it is written.
        """
        done: asyncio.Future[Charged] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Entry(record, monotonic_s(), on_done, done))
        self._wake.set()
        if self._task is None or self._task.done():
            # Not of this call alone: what it logs is none of its.
            self._task = asyncio.create_task(self._run(), context=Context())
        return done

    async def close(self) -> None:
        """Wait until what came in is written, and what comes of it; for a few seconds, if the database is away."""
        self._closes_by_s = monotonic_s() + CLOSING_S
        self._retries = _Retries()
        self._wake.set()
        if self._task is not None:
            await self._task
        await self._watch.close()

    async def _run(self) -> None:
        while self._waiting or (self._kept and monotonic_s() < self._closes_by_s):
            group = self._next_group()
            if group:
                self._retries.note(failed=not await self._charge(group))
            else:
                await self._pause(self._retries.wait_s)
        self._lose(self._kept)

    def _next_group(self) -> list[_Entry]:
        """Take what comes next: what was kept, once it is due, before what has come in since."""
        group: list[_Entry] = []
        for queue in (self._kept, self._waiting) if self._retries.wait_s <= 0 else (self._waiting,):
            group += [queue.popleft() for _ in range(min(len(queue), MAX_GROUP - len(group)))]
        return group

    async def _pause(self, wait_s: float) -> None:
        """Wait until it is time to try again, or until something comes in."""
        self._wake.clear()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), wait_s)

    async def _charge(self, group: Sequence[_Entry]) -> bool:
        """Charge a group, and each of its accounts by itself where one spoils it; return whether the database was there."""
        try:
            outcomes = await self._commit([entry.record for entry in group])
        except UnavailableError as error:
            log.warning("usage_not_written", num_calls=len(group), reason=error.message)
            self._fail(group, error)
            return False
        except Exception as error:
            by_account: dict[str, list[_Entry]] = defaultdict(list)
            for entry in group:
                by_account[entry.record.dimensions.account_id].append(entry)
            if len(by_account) == 1:
                log.exception("usage_not_written", num_calls=len(group), account=next(iter(by_account)))
                self._fail(group, error)
                return True
            return all([await self._charge(part) for part in by_account.values()])
        self._metrics.commit_charges.observe(len(group))
        for entry, outcome in zip(group, outcomes, strict=True):
            self._metrics.note_charge(entry.record, outcome, monotonic_s() - entry.handed_in_at_s)
            entry.on_done(outcome)
            if not entry.done.done():
                entry.done.set_result(outcome)
        self._watch.notice(outcomes)
        return True

    async def _commit(self, records: list[UsageRecord]) -> list[Charged]:
        outcomes = await self._database.write(partial(charge, records=records, moment=now(), known=self._known))
        if len(self._known) >= MAX_KNOWN:  # callers make them up, by their annotations
            self._known.clear()
        # NOTE: not of records that were refused or repeated: their dimensions were not written, and records refer to them.
        written = zip(records, outcomes, strict=True)
        self._known |= {record.dimensions.id for record, outcome in written if outcome.is_written}
        return outcomes

    def _fail(self, group: Sequence[_Entry], error: Exception) -> None:
        self._metrics.failed_charges.inc(len(group))
        is_away = isinstance(error, UnavailableError)
        for entry in group:
            if entry.record.is_answered and is_away and len(self._kept) < MAX_KEPT:
                self._kept.append(entry)
            elif entry.record.is_answered:
                self._lose([entry])
            else:
                entry.on_done(None)
                if not entry.done.done():
                    entry.done.set_exception(copy(error))  # each call writes its own headers into its own
                    entry.done.exception()  # its call may have been cancelled: nobody asks then

    def _lose(self, entries: Iterable[_Entry]) -> None:
        """Give up records of answered calls; the log is where they are from now on."""
        for entry in entries:
            log.error("usage_lost", **_told(entry.record))
            self._metrics.lost_charges.inc()
            entry.on_done(None)


def _told(record: UsageRecord) -> dict[str, str | int]:
    return {
        "account": record.dimensions.account_id,
        "model": record.dimensions.model,
        "request_id": record.request_id,
        "prompt_tokens": record.prompt_tokens,
        "cost_nanos": record.cost_nanos,
    }
