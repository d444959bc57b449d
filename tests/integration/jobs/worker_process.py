"""A process that works until it is killed: `worker_process URL`."""

from __future__ import annotations

import asyncio
import sys

import structlog

from embergate.jobs.rules import WorkerRules
from embergate.jobs.worker import Worker
from embergate.storage.database import Database
from tests.integration.jobs.toy import TOY, ToyHandler

# So short a lease is lost on a busy machine, too, by workers that live: all the better.
RULES = WorkerRules(poll_s=0.05, heartbeat_s=0.3, lease_s=2.0, first_pause_s=0.0, max_deaths=100)


async def work(url: str) -> None:
    worker = Worker(Database.open(url), {TOY: ToyHandler(page_size=1_000)}, owner="killed", num_slots=8, rules=RULES)
    await worker.run()


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("error"))
    asyncio.run(work(sys.argv[1]))
