"""The operator at work on the database itself: no server and no key, but the rules of the API, and its audit trail.

A server that runs meanwhile notices a revoked key within a second.
"""

from __future__ import annotations

import getpass
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from fastapi import FastAPI

from embergate import __version__
from embergate.app.gateway import DATABASE_FILE, open_gateway
from embergate.app.objects import prepare_objects
from embergate.app.rooms import add_gateway
from embergate.clock import now
from embergate.errors import ConfigurationError
from embergate.gateway.audit.trail import PLATFORM, Event
from embergate.gateway.call import Call
from embergate.gateway.deps import GatewayDeps
from embergate.gateway.edge import unit_of_work
from embergate.gateway.startup import check_keyring
from embergate.settings import Settings
from embergate.storage.migrate import SchemaState, require_current, state, upgrade
from embergate.web.caller import Caller, Role

USER_AGENT: Final = f"embergate-cli/{__version__}"


@dataclass(frozen=True, slots=True)
class OperatorAuthenticator:
    """Takes whoever can open the database for the operator."""

    caller: Caller

    async def authenticate(self, credential: str) -> Caller:  # noqa: ARG002 - there is none
        """Return the operator."""
        return self.caller

    def forget(self) -> None:
        """Do nothing: nothing is remembered."""

    def take_used(self) -> Mapping[str, datetime]:
        """Return that no key was used."""
        return {}

    def put_back_used(self, used: Mapping[str, datetime]) -> None:
        """Do nothing: none was taken."""


@asynccontextmanager
async def operator_gateway(settings: Settings, *, may_create: bool = False) -> AsyncIterator[GatewayDeps]:
    """Open the gateway's parts over the settings' database, for the operator.

    Raises: ConfigurationError if the database is not there (unless it may be made in the data directory), is not of this
        version, or belongs to another secret.
    """
    embedded = settings.database_url is None
    if embedded and not may_create and not (settings.data_dir / DATABASE_FILE).exists():
        raise ConfigurationError(
            f"there is no database in {settings.data_dir}: start the server or make an account with `embergate accounts "
            "create`; or name another place with EMBERGATE_DATA_DIR or EMBERGATE_DATABASE_URL"
        )
    gateway = open_gateway(settings)
    try:
        if embedded and await state(gateway.database) is SchemaState.EMPTY:
            await upgrade(gateway.database)
        await require_current(gateway.database)
        async with gateway.database.writing() as db:
            await check_keyring(db, gateway.keyring)
        prepare_objects(settings)
        yield replace(gateway, authenticator=OperatorAuthenticator(_operator()))
    finally:
        await gateway.meter.close()
        await gateway.objects.close()
        await gateway.database.close()


def operator_app(gateway: GatewayDeps) -> FastAPI:
    """Return the API over the gateway alone; whoever calls it is the gateway's authenticator's business."""
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
    add_gateway(app, gateway)
    return app


@asynccontextmanager
async def act(
    gateway: GatewayDeps, method: str, account_id: str = PLATFORM, payload: dict[str, Any] | None = None
) -> AsyncIterator[Call]:
    """Do what the API has no operation for: in one transaction, with an entry in the audit trail of the account."""
    call = await _call(gateway, method, account_id, payload)
    async with unit_of_work(call, writes=True, audited=True):
        yield call


@asynccontextmanager
async def look(
    gateway: GatewayDeps, account_id: str = PLATFORM, method: str = "", payload: dict[str, Any] | None = None
) -> AsyncIterator[Call]:
    """Read what the API has no operation for, as it is at one moment; if there is a `method`, the trail says so."""
    call = await _call(gateway, method, account_id, payload)
    async with unit_of_work(call, writes=False, audited=bool(method)):
        yield call


async def _call(gateway: GatewayDeps, method: str, account_id: str, payload: dict[str, Any] | None) -> Call:
    caller = await gateway.authenticator.authenticate("")
    event = Event(method, timestamp=now(), user_agent=USER_AGENT, payload=payload or {})
    event.by(caller, account_id)
    event.is_admin_action = True  # also where it is in no account
    event.resource = f"accounts/{account_id}" if account_id else ""
    return Call(caller, gateway, db=None, event=event, account_id=account_id)  # type: ignore[arg-type]


def _operator() -> Caller:
    """Return the operator as the trail names it: by who is logged in on this machine."""
    try:
        name = getpass.getuser()
    except (OSError, KeyError):  # a container's user need not have a name
        name = "operator"
    return Caller(account=PLATFORM, user=name, email=f"{name}@cli", role=Role.ADMIN, is_operator=True)
