"""Servers that start together on one empty database."""

from __future__ import annotations

import asyncio
import base64

import pytest
from pydantic import SecretStr
from sqlalchemy import func, select

from embergate.app.gateway import prepare_gateway
from embergate.settings import Settings
from embergate.storage.database import Database
from embergate.storage.tables.accounts import AccountRow, UserRow
from embergate.storage.tables.credentials import ApiKeyRow
from tests.integration.gateway.platform import MASTER_KEY

NUM_SERVERS = 4
GIVEN_KEY = "eg_given-by-the-operator-at-the-start"


@pytest.mark.parametrize("given", [None, SecretStr(GIVEN_KEY)], ids=["made", "given"])
async def test_first_account_and_key_are_made_once(
    database_url: str, database: Database, given: SecretStr | None
) -> None:
    settings = Settings(
        database_url=SecretStr(database_url),
        secret_keys=SecretStr(base64.b64encode(MASTER_KEY).decode()),
        bootstrap_api_key=given,
    )
    printed = await asyncio.gather(*(prepare_gateway(settings) for _ in range(NUM_SERVERS)))
    assert sum(key is not None for key in printed) == (given is None)
    async with database.reading() as db:
        counts = [await db.scalar(select(func.count()).select_from(row)) for row in (AccountRow, UserRow, ApiKeyRow)]
    assert counts == [1, 1, 1]
