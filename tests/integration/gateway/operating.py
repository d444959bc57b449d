"""The operator's own acts, for tests that need what the API has no operation for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from embergate.aip.message import parse_message
from embergate.app.operating import OperatorAuthenticator, act
from embergate.clock import now
from embergate.gateway.accounts.schemas import SuspendState
from embergate.gateway.credits import service
from embergate.gateway.credits.ledger import GRANTED_CREDIT, credit_of, post
from embergate.gateway.credits.schemas import CreditCode
from embergate.gateway.deps import GatewayDeps
from embergate.gateway.usage.standing import CURRENCY, Billing
from embergate.storage.database import Database
from embergate.storage.tables.accounts import AccountRow
from embergate.web.caller import Caller, Role
from tests.integration.gateway.platform import Platform

OPERATOR: Final = Caller(account="", user="ops", email="ops@cli", role=Role.ADMIN, is_operator=True)


def gateway_of_operator(platform: Platform) -> GatewayDeps:
    return replace(platform.gateway, authenticator=OperatorAuthenticator(OPERATOR))


async def make_code(platform: Platform, code: str = "WELCOME", **fields: Any) -> CreditCode:
    """Make a code that is worth 12.50 USD, once, unless the fields say otherwise."""
    body = {"code": code, "amount": {"currencyCode": "USD", "units": "12", "nanos": 500_000_000}, **fields}
    async with act(gateway_of_operator(platform), "CreateCreditCode") as call:
        return await service.create_code(call, parse_message(CreditCode, body))


async def disable_code(platform: Platform, code: str) -> CreditCode:
    async with act(gateway_of_operator(platform), "DisableCreditCode") as call:
        return await service.disable_code(call, code)


async def add_payer(database: Database, account_id: str, billing: Billing, credit_nanos: int = 0) -> None:
    """Add an account that nobody can log in to, for what only asks how it pays."""
    texts = {"display_name": "", "email": "a@b.example", "account_type": "", "state": "READY"}
    states = {"suspend_state": SuspendState.UNSUSPENDED.value, "billing": billing.value}
    async with database.writing() as db:
        db.add(AccountRow(id=account_id, create_time=now(), update_time=now(), **texts, **states))
        if credit_nanos:
            await post(db, "test", CURRENCY, {credit_of(account_id): credit_nanos, GRANTED_CREDIT: -credit_nanos})
