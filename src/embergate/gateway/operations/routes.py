"""Operations: list, get, cancel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from fastapi import APIRouter
from starlette.responses import Response

from embergate.aip.message import write_message
from embergate.gateway.access import Permission
from embergate.gateway.answers import Empty, answer
from embergate.gateway.call import Call, CurrentCall
from embergate.gateway.edge import Operation
from embergate.gateway.models import store as models
from embergate.gateway.models.imports.handler import import_handlers
from embergate.gateway.models.store import MODELS
from embergate.gateway.operations import store
from embergate.gateway.operations.schemas import ListOperationsResponse, LongRunningOperation
from embergate.gateway.operations.store import OPERATIONS, TYPES, is_operation
from embergate.gateway.resource_type import ReadQuery, UnorderedListQuery, answer_page
from embergate.jobs import control

READ, WRITE = Permission.READ, Permission.WRITE
LIST: Final = Operation("ListOperations", ListOperationsResponse, needs=READ)
GET: Final = Operation("GetOperation", LongRunningOperation, needs=READ)
CANCEL: Final = Operation("CancelOperation", Empty, needs=WRITE, writes=True)
router = APIRouter(prefix="/accounts/{account_id}/operations", tags=["operations"])


@router.get("", **LIST.route("List the operations of an account"))
async def list_operations(call: CurrentCall, query: UnorderedListQuery) -> Response:
    """Return one page of operations; those that ended a week ago are forgotten."""
    page = await OPERATIONS.page(call, query, is_operation(call.account_id))
    await _complete(call, page.items)
    return answer_page("operations", page, LongRunningOperation, query.read_mask)


@router.get("/{operation_id}", **GET.route("Say how an operation stands"))
async def get_operation(call: CurrentCall, operation_id: str, query: ReadQuery) -> Response:
    """Return one operation."""
    operation = OPERATIONS.message_of(await store.get(call.db, call.account_id, operation_id))
    await _complete(call, [operation])
    return answer(operation, query.read_mask)


@router.post("/{operation_id}:cancel", **CANCEL.route("Cancel an operation"))
async def cancel_operation(call: CurrentCall, operation_id: str) -> Response:
    """Stop what has not ended, and take away what there is of it; what has ended stays as it is."""
    row = await store.get(call.db, call.account_id, operation_id)
    await control.cancel(call.db, import_handlers(call.deps), account_id=call.account_id, job_id=row.id)
    call.after_commit.append(call.deps.tell_workers)
    return answer(Empty())


async def _complete(call: Call, operations: Sequence[LongRunningOperation]) -> None:
    """Add what operations wait for, or have come to: the model as it is now, if it is still there."""
    for operation in operations:
        if not operation.done:
            waiting_for = await store.waiting_for(call.db, call.account_id, operation.name.rpartition("/")[2])
            operation.metadata = {**operation.metadata, "waitingFor": waiting_for}
        if not operation.done or operation.error is not None:
            continue
        name = operation.metadata["model"]
        row = await models.find(call.db, call.account_id, name.rpartition("/")[2])
        told = write_message(MODELS.message_of(row)) if row is not None else {"name": name}
        operation.response = {"@type": f"{TYPES}Model", **told}
