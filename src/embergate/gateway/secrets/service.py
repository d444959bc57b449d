"""The rules of secrets. A value is encrypted together with its secret's name, so that it is worth nothing in another row."""

from __future__ import annotations

from typing import Final

import orjson
from pydantic import SecretStr
from sqlalchemy.ext.asyncio import AsyncSession

from embergate.aip.errors import InvalidArgumentError
from embergate.aip.fieldmask import fields_named, update_message
from embergate.aip.message import require_fields
from embergate.aip.names import check_id
from embergate.clock import now
from embergate.errors import AlreadyExistsError, FailedPreconditionError
from embergate.gateway.accounts import store as accounts
from embergate.gateway.call import Call
from embergate.gateway.secrets import store
from embergate.gateway.secrets.schemas import Secret
from embergate.gateway.secrets.store import SECRETS
from embergate.storage.tables.credentials import SecretRow
from embergate.web.keyring import DecryptionError, Keyring

MAX_VALUE_BYTES: Final = 64 << 10


async def create(call: Call, secret: Secret) -> Secret:
    """Keep a secret. Raises: AlreadyExistsError."""
    require_fields(secret)
    secret_id = _id_in(secret.name, call.account_id)
    value = _checked(secret.value)
    call.event.resource = secret.name
    await accounts.get(call.db, call.account_id)
    moment = now()
    row = SecretRow(
        account_id=call.account_id,
        id=secret_id,
        key_name=secret.key_name,
        encrypted_value=_encrypt(call.deps.keyring, secret.name, value),
        create_time=moment,
        update_time=moment,
    )
    if not await store.insert(call.db, row):
        raise AlreadyExistsError(f"there is a secret {secret_id!r} already", param="name")
    return SECRETS.message_of(row)


async def update(call: Call, secret_id: str, patch: Secret, mask: str | None) -> Secret:
    """Change a secret's key name or value. The old value is not read: one that is lost can be set again."""
    row = await store.get(call.db, call.account_id, secret_id, for_update=True)
    after = update_message(SECRETS.message_of(row), patch, mask)
    require_fields(after)
    if "value" in fields_named(patch, mask):
        row.encrypted_value = _encrypt(call.deps.keyring, SECRETS.name_of(row), _checked(after.value))
    row.key_name, row.update_time = after.key_name, now()
    return SECRETS.message_of(row)


async def reveal(db: AsyncSession, keyring: Keyring, account_id: str, secret_id: str) -> str:
    """Return a secret's value, for the server's own use of it.

    Raises: NotFoundError; FailedPreconditionError if it was encrypted with a key that the server has no more, or for
    another secret.
    """
    row = await store.get(db, account_id, secret_id)
    name = SECRETS.name_of(row)
    lost = FailedPreconditionError(f"{name} cannot be decrypted with this server's secret keys; set its value again")
    try:
        envelope = orjson.loads(keyring.decrypt(row.encrypted_value))
    except DecryptionError:
        raise lost from None
    if envelope["name"] != name:
        raise lost
    return str(envelope["value"])


async def rotate_all(db: AsyncSession, keyring: Keyring) -> tuple[int, list[str]]:
    """Encrypt every secret of every account with the newest key.

    Returns how many that were, and the names of those that none of the keys decrypts: they stay as they are.
    """
    num_rotated, lost = 0, []
    async for row in store.lock_all(db):
        try:
            row.encrypted_value = keyring.rotate(row.encrypted_value)
            num_rotated += 1
        except DecryptionError:
            lost.append(SECRETS.name_of(row))
    return num_rotated, lost


def _id_in(name: str, account_id: str) -> str:
    """Return the id in the name that a new secret is given, which is one of the account in the path."""
    prefix = f"accounts/{account_id}/secrets/"
    if not name.startswith(prefix):
        raise InvalidArgumentError(f"name: {name[:80]!r} does not begin with {prefix}", field="name")
    return check_id(name.removeprefix(prefix), "name")


def _checked(value: SecretStr) -> str:
    plain = value.get_secret_value()
    if not plain:
        raise InvalidArgumentError("value is required", field="value")
    if len(plain.encode()) > MAX_VALUE_BYTES:
        raise InvalidArgumentError(f"value has more than {MAX_VALUE_BYTES} bytes", field="value")
    return plain


def _encrypt(keyring: Keyring, name: str, value: str) -> bytes:
    return keyring.encrypt(orjson.dumps({"name": name, "value": value}))
