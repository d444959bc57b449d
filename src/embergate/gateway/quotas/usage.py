"""How much of each quota an account uses right now."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from sqlalchemy import Connection, func, select

from embergate.clock import now
from embergate.gateway.batch_jobs.store import count_open
from embergate.gateway.call import Call
from embergate.gateway.money import NANOS_PER_UNIT
from embergate.gateway.quotas.known import (
    BATCH_JOBS,
    CONCURRENT_REQUESTS,
    MONTHLY_SPEND,
    PROMPT_TOKENS,
    REQUESTS,
    Scope,
)
from embergate.gateway.usage.standing import standings
from embergate.gateway.usage.tables import DIMENSIONS, DIMENSIONS_OF_RECORD, RECORDS

A_MINUTE: Final = timedelta(minutes=1)


async def usage_of(call: Call) -> dict[str, float]:
    """Return what the account uses of its quotas, by their ids; what is left out is not used.

    Of a minute's quota it is what was charged in the last minute, of one for each model or key that of the busiest. Units:
    requests, tokens, dollars.
    """
    moment = now()
    # First, since the limiter may be another server, and on SQLite whoever writes holds up all others once it has asked.
    num_places = await call.deps.limiter.num_places(call.account_id)
    connection = await call.db.connection()
    used: dict[str, float] = dict(await connection.run_sync(partial(_last_minute, call.account_id, moment)))
    found = await connection.run_sync(partial(standings, account_ids=[call.account_id], moment=moment))
    if call.account_id in found:
        used[MONTHLY_SPEND] = found[call.account_id].spent_nanos / NANOS_PER_UNIT
    used[CONCURRENT_REQUESTS] = num_places
    used[BATCH_JOBS] = await count_open(call.db, call.account_id)
    return used


def _last_minute(account_id: str, moment: datetime, connection: Connection) -> dict[str, int]:
    subjects = (DIMENSIONS.c.model, DIMENSIONS.c.api_key_id, RECORDS.c.user_id)
    statement = (
        select(*subjects, func.count(), func.sum(RECORDS.c.prompt_tokens))
        .join_from(RECORDS, DIMENSIONS, DIMENSIONS_OF_RECORD)
        .where(RECORDS.c.account_id == account_id, RECORDS.c.time > moment - A_MINUTE)
        .group_by(*subjects)
    )
    sums: Counter[tuple[str, Scope, str]] = Counter()
    for model, key_id, user_id, num_requests, num_tokens in connection.execute(statement):
        for scope, subject in ((Scope.ACCOUNT, ""), (Scope.MODEL, model), (Scope.KEY, key_id or f"users/{user_id}")):
            sums[REQUESTS, scope, subject] += num_requests
            sums[PROMPT_TOKENS, scope, subject] += int(num_tokens)
    used: dict[str, int] = {}
    for (counted, scope, _), number in sums.items():
        used[counted + scope] = max(number, used.get(counted + scope, 0))
    return used
