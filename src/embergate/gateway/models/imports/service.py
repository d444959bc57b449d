"""The rules of imports: who may begin one, of which model, and how many at once."""

from __future__ import annotations

from typing import Final

from sqlalchemy.ext.asyncio import AsyncSession

from embergate.aip.status import Code
from embergate.clock import now
from embergate.errors import FailedPreconditionError, NotFoundError, TooManyRequestsError
from embergate.gateway.access import Permission, require
from embergate.gateway.accounts import store as accounts
from embergate.gateway.call import Call
from embergate.gateway.models import store
from embergate.gateway.models.imports.runs import KIND, MAX_AGE, Order, open_runs, require_none
from embergate.gateway.models.imports.schemas import ImportModelBody
from embergate.gateway.models.imports.sources import place_in
from embergate.gateway.models.schemas import ModelState
from embergate.gateway.secrets import store as secrets
from embergate.jobs import control
from embergate.jobs.job import NewJob
from embergate.storage.tables.jobs import JobRunRow

MAX_OPEN: Final = 5


async def start(call: Call, model_id: str, body: ImportModelBody) -> JobRunRow:
    """Begin to import a model that was created and has no files yet.

    Raises: NotFoundError; InvalidArgumentError for a source that there cannot be or that is not allowed; ForbiddenError for who
        names a secret and is no admin; FailedPreconditionError for a model that is READY or being imported;
        TooManyRequestsError.
    """
    place = place_in(body, call.account_id, call.deps.import_rules)
    if place.secret_id:
        # Whoever says where a secret is sent to can read it there.
        require(call.caller, Permission.ADMIN, account_id=call.account_id)
        await _require_secret(call.db, call.account_id, place.secret_id)
    # NOTE: the account's row is the lock that keeps two calls from beginning one import more than there may be.
    await accounts.get(call.db, call.account_id, for_update=True)
    row = await store.get(call.db, call.account_id, model_id, for_update=True)
    if row.state != ModelState.UPLOADING:
        raise FailedPreconditionError(f"the model {row.id} is {row.state} already; make another one", param="name")
    await require_none(call.db, row)
    if len(await open_runs(call.db, call.account_id)) >= MAX_OPEN:
        raise TooManyRequestsError(
            f"{MAX_OPEN} models of the account are being imported; wait for one", retry_after_s=60.0
        )
    await store.replace_files(call.db, row, {})
    row.status_code, row.status_message, row.update_time = Code.OK, "", now()
    order = Order(row.id, row.uid, place)
    job = await control.enqueue(call.db, NewJob(KIND, call.account_id, order.payload(), max_age=MAX_AGE))
    run = await call.db.get(JobRunRow, job.id)
    assert run is not None, "it was enqueued in this transaction. This is a bug."
    call.after_commit.append(call.deps.tell_workers)
    return run


async def _require_secret(db: AsyncSession, account_id: str, secret_id: str) -> None:
    try:
        await secrets.get(db, account_id, secret_id)
    except NotFoundError:
        raise NotFoundError(f"there is no secret {secret_id!r}", param="secret") from None
