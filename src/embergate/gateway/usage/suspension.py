"""An account's suspendState, written down as its money says and told in its audit trail.

Inference does not wait for it: the meter computes the state from the money itself, at every call.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

import structlog
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from embergate.aip.status import Code
from embergate.clock import now
from embergate.gateway.accounts import store as accounts
from embergate.gateway.accounts.schemas import SuspendState
from embergate.gateway.audit.trail import AUDIT_SEAL, act_of_server, record
from embergate.gateway.usage.standing import Standing, standings
from embergate.storage.database import Database
from embergate.storage.tables.accounts import AccountRow
from embergate.web.keyring import Keyring

if TYPE_CHECKING:
    from embergate.gateway.call import Call

# So many accounts are looked at in one transaction.
PAGE_SIZE: Final = 500
OK: Final = (Code.OK.value, "")
log: structlog.stdlib.BoundLogger = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Review:
    """What a review of an account found."""

    account_id: str
    before: SuspendState
    state: SuspendState

    def tell(self) -> None:
        """Log what has changed; for after the commit."""
        if self.state is not self.before:
            log.info("account_suspend_state", account=self.account_id, state=self.state.value, before=self.before.value)


async def review(db: AsyncSession, account_id: str, keyring: Keyring) -> Review:
    """Write down the state that an account's money gives it, in the caller's transaction; return what was found.

    What an operator or a failed payment says stands. To be called last: from then on the transaction holds the account's
    audit trail, and must wait for nobody's rows.
    Raises: NotFoundError if there is no such account.
    """
    # First the lock, by a statement of its own: PostgreSQL shows the next one what was committed while it waited.
    await accounts.get(db, account_id, for_update=True)
    await db.flush()
    work = partial(standings, account_ids=[account_id], moment=now(), for_update=True)
    standing = (await (await db.connection()).run_sync(work))[account_id]
    before, state = standing.suspend_state, standing.computed_state
    if state is not before:
        changed = update(AccountRow).where(AccountRow.id == account_id)
        await db.execute(changed.values(suspend_state=state.value, update_time=now()))
        await _record(db, keyring, account_id, before, state)
    return Review(account_id, before, state)


async def review_in(call: Call) -> SuspendState:
    """Review the account of a call in its transaction, once what changes its money or its limits is done; return the state.

    Inference in this process notices as soon as the transaction is committed. Raises: NotFoundError; see `review`.
    """
    found = await review(call.db, call.account_id, call.deps.keyring)
    call.after_commit += [found.tell, call.deps.meter.forget]
    return found.state


async def review_one(database: Database, account_id: str, keyring: Keyring) -> Review:
    """Review an account in a transaction of its own. Raises: NotFoundError; UnavailableError."""
    async with database.writing() as db:
        found = await review(db, account_id, keyring)
    found.tell()
    return found


async def review_all(database: Database, keyring: Keyring) -> None:
    """Review every account that is not written down as it stands: a month has begun, or a process died before it was.

    Raises: UnavailableError if the database cannot be reached.
    """
    last = ""
    while True:
        async with database.reading() as db:
            some = select(AccountRow.id).where(AccountRow.id > last).order_by(AccountRow.id).limit(PAGE_SIZE)
            ids = (await db.scalars(some)).all()
            work = partial(standings, account_ids=ids, moment=now())
            found = await (await db.connection()).run_sync(work)
        for standing in found.values():
            if is_due(standing):
                await review_one(database, standing.account_id, keyring)
        if len(ids) < PAGE_SIZE:
            return
        last = ids[-1]


def is_due(standing: Standing) -> bool:
    """Tell whether an account is written down otherwise than it stands."""
    return standing.computed_state is not standing.suspend_state


async def _record(
    db: AsyncSession, keyring: Keyring, account_id: str, before: SuspendState, state: SuspendState
) -> None:
    method = "UnsuspendAccount" if state is SuspendState.UNSUSPENDED else "SuspendAccount"
    event = act_of_server(
        method,
        f"accounts/{account_id}",
        f"suspendState is {state.value}, was {before.value}",
        {"suspendState": state.value, "before": before.value},
    )
    await record(db, account_id, event, outcome=OK, seal_key=keyring.keys(AUDIT_SEAL)[0])
