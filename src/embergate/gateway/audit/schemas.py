"""What an entry of the audit trail is on the wire."""

from __future__ import annotations

from typing import Any

from embergate.aip.message import Message
from embergate.aip.scalars import Bool, Timestamp
from embergate.aip.status import Status
from embergate.gateway.answers import ListResponse


class AuditLogEntry(Message):
    """What one call did, or tried to do."""

    id: str = ""
    method: str = ""
    principal: str = ""
    payload: dict[str, Any] = {}
    status: Status = Status()
    timestamp: Timestamp | None = None
    message: str = ""
    resource: str = ""
    is_admin_action: Bool = False
    user_agent: str = ""
    client_ip: str = ""
    api_key_id: str = ""


class ListAuditLogsResponse(ListResponse):
    """One page of the audit trail."""

    audit_logs: list[AuditLogEntry] = []
