"""What the gateway does beside its calls: now and then it writes down when keys were last used, and drops what has expired."""

from __future__ import annotations

import asyncio
from typing import Final

import structlog

from embergate.errors import UnavailableError
from embergate.gateway.api_keys.store import note_use
from embergate.gateway.deps import GatewayDeps

# A key's last use is known this exactly.
SETTLE_EVERY_S: Final = 10.0
log: structlog.stdlib.BoundLogger = structlog.get_logger()


async def keep_up(gateway: GatewayDeps) -> None:
    """Settle again and again, until cancelled."""
    while True:
        await asyncio.sleep(SETTLE_EVERY_S)
        await settle(gateway)


async def settle(gateway: GatewayDeps) -> None:
    """Write down what has gathered in memory. A database that cannot be reached is tried again the next time."""
    used = gateway.authenticator.take_used()
    if not used:
        return
    try:
        async with gateway.database.writing() as db:
            await note_use(db, used)
    except UnavailableError:
        log.warning("last_use_not_written", num_keys=len(used))
