"""Workers that die as a killed process does: nothing of them reaches the database any more, and nobody is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Literal

from sqlalchemy.ext.asyncio import AsyncSession

from embergate.jobs.rules import WorkerRules
from embergate.jobs.worker import Worker
from embergate.storage.database import Database
from tests.integration.jobs.toy import TOY, ToyHandler

Moment = Literal["before", "within", "after"]
RULES = WorkerRules(poll_s=0.002, heartbeat_s=0.005, lease_s=600.0, first_pause_s=0.0, max_deaths=1_000)


class MortalDatabase(Database):
    """A database's connection of one worker, which may be killed at a unit of work: before it, within it, or after it."""

    is_dead = False
    dies_after: int | None = None
    moment: Moment = "before"

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncSession]:
        self._die_if_due("before")
        async with super().reading() as db:
            yield db

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncSession]:
        if self.dies_after is not None:
            self.dies_after -= 1
        self._die_if_due("before")
        async with super().writing() as db:
            yield db
            self._die_if_due("within")
        self._die_if_due("after")

    def _die_if_due(self, moment: Moment) -> None:
        if self.dies_after is not None and self.dies_after <= 0 and moment == self.moment:
            self.is_dead = True
        if self.is_dead:
            raise asyncio.CancelledError


class MortalWorker:
    """A worker with a connection of its own."""

    def __init__(self, database: Database, handler: ToyHandler, num_slots: int, *, is_deaf: bool) -> None:
        rules = replace(RULES, heartbeat_s=3600.0) if is_deaf else RULES
        self.database = MortalDatabase(database._engines)
        self.worker = Worker(self.database, {TOY: handler}, owner="mortal", num_slots=num_slots, rules=rules)
        self.task = asyncio.create_task(self.worker.run())

    async def kill(self) -> None:
        self.database.is_dead = True
        tasks = [self.task, *(slot.task for slot in self.worker._slots)]
        for task in tasks:
            task.cancel()
        _, pending = await asyncio.wait(tasks, timeout=60)
        assert not pending, "a cancellation was swallowed"
