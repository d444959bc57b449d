"""Operations are runs of jobs: those of the kinds that are told of so. They are forgotten a week after they have ended."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import ColumnElement, select
from sqlalchemy.ext.asyncio import AsyncSession

from embergate.aip.scalars import format_timestamp
from embergate.aip.status import Code
from embergate.errors import NotFoundError
from embergate.gateway.models.imports.runs import KIND as MODEL_IMPORT
from embergate.gateway.models.imports.runs import Order
from embergate.gateway.operations.schemas import LongRunningOperation, OperationError
from embergate.gateway.resource_type import ResourceType
from embergate.jobs.job import ENDED, ChunkState, State
from embergate.storage.tables.jobs import JobChunkRow, JobRunRow

TYPES: Final = "type.googleapis.com/gateway."
# What a state that is no error of the job itself is told as.
ENDINGS: Final = {
    State.CANCELLED: (Code.CANCELLED, "the operation was cancelled"),
    State.EXPIRED: (Code.DEADLINE_EXCEEDED, "the operation's time was up"),
}
KINDS: Final = frozenset({MODEL_IMPORT})


def is_operation(account_id: str) -> ColumnElement[bool]:
    """Return which runs are operations of an account."""
    return (JobRunRow.account_id == account_id) & JobRunRow.kind.in_(KINDS)


async def get(db: AsyncSession, account_id: str, operation_id: str) -> JobRunRow:
    """Return the run of an operation. Raises: NotFoundError; also once it is forgotten."""
    chosen = select(JobRunRow).where(is_operation(account_id), JobRunRow.id == operation_id)
    row = (await db.scalars(chosen)).one_or_none()
    if row is None:
        raise NotFoundError("resource not found")
    return row


async def waiting_for(db: AsyncSession, account_id: str, operation_id: str) -> str:
    """Return what is away that an operation needs and asks for again and again; empty if nothing is."""
    blocked = JobChunkRow.blocked_since.is_not(None), JobChunkRow.state == ChunkState.WAITING
    chosen = JobChunkRow.account_id == account_id, JobChunkRow.job_id == operation_id
    return await db.scalar(select(JobChunkRow.error).where(*chosen, *blocked).limit(1)) or ""


def _told(row: JobRunRow) -> dict[str, Any]:
    state, order = State(row.state), Order.of(row.payload)
    return {
        "done": state.has_ended,
        "error": _error_of(row, state),
        "metadata": {
            "@type": f"{TYPES}ImportModelMetadata",
            "model": f"accounts/{row.account_id}/models/{order.model_id}",
            "source": order.place.url,
            "state": state.value,
            "createTime": format_timestamp(row.create_time),
            "endTime": format_timestamp(row.end_time) if row.end_time is not None else None,
            "filesTotal": row.num_chunks or 0,
            "filesDone": row.num_done,
        },
    }


def _error_of(row: JobRunRow, state: State) -> OperationError | None:
    if state is State.FAILED:
        return OperationError(code=Code(row.error_code or Code.UNKNOWN).number, message=row.error_message or "")
    if state in ENDINGS:
        code, message = ENDINGS[state]
        return OperationError(code=code.number, message=message)
    return None


OPERATIONS: Final = ResourceType(
    JobRunRow,
    LongRunningOperation,
    pattern="accounts/{account}/operations/{operation}",
    columns={"done": JobRunRow.state.in_(ENDED)},
    extra=_told,
)
