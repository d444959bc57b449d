"""What a start makes sure of: that the server's secrets fit the database, and that somebody can log in."""

from __future__ import annotations

from hashlib import sha256
from typing import Final

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from embergate.clock import now
from embergate.errors import ConfigurationError
from embergate.gateway.accounts import service as accounts
from embergate.gateway.accounts import store as account_store
from embergate.gateway.accounts.schemas import Account
from embergate.gateway.api_keys import service as api_keys
from embergate.gateway.api_keys.schemas import ApiKey
from embergate.gateway.api_keys.store import find_by_digest
from embergate.gateway.users import service as users
from embergate.gateway.users import store as user_store
from embergate.gateway.users.schemas import User
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
    db.add_all(KeyringMarkRow(mark=mark, create_time=now()) for mark in marks if mark not in known)
    await db.flush()


async def first_account(db: AsyncSession, keyring: Keyring, account_id: str, key: str | None) -> str | None:
    """Make the account with its first admin, who is an operator, where there is none; return the key if it was made here.

    A `key` that is given is made sure of at every start: it works for that admin.
    """
    account = await account_store.find(db, account_id)
    is_new = account is None and (await db.execute(select(AccountRow.id).limit(1))).first() is None
    if account is None and (is_new or key is not None):
        await accounts.add(db, account_id, Account(email=FIRST_ADDRESS))
    user = await user_store.find(db, account_id, FIRST_USER)
    if user is None and (is_new or key is not None):
        draft = User(display_name="First admin", role=Role.ADMIN.value, email=FIRST_ADDRESS)
        user = await users.add(db, account_id, FIRST_USER, draft, Role.ADMIN, is_operator=True)
    if user is None or not (is_new or key is not None):
        return None
    if key is not None and await find_by_digest(db, keyring.digests_of(key)) is not None:
        return None
    _, made = await api_keys.add(db, keyring, user, ApiKey(display_name=FIRST_KEY), key=key)
    return made if key is None else None
