"""`UsageWriter`: one writer for all the calls of a process, which commits together what has come in meanwhile.

A commit costs a disk about a millisecond whatever is in it, so a busy server writes many records in one, and an idle one does
not wait for a second.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

import structlog

from embergate.clock import now
from embergate.gateway.usage.charging import Charged, charge
from embergate.gateway.usage.records import UsageRecord
from embergate.gateway.usage.watch import AccountWatch
from embergate.storage.database import Database

MAX_GROUP: Final = 500
# Dimensions that are remembered to be in the database; others are written once more, to no effect.
MAX_KNOWN: Final = 100_000
log: structlog.stdlib.BoundLogger = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Entry:
    """A record that waits, and who waits for it."""

    record: UsageRecord
    on_done: Callable[[Charged | None], None]
    done: asyncio.Future[Charged]


class UsageWriter:
    """Charges records, as many at once as are waiting."""

    def __init__(self, database: Database, watch: AccountWatch) -> None:
        """Write nothing yet; `watch` is shown what was charged."""
        self._database = database
        self._watch = watch
        self._waiting: deque[_Entry] = deque()
        self._known: set[bytes] = set()
        self._task: asyncio.Task[None] | None = None

    def submit(self, record: UsageRecord, on_done: Callable[[Charged | None], None]) -> asyncio.Future[Charged]:
        """Have a record charged; return what will tell what came of it. To be shielded by whoever awaits it.

        `on_done` is called for every record of a group, with None for one that could not be written, before anybody else
        may act on any of them. The future raises UnavailableError if the database cannot be written to; nothing is charged
        then.
        """
        done: asyncio.Future[Charged] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Entry(record, on_done, done))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())
        return done

    async def close(self) -> None:
        """Wait until what came in is written, and what comes of it."""
        if self._task is not None:
            await self._task
        await self._watch.close()

    async def _run(self) -> None:
        while self._waiting:
            group = [self._waiting.popleft() for _ in range(min(len(self._waiting), MAX_GROUP))]
            try:
                outcomes = await self._commit([entry.record for entry in group])
            except Exception as error:
                log.exception("usage_not_written", num_calls=len(group))
                for entry in group:
                    entry.on_done(None)
                    _fail(entry.done, error)
                continue
            for entry, outcome in zip(group, outcomes, strict=True):
                entry.on_done(outcome)
                if not entry.done.done():
                    entry.done.set_result(outcome)
            self._watch.notice(outcomes)

    async def _commit(self, records: list[UsageRecord]) -> list[Charged]:
        outcomes = await self._database.write(partial(charge, records=records, moment=now(), known=self._known))
        if len(self._known) >= MAX_KNOWN:  # callers make them up, by their annotations
            self._known.clear()
        # NOTE: not of records that were refused or repeated: their dimensions were not written, and records refer to them.
        written = zip(records, outcomes, strict=True)
        self._known |= {record.dimensions.id for record, outcome in written if outcome.is_written}
        return outcomes


def _fail(done: asyncio.Future[Charged], error: Exception) -> None:
    if not done.done():
        done.set_exception(error)
        done.exception()  # its call may have been cancelled: nobody asks then
