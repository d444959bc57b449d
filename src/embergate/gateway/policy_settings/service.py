"""The rules of policies.

An account that never had one may use every model. Once there is one, a model may be used where a rule allows it and none
that names it, by whichever of its names, does not: an empty list of rules denies everything.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Final

from embergate.aip.errors import InvalidArgumentError
from embergate.aip.fieldmask import fields_named, update_message
from embergate.aip.message import require_fields
from embergate.clock import now
from embergate.gateway.accounts import store as accounts
from embergate.gateway.call import Call
from embergate.gateway.policy_settings import store
from embergate.gateway.policy_settings.schemas import ModelAccessRule, PolicySettings
from embergate.storage.tables.accounts import PolicyRow

# Any path-like name that the registry knows models by; neither one of a model's snapshots (@) nor of its deployments (#).
MODEL_NAME: Final = re.compile(r"/?[A-Za-z0-9._~-]+(/[A-Za-z0-9._~-]+)*")


async def get(call: Call) -> PolicySettings:
    """Return the account's policy; without rules and time where none was ever set."""
    await accounts.get(call.db, call.account_id)
    return _message_of(call.account_id, await store.find(call.db, call.account_id))


async def update(call: Call, patch: PolicySettings, mask: str | None) -> PolicySettings:
    """Set the account's rules, if the update names them."""
    # NOTE: the account's row is the lock that keeps an update from being undone by another of the same moment.
    await accounts.get(call.db, call.account_id, for_update=True)
    before = _message_of(call.account_id, await store.find(call.db, call.account_id))
    after = update_message(before, patch, mask)
    if "rules" not in fields_named(patch, mask):
        return before
    _check(after.rules)
    after.update_time = now()
    rules = [rule.model_dump(mode="json") for rule in after.rules]
    await store.put(call.db, call.account_id, rules, after.update_time)
    call.after_commit.append(call.deps.policies.forget)
    return after


def _message_of(account_id: str, row: PolicyRow | None) -> PolicySettings:
    name = f"accounts/{account_id}/policySettings"
    if row is None:
        return PolicySettings(name=name)
    rules = [ModelAccessRule.model_validate(rule) for rule in row.rules]
    return PolicySettings(name=name, rules=rules, update_time=row.update_time)


def _check(rules: Sequence[ModelAccessRule]) -> None:
    for position, rule in enumerate(rules):
        require_fields(rule, prefix=f"rules[{position}].")
        if not MODEL_NAME.fullmatch(rule.model):
            raise InvalidArgumentError(
                f"rules[{position}].model: {rule.model[:80]!r} is not a model's name; write for instance "
                "accounts/fireworks/models/all-minilm-l6-v2",
                field=f"rules[{position}].model",
            )
    twice = [model for model, count in Counter(_canonical(rule.model) for rule in rules).items() if count > 1]
    if twice:
        raise InvalidArgumentError(f"rules: more than one for {', '.join(twice[:10])}", field="rules")


def _canonical(model: str) -> str:
    """Return a resource name without what some clients put before it; another name as it is."""
    bare = model.removeprefix("fireworks/")
    if bare.startswith("accounts/") or bare == model:
        return bare
    return f"accounts/fireworks/models/{bare}"
