"""`Repeats`: calls that come with the key of one that was charged before, found before they are asked to pay.

Two that come together are told apart only when they are charged.
"""

from __future__ import annotations

from sqlalchemy import select

from embergate.errors import InvalidRequestError
from embergate.gateway.usage.tables import RECORDS
from embergate.storage.database import Database
from embergate.web.metering import IDEMPOTENCY_HEADER, Demand


class Repeats:
    """Looks idempotency keys up among the records of calls."""

    def __init__(self, database: Database) -> None:
        """Look in this database."""
        self._database = database

    async def is_repeated(self, demand: Demand) -> bool:
        """Tell whether the call was charged before.

        Raises: InvalidRequestError if its key came with another body then; UnavailableError.
        """
        if demand.idempotency_key is None:
            return False
        named = (RECORDS.c.account_id == demand.caller.account) & (RECORDS.c.idempotency_key == demand.idempotency_key)
        async with self._database.reading() as db:
            found = (await db.execute(select(RECORDS.c.request_digest).where(named))).first()
        if found is not None and found.request_digest != demand.request_digest:
            raise other_body()
        return found is not None


def other_body() -> InvalidRequestError:
    """Return the error for a key that named another request before."""
    return InvalidRequestError(
        f"{IDEMPOTENCY_HEADER}: this key came with another request before; give each request its own",
        param=IDEMPOTENCY_HEADER,
    )
