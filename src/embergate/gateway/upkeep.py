"""What the gateway does beside its calls, again and again: write down, put in order, drop what has expired."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Final

import structlog

from embergate.errors import UnavailableError
from embergate.gateway.api_keys.store import note_use
from embergate.gateway.batch_jobs.pausing import resume_paid
from embergate.gateway.deps import GatewayDeps
from embergate.gateway.files.arrivals import sweep_arrivals
from embergate.gateway.files.doomed import delete_doomed
from embergate.gateway.models.store import contents_of_all
from embergate.gateway.sessions import service as sessions
from embergate.gateway.usage.retention import purge_records
from embergate.gateway.webhooks.delivery import deliver
from embergate.jobs.retention import open_jobs, purge_jobs

# A key's last use is known this exactly.
SETTLE_EVERY_S: Final = 10.0
# A month that has begun is noticed so soon, and what a process left undone when it died.
REVIEW_EVERY_S: Final = 60.0
SEND_EVERY_S: Final = 5.0
PURGE_EVERY_S: Final = 3600.0
# An upload that broke off may go on for so long.
UNFINISHED_FOR: Final = timedelta(days=1)
log: structlog.stdlib.BoundLogger = structlog.get_logger()
Task = Callable[[GatewayDeps], Awaitable[None]]


async def keep_up(gateway: GatewayDeps) -> None:
    """Do every task as often as it is due, until cancelled; none waits for another."""
    async with asyncio.TaskGroup() as group:
        for every_s, task in TASKS:
            group.create_task(_repeat(gateway, every_s, task))


async def _repeat(gateway: GatewayDeps, every_s: float, task: Task) -> None:
    while True:
        await asyncio.sleep(every_s)
        try:
            await task(gateway)
        except UnavailableError:
            log.warning("upkeep_put_off", task=task.__name__)  # what is due is done the next time
        except Exception:
            log.exception("upkeep_failed", task=task.__name__)  # a bug; the next time is tried all the same


async def settle(gateway: GatewayDeps) -> None:
    """Write down what has gathered in memory. A database that cannot be reached is tried again the next time."""
    used = gateway.authenticator.take_used()
    if not used:
        return
    try:
        async with gateway.database.writing() as db:
            await note_use(db, used)
    except UnavailableError:
        gateway.authenticator.put_back_used(used)
        log.warning("last_use_not_written", num_keys=len(used))


async def review_accounts(gateway: GatewayDeps) -> None:
    """Write down how accounts stand and of what they are warned, where that is not yet done. Raises: UnavailableError."""
    await gateway.reviews.review_all()


async def send_messages(gateway: GatewayDeps) -> None:
    """Send what is in the outbox. Raises: UnavailableError."""
    await deliver(gateway.database, gateway.webhook, gateway.metrics.webhooks)


async def purge(gateway: GatewayDeps) -> None:
    """Delete what ended long ago. Raises: UnavailableError."""
    await sessions.purge(gateway.database, gateway.sessions)


async def purge_usage(gateway: GatewayDeps) -> None:
    """Delete the records of calls that are older than is kept. Raises: UnavailableError."""
    num_deleted = await purge_records(gateway.database, gateway.usage_retention)
    if num_deleted:
        log.info("usage_records_purged", num_records=num_deleted)


async def sweep_objects(gateway: GatewayDeps) -> None:
    """Remove what uploads left that ended long ago, killed or never finished. Raises: UnavailableError."""
    num_removed = await gateway.objects.sweep(UNFINISHED_FOR)
    if num_removed:
        log.info("unfinished_objects_swept", num_files=num_removed)


async def delete_files(gateway: GatewayDeps) -> None:
    """Delete files that were given up. Raises: UnavailableError."""
    await delete_doomed(gateway.database, gateway.objects)


async def sweep_uploads(gateway: GatewayDeps) -> None:
    """Delete files that were uploaded and that nobody waits for. Raises: UnavailableError."""
    await sweep_arrivals(gateway.database, gateway.objects)


async def resume_batch_jobs(gateway: GatewayDeps) -> None:
    """Let batch jobs go on whose accounts can pay again. Raises: UnavailableError."""
    if await resume_paid(gateway.database, gateway.objects):
        gateway.tell_workers()


async def count_open_jobs(gateway: GatewayDeps) -> None:
    """Count the jobs that have not ended, for whoever watches. Raises: UnavailableError."""
    async with gateway.database.reading() as db:
        gateway.metrics.jobs.note_open(await open_jobs(db))


async def purge_ended_jobs(gateway: GatewayDeps) -> None:
    """Forget how jobs were done that ended long ago; what their accounts see of them stays. Raises: UnavailableError."""
    await purge_jobs(gateway.database)


async def unload_models(gateway: GatewayDeps) -> None:
    """Unload uploaded models that nobody has used for long."""
    num_unloaded = gateway.models.pool.evict_idle()
    if num_unloaded:
        log.info("idle_models_unloaded", num_models=num_unloaded)


async def sweep_model_folders(gateway: GatewayDeps) -> None:
    """Remove the folders of models that were deleted. Raises: UnavailableError."""

    async def needed() -> set[str]:
        async with gateway.database.reading() as db:
            return await contents_of_all(db)

    await gateway.models.folders.sweep(needed, UNFINISHED_FOR.total_seconds())


TASKS: Final[tuple[tuple[float, Task], ...]] = (
    (SETTLE_EVERY_S, settle),
    (REVIEW_EVERY_S, review_accounts),
    (SEND_EVERY_S, send_messages),
    (PURGE_EVERY_S, purge),
    (PURGE_EVERY_S, purge_usage),
    (PURGE_EVERY_S, sweep_objects),
    (SETTLE_EVERY_S, delete_files),
    (PURGE_EVERY_S, sweep_uploads),
    (SETTLE_EVERY_S, resume_batch_jobs),
    (SETTLE_EVERY_S, count_open_jobs),
    (PURGE_EVERY_S, purge_ended_jobs),
    (SETTLE_EVERY_S, unload_models),
    (PURGE_EVERY_S, sweep_model_folders),
)
