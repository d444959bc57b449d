"""The edge of a gateway call: authenticate, authorise, open one transaction, write the audit entry, commit, then answer.

A room declares each of its calls as an `Operation`; nothing else commits. A call that fails leaves nothing behind but its
audit entry, which is written in a transaction of its own.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import structlog
from fastapi import Depends, Request
from pydantic import BaseModel
from sqlalchemy import event as session_events
from sqlalchemy.ext.asyncio import AsyncSession

from embergate.aip.errors import InvalidArgumentError
from embergate.aip.fields import lower_camel
from embergate.aip.message import Message, has_required_fields
from embergate.aip.status import Code
from embergate.errors import UnavailableError
from embergate.gateway.access import Permission, require
from embergate.gateway.accounts import store as accounts
from embergate.gateway.answers import GATEWAY_ERRORS
from embergate.gateway.audit.redaction import redact_body, redact_query
from embergate.gateway.audit.trail import AUDIT_SEAL, record
from embergate.gateway.body import read_json, request_body
from embergate.gateway.call import Call, event_of
from embergate.gateway.deps import gateway_of
from embergate.web.caller import Caller, Role, credential_of, note_caller
from embergate.web.errors import status_of
from embergate.web.request_log import note

SUCCESS: Final = (Code.OK.value, "")
# Who calls an operation that authenticates by its body, until its room knows better.
NOBODY: Final = Caller(account="", user="", email="", role=Role.INFERENCE_USER)
log: structlog.stdlib.BoundLogger = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Operation:
    """One call of the API: its name, what it answers and takes, what it asks of the caller, what it does to the database.

    `needs` None stands for a call that authenticates by what its body holds, such as a refresh token.
    """

    name: str
    answers: type[BaseModel]
    needs: Permission | None
    takes: type[Message] | None = None
    # An update takes any of the fields; what is required otherwise may be left out.
    takes_part: bool = False
    writes: bool = False
    audited: bool = False
    # A call without `needs` that is told by a credential in its header too.
    takes_credential: bool = False
    # Whether some of what other accounts have may be seen by all; then the room itself refuses the rest.
    shows_others: bool = False

    def route(self, summary: str, *, variant: str = "") -> dict[str, Any]:
        """Return what the router needs to know; `**operation.route("…")` in the decorator.

        `variant` tells a second path of one operation from the first in the OpenAPI document.
        """
        return {
            "operation_id": f"Gateway_{self.name}{variant}",
            "name": self.name,
            "summary": summary,
            "dependencies": [Depends(self.enter, scope="function")],
            "responses": {200: {"model": self.answers, "description": "Done."}, **self._errors()},
            "openapi_extra": self._request_body() if self.takes else None,
        }

    async def enter(self, request: Request) -> AsyncIterator[None]:
        """Run the call between the check of its caller and the commit."""
        deps = gateway_of(request)
        event = event_of(request, self.name)
        request.state.is_write = self.writes
        note(operation=self.name)
        caller = None
        if self.needs is not None:
            caller = await deps.authenticator.authenticate(credential_of(request.headers))
            note_caller(caller)
        account_id = request.path_params.get("account_id") or (caller.account if caller else "")
        call = Call(caller or NOBODY, deps, None, event, account_id, base_url=str(request.base_url))  # type: ignore[arg-type]
        if caller is not None:
            event.by(caller, account_id)
        event.resource = _resource_in(request.url.path)
        event.payload = {
            **request.path_params,
            **({"query": redact_query(request.query_params)} if request.query_params else {}),
        }
        async with unit_of_work(call, writes=self.writes, audited=self.is_audited):
            _check_text(request)
            if caller is not None and self.needs is not None:
                require(caller, self.needs, account_id=None if self.shows_others else account_id)
            if self.takes is not None:
                request.state.json = await read_json(request, is_required=self._needs_body)
                event.payload["body"] = redact_body(request.state.json, self.takes)
            if caller is not None and account_id != caller.account and not self.shows_others:
                # Only now: who may not know gets a 403, and a slow body must not hold the lock that a statement takes.
                await accounts.get(call.db, account_id)
            request.state.call = call
            yield

    @property
    def _needs_body(self) -> bool:
        """Whether a call without a body is a mistake: an update of nothing, or a message that lacks what it needs."""
        return self.takes is not None and (self.takes_part or has_required_fields(self.takes))

    def _request_body(self) -> dict[str, Any]:
        assert self.takes is not None, "asked for the body of a call without one. This is a bug."
        return request_body(self.takes, is_part=self.takes_part, is_required=self._needs_body)

    def _errors(self) -> dict[int | str, dict[str, Any]]:
        if self.needs is not None:
            return GATEWAY_ERRORS
        # What authenticates by its body is refused in the shape of every other error.
        return {status: answer for status, answer in GATEWAY_ERRORS.items() if status != "401"}

    @property
    def is_audited(self) -> bool:
        """Whether the trail has an entry of each call: of all that write, and of reads of what is sensitive."""
        return self.writes or self.audited


@asynccontextmanager
async def unit_of_work(call: Call, *, writes: bool, audited: bool) -> AsyncIterator[None]:
    """Run a call in one transaction, its audit entry included; of a call that fails nothing but an entry of that is left.

    The command line's acts come here too. Nothing is asked of the database before the call's first statement.
    """
    database = call.deps.database
    try:
        async with database.writing() if writes else database.reading() as call.db:
            # By the session itself: a client that leaves during the commit cancels this function, but not the commit.
            session_events.listen(call.db.sync_session, "after_commit", lambda _session: call.notify())
            yield
            if writes:
                await _record(call.db, call, SUCCESS)
        if audited and not writes:
            # Not while it reads: a list may take long, and SQLite has one writer at a time.
            async with database.writing() as db:
                await _record(db, call, SUCCESS)
    except Exception as error:
        if audited:
            await _record_failure(call, error)
        raise


async def _record(db: AsyncSession, call: Call, outcome: tuple[str, str]) -> None:
    account_id = call.account_id
    if call.caller is not NOBODY and account_id != call.caller.account and outcome != SUCCESS:
        # What fails in a foreign account, which may not even exist, stands in the caller's own trail.
        account_id = call.caller.account
    await record(db, account_id, call.event, outcome=outcome, seal_key=call.deps.keyring.keys(AUDIT_SEAL)[0])


async def _record_failure(call: Call, error: Exception) -> None:
    if call.caller is NOBODY and not call.account_id:
        return
    call.after_commit.clear()  # it was not
    try:
        async with call.deps.database.writing() as db:
            for change in call.on_failure:
                await change(db)
            await _record(db, call, status_of(error))
    except UnavailableError:
        log.exception("audit_entry_lost", method=call.event.method, resource=call.event.resource)
        if call.on_failure:
            raise  # to be tried again: the failure must not be all that comes of the call
    call.notify()


def _resource_in(path: str) -> str:
    """Return the name of the resource, or the collection, that a path is about; what a call makes is named by its room."""
    name = path.removeprefix("/v1/").partition(":")[0]
    return name if name.startswith("accounts/") else ""


def _check_text(request: Request) -> None:
    """Refuse what no database stores, before it is asked for it. Raises: InvalidArgumentError."""
    for name, value in (*request.path_params.items(), *request.query_params.multi_items()):
        if "\0" in value or "\0" in name:
            raise InvalidArgumentError(f"{lower_camel(name)} holds a NUL character")
