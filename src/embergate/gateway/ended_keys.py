"""API keys that were deleted or have expired, and are tried all the same: their account's audit trail tells of it.

Somebody may have a copy. The entry is written once the 401 has been sent, so that nobody waits for it, and at most once a
minute for each key in each process, so that whoever tries a key again and again does not fill the trail.
"""

from __future__ import annotations

from typing import Final

import structlog
from fastapi import Request
from starlette.background import BackgroundTask
from starlette.responses import Response

from embergate.errors import UnauthorizedError, UnavailableError
from embergate.gateway.audit.trail import AUDIT_SEAL, Event, record
from embergate.gateway.call import event_of
from embergate.gateway.moving_window import MovingWindow
from embergate.storage.database import Database
from embergate.web.caller import Caller, note_caller
from embergate.web.errors import handle_error, status_of
from embergate.web.keyring import Keyring

QUIET_S: Final = 60.0
log: structlog.stdlib.BoundLogger = structlog.get_logger()


class EndedKeyError(UnauthorizedError):
    """The API key is missing or not valid."""

    # NOTE: as for an unknown key: only the trail tells that there was one.

    def __init__(self, caller: Caller, what_ended_it: str, message: str | None = None) -> None:
        """Store whose key it was, and what the trail says of its end."""
        super().__init__(message)
        self.caller = caller
        self.what_ended_it = what_ended_it


class EndedKeys:
    """Answers requests with such keys, and writes down that they came."""

    def __init__(self, database: Database, keyring: Keyring) -> None:
        """Start with nothing written lately."""
        self._database = database
        self._keyring = keyring
        self._lately = MovingWindow(1, QUIET_S)

    async def handle(self, request: Request, error: Exception) -> Response:
        """Answer as for any bad key; the exception handler of both planes."""
        assert isinstance(error, EndedKeyError), "registered for EndedKeyError only. This is a bug."
        caller = error.caller
        note_caller(caller)
        response = await handle_error(request, error)
        if not self._lately.admit(caller.key_id):
            event = event_of(request, "Authenticate")
            event.by(caller, caller.account)
            event.resource = f"accounts/{caller.account}/users/{caller.user}/apiKeys/{caller.key_id}"
            event.message = error.what_ended_it
            event.payload = {"method": request.method, "path": request.url.path}
            response.background = BackgroundTask(self._record, caller.account, event, status_of(error))
        return response

    async def _record(self, account_id: str, event: Event, outcome: tuple[str, str]) -> None:
        try:
            async with self._database.writing() as db:
                await record(db, account_id, event, outcome=outcome, seal_key=self._keyring.keys(AUDIT_SEAL)[0])
        except UnavailableError:
            log.exception("audit_entry_lost", method=event.method, resource=event.resource)
