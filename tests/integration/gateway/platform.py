"""The real application over a real database, with accounts, users and keys to call it with."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

import httpx2

from embergate.app.asgi import create_app
from embergate.app.gateway import gateway_over
from embergate.engine.engine import Engine
from embergate.engine.registry import Registry
from embergate.gateway.accounts import service as accounts
from embergate.gateway.accounts.schemas import Account
from embergate.gateway.api_keys import service as api_keys
from embergate.gateway.api_keys.schemas import ApiKey
from embergate.gateway.users import service as users
from embergate.gateway.users import store as user_store
from embergate.gateway.users.schemas import User
from embergate.inference.deps import Deps, InferenceLimits
from embergate.storage.database import Database
from embergate.web.caller import Role
from embergate.web.keyring import Keyring

MASTER_KEY: Final = bytes(range(32))


class Platform:
    """One server process's parts. Several of them may share a database."""

    def __init__(self, database: Database, *, master_keys: tuple[bytes, ...] = (MASTER_KEY,)) -> None:
        self.database = database
        self.keyring = Keyring(master_keys)
        self.gateway = gateway_over(database, self.keyring)
        limits = InferenceLimits(timeout_s=30)
        gateway = self.gateway
        self.deps = Deps(Engine(), Registry(), gateway.authenticator, gateway.policies, limits, is_ready=True)
        self.app = create_app(self.deps, self.gateway)

    def close(self) -> None:
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
