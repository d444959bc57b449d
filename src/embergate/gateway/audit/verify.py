"""Reading the audit trail again, entry by entry, to find out whether it is what was written.

Found is every entry that was changed, taken out, put in or moved, and an end that was cut off. Not found, since nothing in
the database tells it from the past, is a whole chain put back to an earlier state, head and entries together, or taken out
with its head: whoever fears that notes the reports somewhere else, and looks whether a chain has become shorter.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncSession

from embergate.gateway.audit import store
from embergate.gateway.audit.trail import GENESIS, seal, seal_head
from embergate.storage.database import Database

NOT_WRITTEN: Final = "is not as it was written: changed, moved, put there, or sealed with none of the secret keys"


@dataclass(frozen=True, slots=True)
class ChainReport:
    """How far an account's chain is intact; `bad_sequence`, `bad_id` (where it is known) and `problem` say where it is not.

    The account of the platform's own acts is empty.
    """

    account_id: str
    num_intact: int
    bad_sequence: int | None = None
    bad_id: str = ""
    problem: str = ""

    @property
    def is_intact(self) -> bool:
        """Whether all of it is what was written."""
        return not self.problem


async def verify_trail(database: Database, seal_keys: Sequence[bytes]) -> AsyncIterator[ChainReport]:
    """Yield a report of each account's chain, as it is when its turn comes; calls go on meanwhile.

    `seal_keys` are the keyring's for AUDIT_SEAL; each entry may be sealed with any of them.
    """
    async with database.reading() as db:
        owners = await store.chain_owners(db)
    for account_id in owners:
        async with database.reading() as db:
            report = await verify_chain(db, account_id, seal_keys)
        yield report


async def verify_chain(db: AsyncSession, account_id: str, seal_keys: Sequence[bytes]) -> ChainReport:
    """Return a report of one account's chain."""
    num_intact, head_hash = 0, GENESIS
    async for entry in store.entries_in_order(db, account_id):
        expected = num_intact + 1
        if entry is None:
            return ChainReport(account_id, num_intact, expected, "", "holds what cannot be read")
        if entry["sequence"] != expected:
            return _out_of_sequence(entry, num_intact)
        seal_key = next((key for key in seal_keys if _is_sealed(entry, head_hash, key)), None)
        if seal_key is None:
            return ChainReport(account_id, num_intact, expected, entry["id"], NOT_WRITTEN)
        num_intact, head_hash = expected, seal_head(entry["hash"], seal_key)
    head = await store.find_head(db, account_id)
    return _compare_head(account_id, num_intact, head_hash, head)


def _is_sealed(entry: Mapping[str, Any], previous: bytes, seal_key: bytes) -> bool:
    try:
        return bool(seal(entry, previous, seal_key) == entry["hash"])
    except (TypeError, ValueError):  # such as a number that no entry can have
        return False


def _out_of_sequence(entry: Mapping[str, Any], num_intact: int) -> ChainReport:
    account_id, expected = entry["account_id"], num_intact + 1
    if isinstance(entry["sequence"], int) and entry["sequence"] > expected:
        return ChainReport(account_id, num_intact, expected, "", "is missing")
    return ChainReport(
        account_id, num_intact, entry["sequence"], entry["id"], "was put there: entries are counted from 1"
    )


def _compare_head(account_id: str, num_intact: int, head_hash: bytes, head: Any) -> ChainReport:
    if head is None:
        return ChainReport(
            account_id, num_intact, num_intact, "", "may not be the last: the head of the chain is missing"
        )
    if head.sequence > num_intact:
        return ChainReport(account_id, num_intact, num_intact + 1, "", f"to {head.sequence} are missing at the end")
    if (head.sequence, head.hash) != (num_intact, head_hash):
        return ChainReport(
            account_id, num_intact, num_intact, "", "does not fit the head of the chain, which was changed"
        )
    return ChainReport(account_id, num_intact)
