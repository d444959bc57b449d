"""`BatchHandler`: how a batch job's rows are checked, answered, charged and put together.

What it writes before a chunk is done is named by chunk and fence; what counts is written in the chunk's own transaction.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from functools import partial
from typing import Any, Final, ParamSpec, TypeVar

import orjson
from sqlalchemy.ext.asyncio import AsyncSession

from embergate.aip.status import Code
from embergate.clock import monotonic_s, now
from embergate.errors import (
    FailedPreconditionError,
    ForbiddenError,
    ModelError,
    ModelNotFoundError,
    NotFoundError,
    UnavailableError,
)
from embergate.gateway.batch_jobs import output, store
from embergate.gateway.batch_jobs.billing import Billing
from embergate.gateway.batch_jobs.formats import FORMATS
from embergate.gateway.batch_jobs.progress import MS_A_SECOND, Done
from embergate.gateway.batch_jobs.results import Results, write_results
from embergate.gateway.batch_jobs.rows import RowChecker, lines_of, read_row
from embergate.gateway.batch_jobs.run import IDS_FILE, KIND, OUTPUT_FILE, Order, parts_of
from embergate.gateway.batch_jobs.schemas import JobState
from embergate.gateway.datasets import store as datasets
from embergate.gateway.datasets.jsonl import BYTE_ORDER_MARK, Lines
from embergate.jobs import control
from embergate.jobs.errors import JobError, RetryLater
from embergate.jobs.handler import Context, Handlers, Outcome, Plan
from embergate.jobs.job import Job, State
from embergate.storage.database import Database
from embergate.storage.key_set import KeySet
from embergate.storage.objects.protocol import Objects
from embergate.storage.uncancelled import to_the_end
from embergate.web.bulk import BulkAnswerer
from embergate.web.own_models import NamedModel

P = ParamSpec("P")
T = TypeVar("T")
# A model that is not served here may be served once the server has another configuration.
MODEL_AWAY_S: Final = 30.0
# Of one step; the largest inputs take hours to be checked.
TIMEOUT_S: Final = 6 * 3600.0
STATES: Final = {
    State.QUEUED: JobState.JOB_STATE_VALIDATING,
    State.RUNNING: JobState.JOB_STATE_RUNNING,
    State.PAUSED: JobState.JOB_STATE_PAUSED,
    State.COMPLETED: JobState.JOB_STATE_COMPLETED,
    State.FAILED: JobState.JOB_STATE_FAILED,
    State.EXPIRED: JobState.JOB_STATE_EXPIRED,
    State.CANCELLED: JobState.JOB_STATE_CANCELLED,
}
# A job that its account has told to end early does so as one whose time is up.
STATES_OF_CANCELLED: Final = {
    **dict.fromkeys((State.QUEUED, State.RUNNING, State.PAUSED), JobState.JOB_STATE_CANCELLING),
    State.EXPIRED: JobState.JOB_STATE_CANCELLED,
}


class BatchHandler:
    """See `Handler`."""

    timeout_s = TIMEOUT_S
    keeps_part = True

    def __init__(self, database: Database, objects: Objects, bulk: BulkAnswerer | None = None) -> None:
        """Do jobs with `bulk`; without it none is done, but one can be stopped or told of its state."""
        self._database = database
        self._objects = objects
        self._bulk = bulk
        self._billing = Billing(database)

    async def prepare(self, context: Context, plan: Plan) -> Outcome:
        """Check every row. See `Handler`."""
        order = Order.of(context.job.payload)
        bulk, model = await self._model(context, order)
        keys = await self._inputs(context.job.account_id, order)
        with KeySet() as seen, KeySet() as done:
            for uid in order.earlier_uids:
                await self._read_done(context.job.account_id, uid, done)
            check = FORMATS[order.output_format].check(partial(bulk.check, order.model, model))
            checker = RowChecker(check, order.extra, seen=seen, done=done, is_openai=order.is_openai)
            for name, key in keys.items():
                checker.begin_file(name, key)
                async with aclosing(self._check_file(checker, key)) as checked:
                    async for chunks in checked:
                        if chunks and not checker.num_problems:
                            await plan(chunks)
        if checker.num_problems:
            async with self._database.writing() as db:
                await store.change(db, context.job.id, {"problems": checker.told()})
            raise JobError(Code.INVALID_ARGUMENT, checker.explain())
        values = {"is_prepared": True, "num_requests": checker.num_requests}
        return Outcome(commit=lambda db: store.change(db, context.job.id, values))

    async def run(self, context: Context, payload: Any) -> Outcome:
        """Answer a chunk's rows. See `Handler`."""
        began_s = monotonic_s()
        order, account_id = Order.of(context.job.payload), context.job.account_id
        bulk, model = await self._model(context, order)
        await self._require_money(context, 0)
        content = await self._read(payload["key"], payload["start"], payload["length"])
        if payload["start"] == 0:
            content = content.removeprefix(BYTE_ORDER_MARK)
        skipped = set(payload["skipped"])
        lines = [line for number, line in enumerate(lines_of(content)) if number not in skipped]
        rows = await asyncio.to_thread(lambda: [read_row(line, order.extra) for line in lines])
        price = await self._billing.price_of(account_id, model)

        async def approve(num_tokens: int) -> None:
            await self._require_money(context, num_tokens * price.nanos)

        output_format = FORMATS[order.output_format]
        bodies = [output_format.request(row.body) for row in rows]
        with _model_errors(order.model):
            answers = await bulk.answer(order.model, bodies, account_id=account_id, approve=approve)
        name = f"{parts_of(account_id, order)}/{context.number:08d}-{context.fence}"
        results = await write_results(self._objects, name, rows, answers, output_format.keep)
        record = self._billing.record(context, order, model, price, results)

        async def commit(db: AsyncSession) -> None:
            await self._billing.charge(db, record)
            worked_ms = int((monotonic_s() - began_s) * MS_A_SECOND)
            done = Done(results.num_succeeded, results.num_failed, results.num_tokens, worked_ms)
            await store.add_progress(db, context.job.id, done, now())

        return Outcome(results.payload(), commit)

    async def finish(self, context: Context) -> Outcome:
        """Put together what is done. See `Handler`."""
        order, account_id = Order.of(context.job.payload), context.job.account_id
        async with self._database.writing() as db:
            await store.note_writing(db, context.job.id)
        results = [Results.of(chunk.result) async for chunk in context.done_chunks()]
        place, scratch = (
            datasets.place_at(account_id, order.output_uid),
            f"{parts_of(account_id, order)}/{context.fence}",
        )
        written = await output.write(self._objects, place, FORMATS[order.output_format], results, scratch)
        return Outcome(commit=lambda db: output.keep(db, context.job, order, written))

    async def cleanup(self, context: Context) -> Outcome:
        """Take away what there is of the output. See `Handler`."""
        order, account_id = Order.of(context.job.payload), context.job.account_id
        for prefix in (parts_of(account_id, order), datasets.place_at(account_id, order.output_uid).folder):
            await self._objects.delete_prefix(prefix)
        return Outcome()

    async def on_state(self, db: AsyncSession, job: Job, state: State) -> None:
        """Write the state where its account sees it. See `Handler`."""
        code, message, shown = Code.OK.value, "", STATES[state]
        is_cancelled = await store.is_cancelled(db, job.id)
        if is_cancelled:
            shown = STATES_OF_CANCELLED.get(state, shown)
        if state is State.FAILED:
            code, message = job.error_code or Code.UNKNOWN.value, job.error_message or ""
        if state is State.EXPIRED and not is_cancelled:
            code, message = (
                Code.DEADLINE_EXCEEDED.value,
                "the job's time was up; what was done by then is in its output",
            )
        said = {"state": shown.value, "status_code": code, "status_message": message}
        await store.change(db, job.id, {**said, "start_time": job.start_time})

    async def on_wait(self, db: AsyncSession, job: Job, reason: str) -> None:
        """Write down why the job waits. See `Handler`."""
        said = {"status_code": Code.UNAVAILABLE.value, "status_message": f"waiting: {reason}"}
        await store.change(db, job.id, said)

    async def _model(self, context: Context, order: Order) -> tuple[BulkAnswerer, NamedModel]:
        """Return what the job is done with.

        Raises: RetryLater while its model is not served; JobError if the account may not use it any more; UnavailableError.
        """
        if self._bulk is None:
            raise UnavailableError("this process serves no models")
        with _model_errors(order.model):
            return self._bulk, await self._bulk.find(order.model, context.job.account_id)

    async def _inputs(self, account_id: str, order: Order) -> dict[str, str]:
        """Return the keys of the input's files by their names. Raises: JobError if it was deleted."""
        async with self._database.reading() as db:
            row = await datasets.find(db, account_id, order.input_id)
            if row is None or row.uid != order.input_uid:
                raise _input_gone()
            return {name: datasets.place_of(row).key(name) for name in await datasets.files_of(db, row)}

    async def _check_file(self, checker: RowChecker, key: str) -> AsyncGenerator[list[dict[str, Any]], None]:
        try:
            async with aclosing(self._objects.read(key)) as pieces:
                async for piece in pieces:
                    yield await _in_thread(checker.take, piece)
        except NotFoundError:
            raise _input_gone() from None
        yield await _in_thread(checker.finish_file)

    async def _read(self, key: str, start: int, length: int) -> bytes:
        try:
            async with aclosing(self._objects.read(key, start, length)) as pieces:
                return b"".join([piece async for piece in pieces])
        except NotFoundError:
            raise _input_gone() from None

    async def _read_done(self, account_id: str, uid: str, done: KeySet) -> None:
        """Take the requests that an earlier job has answered."""
        for name in (OUTPUT_FILE, IDS_FILE):
            key = datasets.place_at(account_id, uid).key(name)
            lines = Lines()
            try:
                async with aclosing(self._objects.read(key)) as pieces:
                    async for piece in pieces:
                        await _in_thread(_add_ids, lines.take(piece), done)
            except NotFoundError:
                continue  # it was deleted, or has another format
            await _in_thread(_add_ids, lines.finish(), done)

    async def _require_money(self, context: Context, cost_nanos: int) -> None:
        """Pause the job if its account cannot pay so much. Raises: RetryLater."""
        job = context.job
        shortfall = await self._billing.shortfall(job.account_id, cost_nanos)
        if shortfall is None:
            return
        reason = f"the account is suspended ({shortfall.value}) or would be; the job goes on when it is not"
        handlers: Handlers = {KIND: self}
        async with self._database.writing() as db:
            paused = await control.pause(db, handlers, account_id=job.account_id, job_id=job.id)
            if paused.state is State.PAUSED:  # it may have ended meanwhile
                said = {"status_code": Code.FAILED_PRECONDITION.value, "status_message": reason}
                await store.change(db, job.id, {**said, "needed_nanos": cost_nanos})
        raise RetryLater(0.5, reason)


def handlers_over(database: Database, objects: Objects, bulk: BulkAnswerer | None = None) -> Handlers:
    """Return the handlers of batch jobs; without `bulk`, for whoever only stops, pauses or resumes them."""
    return {KIND: BatchHandler(database, objects, bulk)}


@contextmanager
def _model_errors(name: str) -> Iterator[None]:
    """Say what an error of the job's model means for the job."""
    try:
        yield
    except ModelNotFoundError:
        raise RetryLater(MODEL_AWAY_S, f"the model {name} is not served now") from None
    except ForbiddenError as error:
        raise JobError(Code.PERMISSION_DENIED, error.message) from None
    except (FailedPreconditionError, ModelError) as error:
        raise JobError(Code.FAILED_PRECONDITION, error.message) from None


async def _in_thread(work: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
    """Do what blocks; it has ended when this has, also where the job is cancelled: what it works with is closed then."""
    return await to_the_end(asyncio.to_thread(work, *arguments, **named))


def _add_ids(lines: Sequence[bytes], done: KeySet) -> None:
    done.add_all(orjson.loads(line)["custom_id"] for line in lines if line.strip())


def _input_gone() -> JobError:
    return JobError(Code.FAILED_PRECONDITION, "the input dataset was deleted")
