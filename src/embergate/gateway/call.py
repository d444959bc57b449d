"""`Call`: one gateway call while it is handled: who calls, the transaction, and what the audit trail will say of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, cast

from fastapi import Depends, Request
from sqlalchemy.ext.asyncio import AsyncSession

from embergate.clock import now
from embergate.gateway.audit.trail import Event
from embergate.gateway.deps import GatewayDeps
from embergate.web.caller import Caller


@dataclass(slots=True)
class Call:
    """What a room's functions need of a call. `account_id` is the account in the path, which the caller may use."""

    caller: Caller
    deps: GatewayDeps
    db: AsyncSession
    event: Event
    account_id: str = ""
    # How the client reaches this server, up to the path; for the URLs of files.
    base_url: str = ""
    # Run once the transaction is committed: what other parts of this process must notice.
    after_commit: list[Any] = field(default_factory=list)
    # What a call that fails changes all the same, in the transaction of its audit entry.
    on_failure: list[Callable[[AsyncSession], Awaitable[None]]] = field(default_factory=list)

    def notify(self) -> None:
        """Tell the other parts of this process, once."""
        acts, self.after_commit = self.after_commit, []
        for act in acts:
            act()

    def turn_to(self, account_id: str) -> None:
        """Go on in the account that the body, not the path, names; whether the caller may is still to be asked."""
        self.account_id = account_id
        self.event.by(self.caller, account_id)
        self.event.resource = f"accounts/{account_id}"


def current_call(request: Request) -> Call:
    """Return the call that the operation's edge opened."""
    return cast(Call, request.state.call)


def event_of(request: Request, method: str) -> Event:
    """Return the audit event of a request that has just come in."""
    client = request.client.host if request.client else ""
    agent = request.headers.get("user-agent", "")
    return Event(method, timestamp=now(), user_agent=agent, client_ip=client)


CurrentCall = Annotated[Call, Depends(current_call)]
