"""Doing one chunk: its handler is called, and what comes of it, result or exception, becomes a verdict."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Final

import structlog

from embergate.errors import OverloadedError, RequestTimeoutError, UnavailableError
from embergate.jobs.claims import Claim
from embergate.jobs.errors import JobError, LeaseLostError, RetryLater
from embergate.jobs.handler import Context, Handler
from embergate.jobs.job import Step
from embergate.jobs.planning import Planner
from embergate.jobs.rules import LONGEST_RETRY, WorkerRules
from embergate.jobs.steps import Again, Done, Failed, Verdict, name_of
from embergate.storage.database import Database

MAX_DETAIL: Final = 1_000
log: structlog.stdlib.BoundLogger = structlog.get_logger()


async def perform(database: Database, handler: Handler, claim: Claim, rules: WorkerRules) -> Verdict:
    """Call the handler for a chunk, and return how the chunk has ended.

    Raises: LeaseLostError; CancelledError if the caller is cancelled, and only then.
    """
    if claim.num_deaths >= rules.max_deaths:
        message = (
            f"{name_of(claim)} never ended: {claim.num_deaths} servers that had begun it died, or were not heard of"
        )
        return Failed(JobError("INTERNAL", message), message)
    try:
        async with asyncio.timeout(handler.timeout_s):
            return await _call(database, handler, claim)
    except LeaseLostError:
        raise
    except asyncio.CancelledError as error:
        if _is_cancelling():
            raise
        return verdict_on(error, claim, rules)  # the handler's own
    except Exception as error:  # noqa: BLE001 - whatever it is, it is logged and becomes a verdict
        return verdict_on(error, claim, rules)


def verdict_on(error: BaseException, claim: Claim, rules: WorkerRules) -> Verdict:
    """Return what an exception says of its chunk, or of its job."""
    match error:
        case JobError():
            return Failed(error, str(error)[:MAX_DETAIL])
        case RetryLater():
            after = min(LONGEST_RETRY, timedelta(seconds=max(0.0, error.after_s)))
            return Again(error.reason[:MAX_DETAIL], after, is_fault=False)
        case OverloadedError():
            return Again(error.message, timedelta(seconds=error.retry_after_s), is_fault=False)
        case UnavailableError() | RequestTimeoutError():
            return Again(error.message, None, is_fault=False)
    kind = type(error).__name__
    detail = f"{kind}: {error}"[:MAX_DETAIL]
    log.error("job_chunk_failed", **about(claim), exc_info=error)
    if claim.attempt < rules.max_attempts:
        return Again(detail, rules.pause_after(claim.attempt), is_fault=True)
    return Failed(JobError("INTERNAL", f"{name_of(claim)} failed {claim.attempt} times, at last with {kind}"), detail)


def about(claim: Claim) -> dict[str, str | int]:
    """Return what a log entry says of a chunk."""
    return {
        "job": claim.job.id,
        "kind": claim.job.kind,
        "account": claim.job.account_id,
        "step": claim.step.value,
        "chunk": claim.number,
        "attempt": claim.attempt,
    }


async def _call(database: Database, handler: Handler, claim: Claim) -> Done:
    context = Context(claim.job, claim.number, claim.fence, claim.attempt, database)
    match claim.step:
        case Step.PREPARE:
            planner = Planner(database, claim)
            await planner.forget_earlier()
            outcome = await handler.prepare(context, planner.plan)
            return Done(outcome, planner.num_planned)
        case Step.RUN:
            return Done(await handler.run(context, claim.payload))
        case Step.FINISH:
            return Done(await handler.finish(context))
        case Step.CLEANUP:
            return Done(await handler.cleanup(context))
    raise AssertionError(f"the step {claim.step} has no chunks. This is a bug.")


def _is_cancelling() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
