"""What the gateway does beside its calls: now and then it writes down when keys were last used, and drops what has expired."""

from __future__ import annotations

import asyncio
from typing import Final

import structlog

from embergate.clock import monotonic_s
from embergate.errors import UnavailableError
from embergate.gateway.api_keys.store import note_use
from embergate.gateway.deps import GatewayDeps
from embergate.gateway.sessions import service as sessions

# A key's last use is known this exactly.
SETTLE_EVERY_S: Final = 10.0
PURGE_EVERY_S: Final = 3600.0
log: structlog.stdlib.BoundLogger = structlog.get_logger()


async def keep_up(gateway: GatewayDeps) -> None:
    """Settle again and again, and purge now and then, until cancelled."""
    purged_at_s = monotonic_s()
    while True:
        await asyncio.sleep(SETTLE_EVERY_S)
        try:
            await settle(gateway)
            if monotonic_s() - purged_at_s >= PURGE_EVERY_S:
                purged_at_s = monotonic_s()
                await purge(gateway)
        except Exception:
            log.exception("upkeep_failed")  # a bug; what is due the next time is done all the same


async def settle(gateway: GatewayDeps) -> None:
    """Write down what has gathered in memory. A database that cannot be reached is tried again the next time."""
    used = gateway.authenticator.take_used()
    if not used:
        return
    try:
        async with gateway.database.writing() as db:
            await note_use(db, used)
    except UnavailableError:
        gateway.authenticator.put_back_used(used)
        log.warning("last_use_not_written", num_keys=len(used))


async def purge(gateway: GatewayDeps) -> None:
    """Delete what ended long ago. A database that cannot be reached is tried again the next time."""
    try:
        await sessions.purge(gateway.database, gateway.sessions)
    except UnavailableError:
        log.warning("purge_put_off")
