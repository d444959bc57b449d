"""A call that fails at any of its statements leaves nothing behind but the entry that says so."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import event, select

from embergate.storage.rows import Base
from embergate.storage.tables.audit import AuditEntryRow
from tests.integration.gateway.operating import make_code
from tests.integration.gateway.platform import Platform
from tests.integration.gateway.trails import verified

MINE = "/v1/accounts/mine"
KEYS = f"{MINE}/users/admin/apiKeys"
TRAILS = {"audit_entries", "audit_heads"}
MAX_STEPS = 60


class BrokenError(Exception):
    """The step that was to fail."""


@contextmanager
def failing_at(platform: Platform, step: int) -> Iterator[list[int]]:
    """Let the database fail once, at the `step`-th of its statements; yield how many there were."""
    engine = platform.database._engines.writing.sync_engine
    counted = [0]

    def count(*_: object) -> None:
        counted[0] += 1
        if counted[0] == step:
            raise BrokenError

    event.listen(engine, "before_cursor_execute", count)
    try:
        yield counted
    finally:
        event.remove(engine, "before_cursor_execute", count)


async def rows_of(platform: Platform) -> dict[str, list[str]]:
    """Return everything that is in the database, but for the trails."""
    async with platform.database.reading() as db:
        return {
            name: sorted(repr(tuple(row)) for row in await db.execute(select(table)))
            for name, table in Base.metadata.tables.items()
            if name not in TRAILS
        }


async def num_done(platform: Platform, method: str) -> int:
    """Return how many entries of the trail say that such a call succeeded."""
    done = select(AuditEntryRow.id).where(
        AuditEntryRow.method.endswith(f"/{method}"), AuditEntryRow.status_code == "OK"
    )
    async with platform.database.reading() as db:
        return len((await db.execute(done)).all())


async def calls_of(platform: Platform, admin: str) -> dict[str, tuple[str, str, dict[str, Any]]]:
    """Return a call of each kind that changes something, and make what it needs."""
    await make_code(platform)
    key_ids = []
    for _ in range(2):
        made = await platform.call(admin, "POST", KEYS, json={"apiKey": {}})
        key_ids.append(made.json()["keyId"])
    secret = {"name": "accounts/mine/secrets/there", "keyName": "K", "value": "v"}
    assert (await platform.call(admin, "POST", f"{MINE}/secrets", json=secret)).status_code == 200
    tokens = [(await platform.log_in(apiKey=admin)).refreshToken for _ in range(2)]
    return {
        "CreateUser": ("POST", f"{MINE}/users?userId=ada", {"email": "ada@mine.example", "role": "user"}),
        "UpdateUser": ("PATCH", f"{MINE}/users/admin", {"displayName": "Changed"}),
        "CreateApiKey": ("POST", KEYS, {"apiKey": {}}),
        "RotateApiKey": ("POST", f"{KEYS}/{key_ids[0]}:rotate", {}),
        "DeleteApiKey": ("POST", f"{KEYS}:delete", {"keyId": key_ids[1]}),
        "CreateSecret": ("POST", f"{MINE}/secrets", {**secret, "name": "accounts/mine/secrets/new"}),
        "UpdateSecret": ("PATCH", f"{MINE}/secrets/there", {"value": "changed"}),
        "DeleteSecret": ("DELETE", f"{MINE}/secrets/there", {}),
        "RedeemCreditCode": ("POST", "/v1/creditCodes:redeem", {"code": "WELCOME", "name": "accounts/mine"}),
        "UpdatePolicySettings": ("PATCH", f"{MINE}/policySettings", {"rules": []}),
        "Login": ("POST", "/v1/auth/login", {"apiKey": admin}),
        "RefreshSessionToken": ("POST", "/v1/auth/refresh", {"refreshToken": tokens[0]}),
        "Logout": ("POST", "/v1/auth/logout", {"refreshToken": tokens[1]}),
    }


@pytest.mark.parametrize("first", [0, 1, 2])
async def test_call_that_fails_at_any_statement_leaves_nothing_half_done(platform: Platform, first: int) -> None:
    admin = await platform.add_account("mine")
    calls = await calls_of(platform, admin)
    for method, (verb, path, body) in list(calls.items())[first::3]:
        before, done_before = await rows_of(platform), await num_done(platform, method)
        for step in range(1, MAX_STEPS):
            with failing_at(platform, step) as counted:
                answer = await platform.call(admin, verb, path, json=body)
            if counted[0] < step:
                break
            assert answer.status_code == 500, (method, step, answer.text)
            assert await rows_of(platform) == before, (method, step)
            assert await num_done(platform, method) == done_before, (method, step)
        assert answer.status_code == 200, (method, answer.text)
        assert step > 3, method
        assert await rows_of(platform) != before, method
        assert await num_done(platform, method) == done_before + 1, method
    assert all(report.is_intact for report in (await verified(platform.database)).values())
