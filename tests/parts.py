"""The parts of both planes over a database of SQLite, with one account and its key, for tests of the inference plane."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from fastapi import FastAPI

from embergate.app.asgi import create_app
from embergate.app.gateway import gateway_over
from embergate.engine.engine import Engine
from embergate.gateway.deps import GatewayDeps
from embergate.gateway.startup import first_account
from embergate.inference.deps import Deps, InferenceLimits
from embergate.storage.database import Database
from embergate.web.keyring import Keyring
from embergate.web.metrics import Metrics


@dataclass(slots=True)
class Parts(Deps):
    """The parts of the inference plane, and the gateway's beside them."""

    gateway: GatewayDeps = field(kw_only=True)


def app_of(parts: Parts) -> FastAPI:
    """Return the application over the parts."""
    return create_app(parts, parts.gateway)


@asynccontextmanager
async def parts_over(database_url: str, key: str, limits: InferenceLimits) -> AsyncIterator[Parts]:
    """Open the parts over a migrated database, and let `key` in."""
    database, keyring = Database.open(database_url), Keyring([bytes(range(32))])
    async with database.writing() as db:
        await first_account(db, keyring, "default", key)
    gateway = gateway_over(database, keyring)
    engine = Engine()
    metrics = Metrics(gateway.metrics.registry)
    parts = (engine, gateway.models.registry, gateway.authenticator, gateway.policies, gateway.meter, limits, metrics)
    yield Parts(*parts, gateway=gateway)
    engine.close()
    await gateway.meter.close()
    await database.close()
