"""The rules of quotas: which there are, and who may set them to what."""

from __future__ import annotations

from collections.abc import Mapping

from embergate.aip.errors import InvalidArgumentError
from embergate.aip.fieldmask import fields_named, update_message
from embergate.clock import now
from embergate.errors import ForbiddenError, NotFoundError
from embergate.gateway.accounts import store as accounts
from embergate.gateway.call import Call
from embergate.gateway.quotas import store
from embergate.gateway.quotas.known import KNOWN, MONTHLY_SPEND
from embergate.gateway.quotas.schemas import Quota
from embergate.gateway.quotas.usage import usage_of
from embergate.gateway.usage.suspension import review_in


async def every(call: Call) -> dict[str, Quota]:
    """Return the account's quotas by their ids, with what it uses of each right now."""
    return await _quotas(call, await usage_of(call))


async def _quotas(call: Call, used: Mapping[str, float]) -> dict[str, Quota]:
    quotas = await store.quotas_of(call.db, call.account_id, call.deps.quota_defaults)
    return {id_: quota.model_copy(update={"usage": float(used.get(id_, 0))}) for id_, quota in quotas.items()}


async def get(call: Call, quota_id: str) -> Quota:
    """Return a quota, with what the account uses of it right now. Raises: NotFoundError."""
    _check_id(quota_id)
    return (await every(call))[quota_id]


async def update(call: Call, quota_id: str, patch: Quota, mask: str | None) -> Quota:
    """Give the account a quota of its own.

    A maximum below the value takes the value down with it, unless the update names that too.
    Raises: NotFoundError; ForbiddenError if somebody else than an operator changes the maximum; InvalidArgumentError for a
        value that is negative or more than the maximum.
    """
    _check_id(quota_id)
    if not fields_named(patch, mask):
        return await get(call, quota_id)
    used = await usage_of(call)  # before the lock, which every charge of the account waits for
    # NOTE: the account's row is the lock that keeps an update from being undone by another of the same moment.
    await accounts.get(call.db, call.account_id, for_update=True)
    before = (await _quotas(call, used))[quota_id]
    after = update_message(before, patch, mask)
    if after.max_value != before.max_value and not call.caller.is_operator:
        raise ForbiddenError("only an operator may change maxValue; ask for it")
    if "value" not in fields_named(patch, mask):
        after.value = min(after.value, after.max_value)
    _check(after)
    after.update_time = now()
    await store.put(call.db, call.account_id, quota_id, after)
    call.event.resource = after.name
    if quota_id == MONTHLY_SPEND:
        await review_in(call)
    else:
        call.after_commit.append(call.deps.meter.forget)
    return after


def _check_id(quota_id: str) -> None:
    if quota_id not in KNOWN:
        raise NotFoundError(f"there is no quota {quota_id[:63]!r}; these are: {', '.join(KNOWN)}")


def _check(quota: Quota) -> None:
    for field, number in (("value", quota.value), ("maxValue", quota.max_value)):
        if number < 0:
            raise InvalidArgumentError(f"{field} must not be negative", field=field)
    if quota.value > quota.max_value:
        raise InvalidArgumentError(
            f"value: {quota.value} is more than the account's maxValue, {quota.max_value}; ask an operator to raise that",
            field="value",
        )
