"""`embergate secrets rotate`, as a process on either database."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import subprocess
import sys
from pathlib import Path

from sqlalchemy import update

from embergate.gateway.audit.trail import AUDIT_SEAL
from embergate.gateway.secrets.service import reveal
from embergate.storage.database import Database
from embergate.storage.tables.credentials import SecretRow
from embergate.web.keyring import Keyring
from tests.integration.gateway.platform import MASTER_KEY, Platform
from tests.integration.gateway.trails import verified

NEW_KEY = bytes(range(100, 132))


def rotate(*arguments: str, keys: tuple[bytes, ...], **settings: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("EMBERGATE_")}
    given = {"secret_keys": ",".join(base64.b64encode(key).decode() for key in keys), **settings}
    environment |= {f"EMBERGATE_{name.upper()}": value for name, value in given.items()}
    command = [sys.executable, "-m", "embergate.cli.main", "secrets", "rotate", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)


async def keep(url: str, *secret_ids: str) -> None:
    database = Database.open(url)
    platform = Platform(database)
    key = await platform.add_account("mine")
    for secret_id in secret_ids:
        body = {"name": f"accounts/mine/secrets/{secret_id}", "keyName": "K", "value": f"value of {secret_id}"}
        assert (await platform.call(key, "POST", "/v1/accounts/mine/secrets", json=body)).status_code == 200
    await platform.close()
    await database.close()


async def value_of(url: str, secret_id: str, key: bytes) -> str:
    database = Database.open(url)
    async with database.reading() as db:
        value = await reveal(db, Keyring([key]), "mine", secret_id)
    await database.close()
    return value


async def lose(url: str, secret_id: str) -> None:
    database = Database.open(url)
    async with database.writing() as db:
        await db.execute(update(SecretRow).where(SecretRow.id == secret_id).values(encrypted_value=b"of another key"))
    await database.close()


async def platform_trail(url: str) -> int:
    """Return how many entries the platform's own chain has; all chains are intact."""
    database = Database.open(url)
    reports = await verified(database, Keyring([NEW_KEY, MASTER_KEY]).keys(AUDIT_SEAL))
    await database.close()
    assert all(report.is_intact for report in reports.values())
    return reports[""].num_intact


def test_secrets_need_only_the_new_key_afterwards(database_url: str) -> None:
    asyncio.run(keep(database_url, "one", "two"))
    done = rotate("--json", keys=(NEW_KEY, MASTER_KEY), database_url=database_url)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == {"rotated": 2, "lost": []}
    assert asyncio.run(value_of(database_url, "two", NEW_KEY)) == "value of two"
    assert asyncio.run(platform_trail(database_url)) == 1


def test_secret_that_is_lost_is_named(database_url: str) -> None:
    asyncio.run(keep(database_url, "one", "two"))
    asyncio.run(lose(database_url, "one"))
    done = rotate(keys=(NEW_KEY, MASTER_KEY), database_url=database_url)
    assert (done.returncode, done.stdout.splitlines()) == (
        1,
        [
            "1 encrypted with the newest key",
            "accounts/mine/secrets/one: none of the keys decrypts it; set its value again",
        ],
    )
    assert asyncio.run(value_of(database_url, "two", NEW_KEY)) == "value of two"


def test_rotation_without_a_database_makes_none(tmp_path: Path) -> None:
    done = rotate(keys=(NEW_KEY,), data_dir=str(tmp_path))
    assert (done.returncode, done.stdout) == (1, "")
    assert "there is no database in" in done.stderr
    assert not list(tmp_path.iterdir())
