"""The real application over a real database, with accounts, users and keys to call it with."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, Literal, TypeVar

import httpx2
import pytest
from argon2 import PasswordHasher

from embergate.app.asgi import create_app
from embergate.app.gateway import MeterOptions, gateway_over
from embergate.app.objects import FileOptions
from embergate.app.uploaded_models import PoolOptions
from embergate.engine.engine import Engine
from embergate.gateway.accounts import service as accounts
from embergate.gateway.accounts.schemas import Account
from embergate.gateway.api_keys import service as api_keys
from embergate.gateway.api_keys.schemas import ApiKey
from embergate.gateway.models.imports.sources import ImportRules
from embergate.gateway.quotas.known import QuotaDefaults
from embergate.gateway.sessions import service as sessions
from embergate.gateway.sessions.oidc_client import OidcClient
from embergate.gateway.sessions.passwords import Passwords
from embergate.gateway.sessions.rules import SessionRules
from embergate.gateway.users import service as users
from embergate.gateway.users import store as user_store
from embergate.gateway.users.schemas import User
from embergate.gateway.webhooks.webhook import Webhook
from embergate.inference.deps import Deps, InferenceLimits
from embergate.storage.database import Database
from embergate.web.caller import Role
from embergate.web.keyring import Keyring
from embergate.web.limits import Limiter
from embergate.web.memory_limits import MemoryLimiter
from embergate.web.metrics import Metrics

MASTER_KEY: Final = bytes(range(32))
T = TypeVar("T")
# For what is decided before any database is asked, or alike on both.
on_sqlite_only = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
# For what several transactions do at once: SQLite has one writer at a time.
on_postgresql_only = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)


@dataclass(frozen=True)
class Tokens:
    """What a login answers."""

    token: str
    expireTime: str  # noqa: N815 - as on the wire
    refreshToken: str  # noqa: N815
    refreshExpireTime: str  # noqa: N815


class QuickHasher(PasswordHasher):
    """Argon2 with the least it can do with, which counts what it is asked."""

    def __init__(self) -> None:
        super().__init__(time_cost=1, memory_cost=8, parallelism=1)
        self.num_verified = 0

    def verify(self, hash: str | bytes, password: str | bytes) -> Literal[True]:  # noqa: A002 - the name is argon2's
        self.num_verified += 1
        return super().verify(hash, password)


class Platform:
    """One server process's parts. Several of them may share a database."""

    def __init__(
        self,
        database: Database,
        *,
        master_keys: tuple[bytes, ...] = (MASTER_KEY,),
        rules: SessionRules | None = None,
        oidc: OidcClient | None = None,
        limiter: Limiter | None = None,
        quotas: Mapping[str, int] | None = None,
        webhook: Webhook | None = None,
        files: FileOptions | None = None,
        pool: PoolOptions | None = None,
        import_rules: ImportRules | None = None,
    ) -> None:
        self.database = database
        self.keyring = Keyring(master_keys)
        self.hasher = QuickHasher()
        options = MeterOptions(limiter or MemoryLimiter(), QuotaDefaults(quotas), webhook=webhook)
        gateway = gateway_over(database, self.keyring, rules, oidc, options, files, pool)
        session_parts = replace(gateway.sessions, passwords=Passwords(self.hasher))
        self.gateway = replace(gateway, sessions=session_parts, import_rules=import_rules or ImportRules())
        limits = InferenceLimits(timeout_s=30)
        self.deps = Deps(
            Engine(),
            gateway.models.registry,
            gateway.authenticator,
            gateway.policies,
            gateway.meter,
            limits,
            Metrics(gateway.metrics.registry),
            is_ready=True,
            own_models=gateway.models.uploaded,
        )
        self.app = create_app(self.deps, self.gateway)

    async def close(self) -> None:
        """Let what is under way end. To be awaited before the database is closed."""
        await self.gateway.meter.close()
        await self.gateway.models.pool.close()
        self.deps.engine.close()

    async def add_account(self, account_id: str) -> str:
        """Add an account with an admin; return the admin's key."""
        async with self.database.writing() as db:
            await accounts.add(db, account_id, Account(email=f"owner@{account_id}.example"))
        return await self.add_user(account_id, "admin", Role.ADMIN)

    async def add_user(self, account_id: str, user_id: str, role: Role, *, is_operator: bool = False) -> str:
        """Add a user; return a key of theirs."""
        async with self.database.writing() as db:
            draft = User(role=role.value, email=f"{user_id}@{account_id}.example", display_name=user_id.title())
            await users.add(db, account_id, user_id, draft, role, is_operator=is_operator)
        return await self.add_key(account_id, user_id)

    async def add_key(self, account_id: str, user_id: str, *, expire_time: datetime | None = None) -> str:
        """Add a key, also one that has expired; return it."""
        async with self.database.writing() as db:
            user = await user_store.get(db, account_id, user_id)
            _, key = await api_keys.add(db, self.keyring, user, ApiKey(expire_time=expire_time))
        return key

    async def set_password(self, account_id: str, user_id: str, password: str) -> None:
        """Give a user a password, as an operator does."""
        password_hash = await self.gateway.sessions.passwords.hash(password)
        async with self.database.writing() as db:
            await sessions.replace_password(db, account_id, user_id, password_hash)

    async def log_in(self, **body: Any) -> Tokens:
        """Open a session."""
        answer = await self.call(None, "POST", "/v1/auth/login", json=body)
        assert answer.status_code == 200, answer.text
        return Tokens(**answer.json())

    async def refresh(self, refresh_token: str) -> httpx2.Response:
        """Ask for a fresh pair."""
        return await self.call(None, "POST", "/v1/auth/refresh", json={"refreshToken": refresh_token})

    async def trail(self, key: str, account_id: str, **query: str) -> list[dict[str, Any]]:
        """Return an account's audit entries as its admin sees them, newest first."""
        answer = await self.call(
            key, "GET", f"/v1/accounts/{account_id}/auditLogs", params={"pageSize": "200", **query}
        )
        assert answer.status_code == 200, answer.text
        entries: list[dict[str, Any]] = answer.json()["auditLogs"]
        return entries

    def client(self, key: str | None = None, **headers: str) -> httpx2.AsyncClient:
        """Return a client that shows this credential."""
        if key is not None:
            headers["authorization"] = f"Bearer {key}"
        transport = httpx2.ASGITransport(app=self.app)
        return httpx2.AsyncClient(transport=transport, base_url="http://test", headers=headers)

    async def call(self, key: str | None, method: str, path: str, **options: Any) -> httpx2.Response:
        """Make one call."""
        async with self.client(key) as client:
            return await client.request(method, path, **options)


async def on_platform(url: str, work: Callable[[Platform], Awaitable[T]]) -> T:
    """Do something with a server's parts over this database."""
    database = Database.open(url)
    platform = Platform(database)
    try:
        return await work(platform)
    finally:
        await platform.close()
        await database.close()
