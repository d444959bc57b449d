"""The operator's own acts, for tests that need what the API has no operation for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from embergate.aip.message import parse_message
from embergate.app.operating import OperatorAuthenticator, act
from embergate.gateway.credits import service
from embergate.gateway.credits.schemas import CreditCode
from embergate.gateway.deps import GatewayDeps
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
