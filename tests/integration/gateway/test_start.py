"""Servers that start together on one empty database, and what a start finds and makes there."""

from __future__ import annotations

import asyncio
import base64
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy import func, select, update

from embergate.app.gateway import prepare_gateway
from embergate.cli import serving
from embergate.clock import now
from embergate.errors import ConfigurationError
from embergate.gateway.startup import check_keyring
from embergate.settings import Settings
from embergate.storage.database import Database
from embergate.storage.tables.accounts import AccountRow, UserRow
from embergate.storage.tables.audit import AuditEntryRow
from embergate.storage.tables.credentials import ApiKeyRow, KeyringMarkRow
from embergate.web.keyring import Keyring
from tests.integration.gateway.platform import MASTER_KEY, Platform

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


def settings_of(url: str, key: str | None = GIVEN_KEY, account: str = "default") -> Settings:
    return Settings(
        database_url=SecretStr(url),
        secret_keys=SecretStr(base64.b64encode(MASTER_KEY).decode()),
        bootstrap_api_key=SecretStr(key) if key else None,
        bootstrap_account=account,
    )


async def entries_of(database: Database) -> list[AuditEntryRow]:
    async with database.reading() as db:
        return list((await db.execute(select(AuditEntryRow).order_by(AuditEntryRow.sequence))).scalars())


async def test_given_key_that_was_deleted_stops_the_start_and_stays_deleted(database_url: str) -> None:
    settings = settings_of(database_url)
    await prepare_gateway(settings)
    await prepare_gateway(settings)
    database = Database.open(database_url)
    platform = Platform(database)
    assert (await platform.call(GIVEN_KEY, "GET", "/v1/accounts")).status_code == 200
    keys = "/v1/accounts/default/users/admin/apiKeys"
    (key,) = (await platform.call(GIVEN_KEY, "GET", keys)).json()["apiKeys"]
    await platform.call(GIVEN_KEY, "POST", f"{keys}:delete", json={"keyId": key["keyId"]})
    with pytest.raises(ConfigurationError, match="was deleted; unset EMBERGATE_BOOTSTRAP_API_KEY or set another"):
        await prepare_gateway(settings)
    assert (await platform.call(GIVEN_KEY, "GET", "/v1/accounts")).status_code == 401
    await platform.close()
    await database.close()


async def test_given_key_that_does_not_work_for_the_first_admin_stops_the_start(sqlite_url: str) -> None:
    settings = settings_of(sqlite_url)
    await prepare_gateway(settings)
    with pytest.raises(ConfigurationError, match="is a key of accounts/default/users/admin"):
        await prepare_gateway(settings_of(sqlite_url, account="other"))
    database = Database.open(sqlite_url)
    async with database.writing() as db:
        await db.execute(update(ApiKeyRow).values(expire_time=now() - timedelta(seconds=1)))
    with pytest.raises(ConfigurationError, match="has expired"):
        await prepare_gateway(settings)
    await database.close()


async def test_what_a_start_makes_stands_in_the_platforms_trail(sqlite_url: str) -> None:
    await prepare_gateway(settings_of(sqlite_url, key=None))
    database = Database.open(sqlite_url)
    (entry,) = await entries_of(database)
    assert (entry.account_id, entry.method, entry.is_admin_action) == ("", "/gateway.Gateway/Bootstrap", True)
    assert entry.payload["made"] == ["accounts/default", "accounts/default/users/admin", entry.resource]
    assert entry.resource.startswith("accounts/default/users/admin/apiKeys/key_")
    await prepare_gateway(settings_of(sqlite_url, key=None))  # makes nothing
    for _ in range(2):  # one more key, made once
        await prepare_gateway(settings_of(sqlite_url))
    _, second = await entries_of(database)
    assert second.payload == {"made": [second.resource]}
    assert GIVEN_KEY not in str(second.payload)
    await database.close()


async def test_two_that_leave_the_same_marks_at_once_both_succeed(postgresql_url: str) -> None:
    database = Database.open(postgresql_url)
    rings = [Keyring(keys) for keys in ((MASTER_KEY, bytes(32)), (bytes(32), MASTER_KEY))]
    async with database.writing() as db:
        await check_keyring(db, rings[0])
        # The other has seen no mark before these are committed.
        other = asyncio.create_task(_check(database, rings[1]))
        await asyncio.sleep(0.3)
    await other
    async with database.reading() as db:
        assert await db.scalar(select(func.count()).select_from(KeyringMarkRow)) == 2
    await database.close()


async def _check(database: Database, keyring: Keyring) -> None:
    async with database.writing() as db:
        await check_keyring(db, keyring)


def test_first_key_is_printed_before_anything_else_can_fail(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ConfigurationError("no such luck")

    monkeypatch.setattr(serving, "configure_logs", lambda _level: None)
    monkeypatch.setattr(serving, "listen", lambda _host, _port: [])
    monkeypatch.setattr(serving, "build_deps", fail)
    with pytest.raises(ConfigurationError, match="no such luck"):
        serving.run_server(Settings(data_dir=tmp_path, port=0))
    assert "The first API key, shown only now: eg_" in capsys.readouterr().err
