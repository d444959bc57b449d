"""`kill -9` while the gateway writes: what was acknowledged is there with its audit entry, and nothing is half there."""

from __future__ import annotations

import asyncio
import itertools
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import httpx2
from sqlalchemy import func, select

from embergate.gateway.credits.ledger import GRANTED_CREDIT, balance, check, credit_of
from embergate.gateway.secrets.service import reveal
from embergate.storage.tables.accounts import UserRow
from embergate.storage.tables.audit import AuditEntryRow
from embergate.storage.tables.credentials import ApiKeyRow, RefreshTokenRow, SecretRow, SessionRow
from embergate.storage.tables.credits import CreditCodeRow, CreditRedemptionRow
from tests.e2e.clients import Clients
from tests.e2e.server import Server, on_database
from tests.integration.gateway.operating import make_code
from tests.integration.gateway.platform import Platform, on_platform
from tests.integration.gateway.trails import verified

NUM_CALLS: Final = 200
NUM_KILLS: Final = 4
NUM_THREADS: Final = 4
ACCOUNT: Final = "accounts/default"
KEYS: Final = f"/v1/{ACCOUNT}/users/admin/apiKeys"
CODE_NANOS: Final = 12_500_000_000
METHOD: Final = "/gateway.Gateway/"
# How often each kind of call is made.
KINDS: Final = ("user", "redeem", "key", "rotate", "refresh", "refresh", "secret", "change secret")


@dataclass
class Told:
    """What the servers acknowledged, and what they were asked and never answered."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    num_calls: int = 0
    num_acknowledged: int = 0
    unanswered: list[str] = field(default_factory=list)
    users: set[str] = field(default_factory=set)
    codes: set[str] = field(default_factory=set)
    # Each key by its id; what it was replaced by, where it was.
    keys: dict[str, str] = field(default_factory=dict)
    replaced: dict[str, str] = field(default_factory=dict)
    # What a secret may be: the last value that was acknowledged, and one that may have come after it.
    secrets: dict[str, set[str]] = field(default_factory=dict)
    # The refresh token of each session whose last refresh was answered.
    live_tokens: set[str] = field(default_factory=set)

    def has_acknowledged(self, num_calls: int) -> bool:
        return self.num_acknowledged >= num_calls


class KilledError(Exception):
    """The server is gone."""


class Worker:
    """Makes calls, one after the other, on one server after the other."""

    def __init__(self, told: Told, turns: Iterator[tuple[int, str]]) -> None:
        self.told, self.turns = told, turns
        self.my_keys: list[str] = []
        self.my_secrets: list[str] = []
        self.refresh_token = ""
        self.acts: dict[str, Callable[[int], None]] = {
            "user": self.create_user,
            "redeem": self.redeem,
            "key": self.create_key,
            "rotate": self.rotate,
            "refresh": self.refresh,
            "secret": self.create_secret,
            "change secret": self.change_secret,
        }

    def work(self, server: Server) -> None:
        """Call until the server is gone or there is nothing left to do."""
        with server.client() as self.client:
            try:
                while (turn := self.next_turn()) is not None:
                    number, kind = turn
                    self.acts[kind](number)
            except KilledError:
                return

    def next_turn(self) -> tuple[int, str] | None:
        with self.told.lock:
            return next(self.turns, None)

    def post(self, path: str, body: dict[str, Any], method: str = "POST") -> dict[str, Any]:
        """Make a call that changes something. Raises: KilledError if there is no answer."""
        with self.told.lock:
            self.told.num_calls += 1
        try:
            answer = self.client.request(method, path, json=body)
        except httpx2.ConnectError:  # it was gone before it was asked
            raise KilledError from None
        except httpx2.TransportError:
            with self.told.lock:
                self.told.unanswered.append(path)
            raise KilledError from None
        assert answer.status_code == 200, answer.text
        with self.told.lock:
            self.told.num_acknowledged += 1
        found: dict[str, Any] = answer.json()
        return found

    def create_user(self, number: int) -> None:
        user_id = f"user-{number}"
        self.post(f"/v1/{ACCOUNT}/users?userId={user_id}", {"role": "user", "email": f"{user_id}@example.org"})
        self.told.users.add(user_id)

    def redeem(self, number: int) -> None:
        self.post("/v1/creditCodes:redeem", {"code": f"CODE-{number}", "name": ACCOUNT})
        self.told.codes.add(f"CODE-{number}")

    def create_key(self, number: int) -> None:
        made = self.post(KEYS, {"apiKey": {"displayName": f"key-{number}"}})
        self.told.keys[made["keyId"]] = made["key"]
        self.my_keys.append(made["keyId"])

    def rotate(self, number: int) -> None:
        if not self.my_keys:
            return self.create_key(number)
        old = self.my_keys.pop()
        made = self.post(f"{KEYS}/{old}:rotate", {"gracePeriod": "3600s"})
        self.told.keys[made["keyId"]] = made["key"]
        self.told.replaced[old] = made["keyId"]
        return None

    def refresh(self, _: int) -> None:
        spent, self.refresh_token = self.refresh_token, ""  # whether it is spent, only an answer tells
        self.told.live_tokens.discard(spent)
        if spent:
            pair = self.post("/v1/auth/refresh", {"refreshToken": spent})
        else:
            pair = self.post("/v1/auth/login", {"apiKey": self.client.headers["authorization"].split()[1]})
        self.refresh_token = pair["refreshToken"]
        self.told.live_tokens.add(self.refresh_token)

    def create_secret(self, number: int) -> None:
        secret_id = f"secret-{number}"
        body = {"name": f"{ACCOUNT}/secrets/{secret_id}", "keyName": "K", "value": f"value {number}"}
        self.post(f"/v1/{ACCOUNT}/secrets", body)
        self.told.secrets[secret_id] = {body["value"]}
        self.my_secrets.append(secret_id)

    def change_secret(self, number: int) -> None:
        if not self.my_secrets:
            return self.create_secret(number)
        secret_id, value = self.my_secrets[-1], f"value {number}"
        self.told.secrets[secret_id].add(value)
        self.post(f"/v1/{ACCOUNT}/secrets/{secret_id}", {"value": value}, "PATCH")
        self.told.secrets[secret_id] = {value}
        return None


async def make_codes(platform: Platform) -> None:
    for number in range(NUM_CALLS):
        if KINDS[number % len(KINDS)] == "redeem":
            await make_code(platform, f"CODE-{number}")


def test_acknowledged_writes_survive_with_their_audit_entries(
    database_url: str, tmp_path: Path, tiny_model: str
) -> None:
    generator = random.Random(20_261_124)
    settings = on_database(database_url, models=tiny_model)
    asyncio.run(on_platform(database_url, make_codes))
    told = Told()
    turns = zip(range(NUM_CALLS), itertools.cycle(KINDS), strict=False)
    workers = [Worker(told, turns) for _ in range(NUM_THREADS)]
    for number in range(NUM_KILLS):
        with Server(tmp_path, **settings) as server:
            clients = Clients([partial(worker.work, server) for worker in workers])
            clients.wait_until(partial(told.has_acknowledged, generator.randint(number * 40 + 10, number * 40 + 30)))
            time.sleep(generator.uniform(0, 0.02))
            server.process.kill()
            clients.join()
            server.process.wait()
    assert told.unanswered, "no call was under way when a server was killed"
    assert len(told.unanswered) <= NUM_KILLS * NUM_THREADS
    with Server(tmp_path, **settings) as server:
        workers[0].work(server)
        assert next(turns, None) is None
        assert told.num_calls == NUM_CALLS
        with server.client() as client:
            for key in told.keys.values():
                answer = client.get("/v1/models", headers={"authorization": f"Bearer {key}"})
                assert answer.status_code == 200
            for token in told.live_tokens:
                assert client.post("/v1/auth/refresh", json={"refreshToken": token}).status_code == 200
    asyncio.run(on_platform(database_url, lambda platform: check_all(platform, told)))


async def check_all(platform: Platform, told: Told) -> None:
    """Compare what is in the database with what was told, and with the audit trail."""
    async with platform.database.reading() as db:
        entries = [
            (entry.method.removeprefix(METHOD), entry.resource, entry.message)
            for entry in await db.execute(
                select(AuditEntryRow.method, AuditEntryRow.resource, AuditEntryRow.message).where(
                    AuditEntryRow.status_code == "OK", AuditEntryRow.account_id == "default"
                )
            )
        ]
        users = set((await db.execute(select(UserRow.id).where(UserRow.id.startswith("user-")))).scalars())
        redemptions = (await db.execute(select(CreditRedemptionRow))).scalars()
        redeemed = {redemption.id: redemption.credit_code for redemption in redemptions}
        keys = {row.key_id: row for row in (await db.execute(select(ApiKeyRow))).scalars()}
        secrets = set((await db.execute(select(SecretRow.id))).scalars())
        num_used = await db.scalar(select(func.sum(CreditCodeRow.num_redemptions)))
        num_sessions = await db.scalar(select(func.count()).select_from(SessionRow))
        num_spent = await db.scalar(select(func.count(RefreshTokenRow.spend_time)))
        credit = await balance(db, credit_of("default"), "USD")
        granted = await balance(db, GRANTED_CREDIT, "USD")
        assert await check(db) == []
        for secret_id, values in told.secrets.items():
            assert await reveal(db, platform.keyring, "default", secret_id) in values
    resources = Counter((method, resource) for method, resource, _ in entries)
    methods = Counter(method for method, _, _ in entries)

    def written(method: str, collection: str) -> list[str]:
        return sorted(
            resource.removeprefix(f"{ACCOUNT}/{collection}/")
            for name, resource in resources.elements()
            if name == method
        )

    # Whatever is there has one entry, whatever has an entry is there, and what was acknowledged is among it.
    assert told.users <= users
    assert written("CreateUser", "users") == sorted(users)
    assert told.codes <= set(redeemed.values())
    assert written("RedeemCreditCode", "creditRedemptions") == sorted(redeemed)
    assert (num_used, credit, granted) == (len(redeemed), len(redeemed) * CODE_NANOS, -len(redeemed) * CODE_NANOS)
    assert told.secrets.keys() <= secrets
    assert written("CreateSecret", "secrets") == sorted(secrets)
    replacements = {
        resource.rsplit("/", 1)[1]: message.removeprefix("replaced by ")
        for method, resource, message in entries
        if method == "RotateApiKey"
    }
    assert told.replaced.items() <= replacements.items()
    assert told.keys.keys() <= keys.keys()
    made = written("CreateApiKey", "users/admin/apiKeys") + list(replacements.values())
    assert sorted(made) == sorted(key_id for key_id, row in keys.items() if row.display_name.startswith("key-"))
    assert {key_id for key_id, row in keys.items() if row.expire_time is not None} == replacements.keys()
    assert (methods["Login"], methods["RefreshSessionToken"]) == (num_sessions, num_spent)
    reports = await verified(platform.database)
    assert reports["default"].num_intact >= told.num_acknowledged
    assert [report for report in reports.values() if not report.is_intact] == []
