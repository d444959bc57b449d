"""`Policies`: what the other plane asks at every request, answered from memory for a second.

A change is noticed a second later at most, and at once by the process that made it (`forget`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import partial
from typing import Any

from embergate.gateway.fresh_cache import FreshCache
from embergate.gateway.policy_settings import store
from embergate.gateway.policy_settings.schemas import PolicyEffect
from embergate.storage.database import Database
from embergate.storage.tables.accounts import PolicyRow

# Whether each name that a policy has rules for may be used; None where there is no policy.
Answers = Mapping[str, bool] | None


class Policies:
    """Looks policies up in the database, at most once a second for each account."""

    def __init__(self, database: Database) -> None:
        """Start with an empty cache."""
        self._database = database
        self._answers: FreshCache[str, Answers] = FreshCache()

    async def allows(self, account_id: str, names: Collection[str]) -> bool:
        """Tell whether the account may embed with the model that has these names.

        Raises: UnavailableError if the database cannot be asked.
        """
        answers = await self._answers.get(account_id, partial(self._look_up, account_id))
        if answers is None:
            return True
        found = [answers[name] for name in names if name in answers]
        return bool(found) and all(found)

    def forget(self) -> None:
        """Look every policy up again: one of them may have changed."""
        self._answers.forget()

    async def _look_up(self, account_id: str) -> Answers:
        async with self._database.reading() as db:
            return _answers_in(await store.find(db, account_id))


def _answers_in(policy: PolicyRow | None) -> Answers:
    if policy is None:
        return None
    return {rule["model"]: _allows_serverless(rule) for rule in policy.rules}


def _allows_serverless(rule: Mapping[str, Any]) -> bool:
    return bool(rule["allow_serverless"]) and rule["effect"] != PolicyEffect.DENY
