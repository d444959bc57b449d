"""`Reviews`: an account's suspendState, written down as its money says and told in its audit trail, and its warnings.

Inference does not wait for it: the meter computes the state from the money itself, at every call.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final

import structlog
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from embergate.aip.status import Code
from embergate.clock import now
from embergate.gateway.accounts import store as accounts
from embergate.gateway.accounts.schemas import SuspendState
from embergate.gateway.audit.trail import AUDIT_SEAL, Event, act_of_server, record
from embergate.gateway.usage import spend_warnings
from embergate.gateway.usage.spend_warnings import SpendWarning
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
    warnings: list[SpendWarning] = field(default_factory=list)

    def tell(self) -> None:
        """Log what is new; for after the commit."""
        if self.state is not self.before:
            log.info("account_suspend_state", account=self.account_id, state=self.state.value, before=self.before.value)
        for warning in self.warnings:
            warning.tell()

    def events(self) -> list[Event]:
        """Return what the audit trail says of it."""
        found = [warning.event() for warning in self.warnings]
        if self.state is not self.before:
            method = "UnsuspendAccount" if self.state is SuspendState.UNSUSPENDED else "SuspendAccount"
            text = f"suspendState is {self.state.value}, was {self.before.value}"
            payload = {"suspendState": self.state.value, "before": self.before.value}
            found.append(act_of_server(method, f"accounts/{self.account_id}", text, payload))
        return found


class Reviews:
    """Reviews accounts: after what changes their money or limits, and all of them now and then."""

    def __init__(self, database: Database, keyring: Keyring, *, by_webhook: bool) -> None:
        """Put warnings into the outbox too if `by_webhook`."""
        self._database = database
        self._keyring = keyring
        self._by_webhook = by_webhook

    async def review(self, db: AsyncSession, account_id: str) -> Review:
        """Write down the state that an account's money gives it, and the warnings that are due, in the caller's transaction.

        What an operator or a failed payment says stands. To be called last: from then on the transaction holds the
        account's audit trail, and must wait for nobody's rows.
        Raises: NotFoundError if there is no such account.
        """
        # First the lock, by a statement of its own: PostgreSQL shows the next one what was committed while it waited.
        await accounts.get(db, account_id, for_update=True)
        await db.flush()
        moment = now()
        work = partial(standings, account_ids=[account_id], moment=moment, for_update=True)
        standing = (await (await db.connection()).run_sync(work))[account_id]
        state = standing.computed_state
        if state is not standing.suspend_state:
            changed = update(AccountRow).where(AccountRow.id == account_id)
            await db.execute(changed.values(suspend_state=state.value, update_time=moment))
        warnings = await spend_warnings.give(db, standing, moment, by_webhook=self._by_webhook)
        found = Review(account_id, standing.suspend_state, state, warnings)
        for event in found.events():
            await record(db, account_id, event, outcome=OK, seal_key=self._keyring.keys(AUDIT_SEAL)[0])
        return found

    async def review_one(self, account_id: str) -> Review:
        """Review an account in a transaction of its own. Raises: NotFoundError; UnavailableError."""
        async with self._database.writing() as db:
            found = await self.review(db, account_id)
        found.tell()
        return found

    async def review_all(self) -> None:
        """Review every account that is due: a month has begun, or a process died before it was done.

        Raises: UnavailableError if the database cannot be reached.
        """
        last = ""
        while True:
            moment = now()
            async with self._database.reading() as db:
                some = select(AccountRow.id).where(AccountRow.id > last).order_by(AccountRow.id).limit(PAGE_SIZE)
                ids = (await db.scalars(some)).all()
                work = partial(standings, account_ids=ids, moment=moment)
                found = await (await db.connection()).run_sync(work)
                warned = await spend_warnings.given(db, ids, moment)
            for standing in found.values():
                if is_state_due(standing) or _is_warning_due(standing, warned):
                    await self.review_one(standing.account_id)
            if len(ids) < PAGE_SIZE:
                return
            last = ids[-1]


async def review_in(call: Call) -> SuspendState:
    """Review the account of a call in its transaction, once what changes its money or its limits is done; return the state.

    Inference in this process notices as soon as the transaction is committed. Raises: NotFoundError; see `Reviews.review`.
    """
    found = await call.deps.reviews.review(call.db, call.account_id)
    call.after_commit += [found.tell, call.deps.meter.forget]
    return found.state


def is_state_due(standing: Standing) -> bool:
    """Tell whether an account is written down otherwise than it stands."""
    return standing.computed_state is not standing.suspend_state


def _is_warning_due(standing: Standing, warned: Collection[tuple[str, int]]) -> bool:
    return any((standing.account_id, amount_nanos) not in warned for amount_nanos in standing.amounts_reached)
