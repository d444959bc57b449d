"""`Policies`: what the other plane asks at every request, answered from memory for a second.

A change is noticed a second later at most, and at once by the process that made it (`forget`).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Mapping
from typing import Any, Final

from embergate.clock import monotonic_s
from embergate.gateway.policy_settings import store
from embergate.gateway.policy_settings.schemas import PolicyEffect
from embergate.storage.database import Database
from embergate.storage.tables.accounts import PolicyRow

TTL_S: Final = 1.0
MAX_CACHED: Final = 20_000

# Whether each name that a policy has rules for may be used; None where there is no policy.
Answers = Mapping[str, bool] | None


class Policies:
    """Looks policies up in the database, at most once a second for each account."""

    def __init__(self, database: Database) -> None:
        """Start with an empty cache."""
        self._database = database
        self._cache: OrderedDict[str, tuple[float, Answers]] = OrderedDict()
        self._generation = 0

    async def allows(self, account_id: str, names: Collection[str]) -> bool:
        """Tell whether the account may embed with the model that has these names.

        Raises: UnavailableError if the database cannot be asked.
        """
        answers = await self._answers_of(account_id)
        if answers is None:
            return True
        found = [answers[name] for name in names if name in answers]
        return bool(found) and all(found)

    def forget(self) -> None:
        """Look every policy up again: one of them may have changed."""
        self._generation += 1
        self._cache.clear()

    async def _answers_of(self, account_id: str) -> Answers:
        looked_up_at_s, answers = self._cache.get(account_id, (None, None))
        if looked_up_at_s is not None and monotonic_s() - looked_up_at_s < TTL_S:
            return answers
        generation, looked_up_at_s = self._generation, monotonic_s()
        async with self._database.reading() as db:
            answers = _answers_in(await store.find(db, account_id))
        if generation == self._generation:  # what was looked up before a change must not outlive it
            self._cache[account_id] = (looked_up_at_s, answers)
            self._cache.move_to_end(account_id)
            if len(self._cache) > MAX_CACHED:
                self._cache.popitem(last=False)
        return answers


def _answers_in(policy: PolicyRow | None) -> Answers:
    if policy is None:
        return None
    return {rule["model"]: _allows_serverless(rule) for rule in policy.rules}


def _allows_serverless(rule: Mapping[str, Any]) -> bool:
    return bool(rule["allow_serverless"]) and rule["effect"] != PolicyEffect.DENY
