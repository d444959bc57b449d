"""The workers that do jobs in a server's process: batch jobs, and apart from them imports of models, which take long."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from embergate.gateway.batch_jobs.handler import handlers_over
from embergate.gateway.deps import GatewayDeps
from embergate.gateway.models.imports.handler import import_handlers
from embergate.inference.bulk import EngineBulkAnswerer
from embergate.inference.deps import Deps
from embergate.jobs.handler import Handlers
from embergate.jobs.rules import WorkerRules
from embergate.jobs.worker import Worker


def batch_worker(deps: Deps, gateway: GatewayDeps, *, num_slots: int, rules: WorkerRules | None = None) -> Worker:
    """Return a worker that does `num_slots` chunks of batch jobs at once."""
    handlers = handlers_over(gateway.database, gateway.objects, EngineBulkAnswerer(deps))
    return _worker(gateway, handlers, "batches", num_slots, rules)


def import_worker(gateway: GatewayDeps, *, num_slots: int, rules: WorkerRules | None = None) -> Worker:
    """Return a worker that fetches `num_slots` files of models that are imported at once."""
    return _worker(gateway, import_handlers(gateway), "imports", num_slots, rules)


def _worker(gateway: GatewayDeps, handlers: Handlers, name: str, num_slots: int, rules: WorkerRules | None) -> Worker:
    owner, metrics = f"{socket.gethostname()}/{os.getpid()}/{name}", gateway.metrics.jobs
    worker = Worker(gateway.database, handlers, owner=owner, num_slots=num_slots, rules=rules, metrics=metrics)
    gateway.job_listeners.append(worker.wake)
    return worker


@asynccontextmanager
async def working(*workers: Worker) -> AsyncIterator[None]:
    """Let workers work until the end; then all at once end what they have begun, or give it back."""
    tasks = [asyncio.create_task(worker.run()) for worker in workers]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
