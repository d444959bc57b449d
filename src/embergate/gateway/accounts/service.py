"""The rules of accounts. Operators make and block them; there is no public operation for either."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from sqlalchemy.ext.asyncio import AsyncSession

from embergate.aip.message import require_fields, write_message
from embergate.aip.names import check_id
from embergate.clock import now
from embergate.errors import AlreadyExistsError, FailedPreconditionError
from embergate.gateway.accounts import store
from embergate.gateway.accounts.schemas import Account, NotificationSettings, ResourceState, SuspendState
from embergate.gateway.accounts.store import ACCOUNTS
from embergate.gateway.api_keys import service as api_keys
from embergate.gateway.api_keys.schemas import ApiKey
from embergate.gateway.call import Call
from embergate.gateway.usage.spend_thresholds import thresholds_of
from embergate.gateway.usage.standing import Billing, Standing, standings
from embergate.gateway.usage.suspension import review_in
from embergate.gateway.users import service as users
from embergate.gateway.users.schemas import User
from embergate.gateway.users.store import USERS
from embergate.storage.insertion import insert_if_absent
from embergate.storage.tables.accounts import AccountRow
from embergate.web.caller import Role


@dataclass(frozen=True, slots=True)
class NewAccount:
    """What there is of an account at first: itself, its admin, and, where it was asked for, the admin's key."""

    account: Account
    admin: User
    key: ApiKey | None


@dataclass(frozen=True, slots=True)
class AccountDetails:
    """An account, and what the API does not tell of it: how it pays, and how it stands."""

    account: Account
    standing: Standing


async def create(
    call: Call, account_id: str, account: Account, *, admin_id: str, admin: User, with_key: bool, billing: Billing
) -> NewAccount:
    """Make an account with its first admin, and a key if asked: its only showing.

    A prepaid one is suspended until it has credit.
    Raises: AlreadyExistsError if the id is taken; InvalidArgumentError naming what is not valid.
    """
    require_fields(account)
    users.check_address(account.email)
    row = await add(call.db, account_id, account, billing)
    user = await users.add(call.db, account_id, admin_id, admin, Role.ADMIN)
    call.event.resource = ACCOUNTS.name_of(row)
    key = None
    if with_key:
        key_row, plain = await api_keys.add(call.db, call.deps.keyring, user, ApiKey())
        key = api_keys.shown(key_row, user, plain)
    return NewAccount(ACCOUNTS.message_of(row), USERS.message_of(user), key)


async def add(db: AsyncSession, account_id: str, draft: Account, billing: Billing = Billing.POSTPAID) -> AccountRow:
    """Insert an account; the first start comes here too."""
    check_id(account_id, "accountId")
    moment = now()
    is_prepaid = billing is Billing.PREPAID
    values = {
        "id": account_id,
        "display_name": draft.display_name,
        "email": draft.email,
        "account_type": draft.account_type.value,
        "state": ResourceState.READY.value,
        # As it stands without credit.
        "suspend_state": (SuspendState.CREDIT_DEPLETED if is_prepaid else SuspendState.UNSUSPENDED).value,
        "billing": billing.value,
        "notification_settings": None,
        "create_time": moment,
        "update_time": moment,
    }
    if not await insert_if_absent(db, AccountRow, values):
        raise AlreadyExistsError(f"there is an account {account_id!r} already", param="accountId")
    return await store.get(db, account_id)


async def describe(call: Call) -> AccountDetails:
    """Return the account of the call and how it stands. Raises: NotFoundError."""
    row = await store.get(call.db, call.account_id)
    work = partial(standings, account_ids=[row.id], moment=now())
    found = await (await call.db.connection()).run_sync(work)
    return AccountDetails(ACCOUNTS.message_of(row), found[row.id])


async def change(
    call: Call, *, billing: Billing | None = None, notification_settings: NotificationSettings | None = None
) -> AccountDetails:
    """Change how the account of the call pays, or when it is warned; None leaves it as it is.

    Raises: NotFoundError; InvalidArgumentError if an amount is not in dollars, not above zero.
    """
    row = await store.get(call.db, call.account_id, for_update=True)
    if billing is not None:
        row.billing = billing.value
    if notification_settings is not None:
        thresholds_of(notification_settings)
        row.notification_settings = write_message(notification_settings)
    row.update_time = now()
    await review_in(call)
    return await describe(call)


async def block(call: Call) -> Account:
    """Suspend the account of the call, whatever else it is suspended for. Raises: NotFoundError."""
    row = await store.get(call.db, call.account_id, for_update=True)
    row.suspend_state, row.update_time = SuspendState.BLOCKED_BY_ABUSE_RULE.value, now()
    call.after_commit.append(call.deps.meter.forget)
    return ACCOUNTS.message_of(row)


async def unblock(call: Call) -> Account:
    """Lift what `block` did; the account's money may still suspend it.

    Raises: NotFoundError; FailedPreconditionError if the account is not blocked.
    """
    row = await store.get(call.db, call.account_id, for_update=True)
    if row.suspend_state != SuspendState.BLOCKED_BY_ABUSE_RULE.value:
        raise FailedPreconditionError(f"the account is not blocked: its suspendState is {row.suspend_state}")
    row.suspend_state, row.update_time = SuspendState.UNSUSPENDED.value, now()
    await review_in(call)
    return ACCOUNTS.message_of(row)
