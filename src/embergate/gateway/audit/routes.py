"""ListAuditLogs. There is no other call: entries are written by the edge, and never changed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, Final

from fastapi import APIRouter, Query
from pydantic import Field
from sqlalchemy import ColumnElement
from starlette.responses import Response

from embergate.aip.errors import InvalidArgumentError
from embergate.aip.scalars import Timestamp, format_timestamp
from embergate.gateway.access import Permission
from embergate.gateway.audit.schemas import AuditLogEntry, ListAuditLogsResponse
from embergate.gateway.audit.store import AUDIT_LOGS
from embergate.gateway.call import Call, CurrentCall
from embergate.gateway.edge import Operation
from embergate.gateway.resource_type import ListParameters, Page, answer_page
from embergate.storage.tables.audit import AuditEntryRow

DEFAULT_WINDOW: Final = timedelta(days=30)
LIST: Final = Operation("ListAuditLogs", ListAuditLogsResponse, needs=Permission.ADMIN, audited=True)

router = APIRouter(tags=["audit logs"])


class ListAuditLogsParameters(ListParameters):
    """The query of ListAuditLogs."""

    start_time: Timestamp | None = Field(None, description="Calls from this moment on; by default those of 30 days.")
    end_time: Timestamp | None = Field(None, description="Calls before this moment; by default until now.")
    email: str = Field("", description="Only calls of the principal with this address.")
    page_size: int = Field(0, ge=-(2**31), lt=2**31, description="At most this many; 10 by default, 200 at most.")
    filter: str = Field("", description='An AIP-160 filter, for instance `method:"User" AND NOT status.code=OK`.')
    order_by: str = Field("", description="Not used: the newest entry is always the first.")

    def more_for_digest(self) -> Mapping[str, str]:
        """See `ListParameters`."""
        times = (str(time.timestamp()) if time else "" for time in (self.start_time, self.end_time))
        return {"window": "/".join(times), "email": self.email}

    def window(self, asked_at: datetime) -> list[ColumnElement[bool]]:
        """Return the conditions of the window, of the moment when the list was first asked for.

        Raises: InvalidArgumentError if the window ends before it begins.
        """
        start = self.start_time or asked_at - DEFAULT_WINDOW
        end = self.end_time or asked_at
        if self.end_time is not None and start >= end:
            start_text = format_timestamp(start) + ("" if self.start_time else ", which is 30 days ago")
            raise InvalidArgumentError(f"endTime must be after startTime, {start_text}", field="endTime")
        return [AuditEntryRow.timestamp >= start, AuditEntryRow.timestamp < end]


@router.get("/accounts/{account_id}/auditLogs", **LIST.route("List what was done in an account"))
async def list_audit_logs(call: CurrentCall, query: Annotated[ListAuditLogsParameters, Query()]) -> Response:
    """Return one page of the trail, newest first. What operators did in the account, only operators see."""
    return answer_page("auditLogs", await page_of(call, query), AuditLogEntry, query.read_mask)


async def page_of(call: Call, query: ListAuditLogsParameters) -> Page[AuditLogEntry]:
    """Return one page of the trail of the account of the call; the command line reads the platform's here."""
    where = [AuditEntryRow.account_id == call.account_id]
    if not call.caller.is_operator:
        where.append(AuditEntryRow.is_admin_action.is_(False))
    if query.email:
        where.append(AuditEntryRow.principal == query.email)
    return await AUDIT_LOGS.page(call, query, *where, window=query.window)
