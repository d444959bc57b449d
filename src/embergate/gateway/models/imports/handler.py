"""`ImportHandler`: how a model is imported: its files listed, fetched one by one, then checked as an upload is.

A file's bytes go from the source to the object store in pieces; none is ever whole in memory or on this machine's disk. Two
workers that fetch one file at the same time write the same bytes: the source is read at one version.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import asdict
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncSession

from embergate.aip.errors import InvalidArgumentError
from embergate.aip.status import Code
from embergate.errors import FailedPreconditionError, InvalidRequestError, NotFoundError, PayloadTooLargeError
from embergate.gateway.deps import GatewayDeps
from embergate.gateway.files.place import check_sizes
from embergate.gateway.models import store
from embergate.gateway.models.arrivals import fetched, give_up_superseded, take_over
from embergate.gateway.models.imports.buckets import BucketSource
from embergate.gateway.models.imports.hub import HubSource
from embergate.gateway.models.imports.runs import KIND, Order
from embergate.gateway.models.imports.sources import Source, SourceFile
from embergate.gateway.models.names import check_filenames, is_uploadable
from embergate.gateway.models.schemas import MAX_FILES, ModelState
from embergate.gateway.models.store import ModelFile
from embergate.gateway.models.validation import MAX_STATUS_CHARACTERS, examine, keep
from embergate.gateway.secrets import service as secrets
from embergate.jobs.errors import JobError
from embergate.jobs.handler import Context, Handlers, Outcome, Plan
from embergate.jobs.job import Job, State
from embergate.storage.objects.protocol import Expected
from embergate.storage.tables.models import ModelRow

MAX_MODEL_BYTES: Final = 64 << 30
# Of one step: 64 GiB at 3 MB/s.
TIMEOUT_S: Final = 6 * 3600.0
TIME_IS_UP: Final = "the import took longer than a day"
ENDINGS: Final = {
    State.CANCELLED: (Code.CANCELLED, "the import was cancelled"),
    State.EXPIRED: (Code.DEADLINE_EXCEEDED, TIME_IS_UP),
}


class ImportHandler:
    """See `Handler`."""

    timeout_s = TIMEOUT_S
    keeps_part = False

    def __init__(self, gateway: GatewayDeps) -> None:
        """Import with what the gateway has."""
        self._gateway = gateway

    async def prepare(self, context: Context, plan: Plan) -> Outcome:
        """List the source's files, and choose those that a model may have. See `Handler`."""
        order = Order.of(context.job.payload)
        place = store.place_of(await self._row(context.job, order))
        uploaded = await take_over(self._gateway.objects, place, {})
        with _final():
            found = await (await self._source(context.job, order)).list()
            files = _chosen(found)
        await plan([asdict(file) for file in files])
        sizes = {file.name: ModelFile(file.size) for file in files}

        async def commit(db: AsyncSession) -> None:
            row = await store.find(db, context.job.account_id, order.model_id, for_update=True)
            if row is None or row.uid != order.model_uid:
                raise _gone()
            await store.replace_files(db, row, sizes)
            await give_up_superseded(db, place, uploaded)

        return Outcome(commit=commit)

    async def run(self, context: Context, payload: Any) -> Outcome:
        """Fetch one file. See `Handler`."""
        order, file = Order.of(context.job.payload), SourceFile(**payload)
        row = await self._row(context.job, order)
        expect = Expected(size=file.size, sha256=file.sha256)
        with _final():
            source = await self._source(context.job, order)
            async with aclosing(source.read(file)) as chunks:
                await self._gateway.objects.write(store.place_of(row).key(file.name), chunks, expect=expect)
        return Outcome()

    async def finish(self, context: Context) -> Outcome:
        """Check what was fetched, as an upload is checked. See `Handler`."""
        order = Order.of(context.job.payload)
        row = await self._row(context.job, order)
        if context.is_expired:
            await self._gateway.objects.delete_prefix(store.place_of(row).folder)
            return Outcome(commit=lambda db: _forget_files(db, context.job, order))
        async with self._gateway.database.reading() as db:
            announced = await store.files_of(db, row)
        with _final():
            received = await fetched(self._gateway.objects, store.place_of(row), announced)
            checked = await examine(self._gateway, row, received)

        async def commit(db: AsyncSession) -> None:
            with _final():
                kept = await keep(db, row, announced, checked)
            kept.details = {**kept.details, "imported_from": order.place.url}

        return Outcome(commit=commit)

    async def cleanup(self, context: Context) -> Outcome:
        """Take away what was fetched. See `Handler`."""
        order = Order.of(context.job.payload)
        async with self._gateway.database.reading() as db:
            row = await store.find(db, context.job.account_id, order.model_id)
        if row is not None and row.uid == order.model_uid and row.state == ModelState.READY:
            return Outcome()  # by an upload, whose files these are
        folder = store.place_at(context.job.account_id, order.model_uid).folder
        await self._gateway.objects.delete_prefix(folder)
        return Outcome(commit=lambda db: _forget_files(db, context.job, order))

    async def on_state(self, db: AsyncSession, job: Job, state: State) -> None:
        """Say on the model why it was not imported. See `Handler`."""
        if state is State.FAILED:
            code, message = job.error_code or Code.UNKNOWN.value, job.error_message or ""
        elif state in ENDINGS:
            code, message = ENDINGS[state]
        else:
            return
        order = Order.of(job.payload)
        row = await store.find(db, job.account_id, order.model_id, for_update=True)
        if row is not None and row.uid == order.model_uid and row.state == ModelState.UPLOADING:
            row.status_code, row.status_message = code, message[:MAX_STATUS_CHARACTERS]

    async def on_wait(self, db: AsyncSession, job: Job, reason: str) -> None:
        """Do nothing: the operation tells what its chunks wait for."""

    async def _row(self, job: Job, order: Order) -> ModelRow:
        """Return the model. Raises: JobError if it was deleted."""
        async with self._gateway.database.reading() as db:
            row = await store.find(db, job.account_id, order.model_id)
        if row is None or row.uid != order.model_uid:
            raise _gone()
        return row

    async def _source(self, job: Job, order: Order) -> Source:
        place, secret, rules = order.place, None, self._gateway.import_rules
        if place.secret_id:
            async with self._gateway.database.reading() as db:
                secret = await secrets.reveal(db, self._gateway.keyring, job.account_id, place.secret_id)
        if place.kind == "hf":
            if not rules.hub_url:
                raise FailedPreconditionError("this server does not ask the Hub any more")
            return HubSource(place, secret, hub_url=rules.hub_url, endpoints=rules.endpoints)
        if place.endpoint and place.endpoint not in rules.endpoints:
            raise FailedPreconditionError("the store is not among EMBERGATE_IMPORT_ENDPOINTS any more")
        return BucketSource(place, secret)


def import_handlers(gateway: GatewayDeps) -> Handlers:
    """Return the handlers of imports."""
    return {KIND: ImportHandler(gateway)}


def _chosen(found: Sequence[SourceFile]) -> list[SourceFile]:
    """Return the files that a model may have. Raises: InvalidArgumentError; FailedPreconditionError if there are none."""
    files = [file for file in found if is_uploadable(file.name)]
    if not files:
        raise FailedPreconditionError(
            "there is no file at the source that a model may have: is config.json directly in the folder that was named?"
        )
    if len(files) > MAX_FILES:
        raise FailedPreconditionError(f"there are {len(files)} files at the source; a model has at most {MAX_FILES}")
    check_filenames(file.name for file in files)
    check_sizes({file.name: file.size for file in files}, what="model", max_bytes=MAX_MODEL_BYTES)
    return files


@contextmanager
def _final() -> Iterator[None]:
    """Have the job fail for what no second try mends."""
    try:
        yield
    except InvalidArgumentError as error:
        raise JobError(Code.INVALID_ARGUMENT, error.message) from error
    except (FailedPreconditionError, NotFoundError) as error:
        raise JobError(Code.FAILED_PRECONDITION, error.message) from error
    except (InvalidRequestError, PayloadTooLargeError) as error:
        raise JobError(Code.FAILED_PRECONDITION, f"a file was changed while it was read: {error.message}") from error


def _gone() -> JobError:
    return JobError(Code.FAILED_PRECONDITION, "the model was deleted")


async def _forget_files(db: AsyncSession, job: Job, order: Order) -> None:
    row = await store.find(db, job.account_id, order.model_id, for_update=True)
    if row is not None and row.uid == order.model_uid and row.state == ModelState.UPLOADING:
        await store.replace_files(db, row, {})
