"""What a start makes sure of: that the server's secrets fit the database, and that somebody can log in."""

from __future__ import annotations

from hashlib import sha256
from typing import Final

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from embergate.aip.status import Code
from embergate.clock import now
from embergate.errors import ConfigurationError
from embergate.gateway.accounts import service as accounts
from embergate.gateway.accounts import store as account_store
from embergate.gateway.accounts.schemas import Account
from embergate.gateway.accounts.store import ACCOUNTS
from embergate.gateway.api_keys import service as api_keys
from embergate.gateway.api_keys.schemas import ApiKey
from embergate.gateway.api_keys.store import find_by_digest
from embergate.gateway.audit.trail import AUDIT_SEAL, PLATFORM, act_of_server, record
from embergate.gateway.users import service as users
from embergate.gateway.users import store as user_store
from embergate.gateway.users.schemas import User
from embergate.gateway.users.store import USERS
from embergate.storage.insertion import insert_if_absent
from embergate.storage.tables.accounts import AccountRow
from embergate.storage.tables.credentials import KeyringMarkRow
from embergate.web.caller import Role
from embergate.web.keyring import Keyring

FIRST_USER: Final = "admin"
FIRST_ADDRESS: Final = "admin@localhost"
FIRST_KEY: Final = "bootstrap"


async def check_keyring(db: AsyncSession, keyring: Keyring) -> None:
    """Leave a mark of each of our secrets in the database.

    Raises: ConfigurationError if other secrets left theirs and none of ours is among them: no key of the database would
        work, and none of its secrets could be read.
    """
    marks = [sha256(key).digest() for key in keyring.keys("mark")]
    known = set((await db.execute(select(KeyringMarkRow.mark))).scalars())
    if known and not known & set(marks):
        raise ConfigurationError(
            "the database was made with another secret key; put back the file secret.key of its data directory, or set "
            "EMBERGATE_SECRET_KEYS to the keys that it was used with"
        )
    # Others may leave the same marks at this moment: in one order, so that no two wait for each other.
    for mark in sorted(set(marks) - known):
        await insert_if_absent(db, KeyringMarkRow, {"mark": mark, "create_time": now()})


async def first_account(db: AsyncSession, keyring: Keyring, account_id: str, key: str | None) -> str | None:
    """Make the account with its first admin, who is an operator, where there is none; return the key if it was made here.

    A `key` that is given is made sure of at every start: it is added for that admin where it is unknown. What is made
    stands in the platform's audit trail.
    Raises: ConfigurationError if the given key was deleted, has expired, or is another user's.
    """
    if key is not None and await _is_known(db, keyring, account_id, key):
        return None
    account = await account_store.find(db, account_id)
    is_new = account is None and (await db.execute(select(AccountRow.id).limit(1))).first() is None
    if not (is_new or key is not None):
        return None
    made: list[str] = []
    if account is None:
        made.append(ACCOUNTS.name_of(await accounts.add(db, account_id, Account(email=FIRST_ADDRESS))))
    user = await user_store.find(db, account_id, FIRST_USER)
    if user is None:
        draft = User(display_name="First admin", role=Role.ADMIN.value, email=FIRST_ADDRESS)
        user = await users.add(db, account_id, FIRST_USER, draft, Role.ADMIN, is_operator=True)
        made.append(USERS.name_of(user))
    row, plain = await api_keys.add(db, keyring, user, ApiKey(display_name=FIRST_KEY), key=key)
    made.append(api_keys.name_of(row))
    await _record(db, keyring, made)
    return plain if key is None else None


async def _is_known(db: AsyncSession, keyring: Keyring, account_id: str, key: str) -> bool:
    """Tell whether the key is there and works for the first admin of the account. One that ended is never brought back."""
    found = await find_by_digest(db, keyring.digests_of(key))
    if found is None:
        return False
    row, user = found
    problem = ""
    if row.delete_time is not None:
        problem = "was deleted"
    elif row.expire_time is not None and row.expire_time <= now():
        problem = "has expired"
    elif (user.account_id, user.id) != (account_id, FIRST_USER):
        problem = f"is a key of {USERS.name_of(user)}"
    if problem:
        raise ConfigurationError(
            f"the key in EMBERGATE_BOOTSTRAP_API_KEY {problem}; unset EMBERGATE_BOOTSTRAP_API_KEY or set another"
        )
    return True


async def _record(db: AsyncSession, keyring: Keyring, made: list[str]) -> None:
    event = act_of_server("Bootstrap", made[-1], "", {"made": made})
    event.is_admin_action = True
    await record(db, PLATFORM, event, outcome=(Code.OK.value, ""), seal_key=keyring.keys(AUDIT_SEAL)[0])
