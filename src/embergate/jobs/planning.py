"""Writing down a job's chunks while it is prepared, a page a transaction: none holds up other writers for long."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import delete, insert, select

from embergate.jobs.claims import CHUNKS, Claim
from embergate.jobs.job import ChunkState, Step
from embergate.jobs.steps import hold
from embergate.storage.database import Database
from embergate.storage.moment import database_now

PAGE_SIZE: Final = 1_000


class Planner:
    """Plans the chunks of one job. Nobody claims them before its preparation is done, which says how many they are."""

    def __init__(self, database: Database, claim: Claim) -> None:
        """Plan for the claim of a job's preparation."""
        self._database = database
        self._claim = claim
        self.num_planned = 0

    async def forget_earlier(self) -> None:
        """Delete what a preparation has planned that did not come to its end. Raises: LeaseLostError; UnavailableError."""
        if self._claim.fence == 1:
            return
        some = select(CHUNKS.c.number).where(CHUNKS.c.job_id == self._claim.job.id, CHUNKS.c.step == Step.RUN)
        planned = delete(CHUNKS).where(CHUNKS.c.job_id == self._claim.job.id, CHUNKS.c.step == Step.RUN)
        num_deleted = PAGE_SIZE
        while num_deleted == PAGE_SIZE:
            async with self._database.writing() as db:
                await hold(db, self._claim)
                page = planned.where(CHUNKS.c.number.in_(some.limit(PAGE_SIZE)))
                num_deleted = len((await db.execute(page.returning(CHUNKS.c.number))).all())

    async def plan(self, payloads: Sequence[Any]) -> None:
        """Add chunks. Raises: LeaseLostError; UnavailableError."""
        for start in range(0, len(payloads), PAGE_SIZE):
            page = payloads[start : start + PAGE_SIZE]
            async with self._database.writing() as db:
                await hold(db, self._claim)
                moment = await database_now(db)
                rows = [
                    {
                        "job_id": self._claim.job.id,
                        "step": Step.RUN,
                        "number": number,
                        "account_id": self._claim.job.account_id,
                        "state": ChunkState.WAITING,
                        "payload": payload,
                        "next_claim_time": moment,
                        "fence": 0,
                        "attempt": 0,
                    }
                    for number, payload in enumerate(page, self.num_planned)
                ]
                await db.execute(insert(CHUNKS), rows)
            self.num_planned += len(page)
