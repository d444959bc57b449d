"""The rules of pricing plans: operators make and end them; of one type an account has one at a time."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from embergate.aip.errors import InvalidArgumentError
from embergate.aip.message import require_fields, write_message
from embergate.aip.names import check_id
from embergate.clock import now
from embergate.errors import AlreadyExistsError, FailedPreconditionError
from embergate.gateway.accounts import store as accounts
from embergate.gateway.billing.schemas import (
    AcceleratorHourBillingConfig,
    BillingType,
    PlanState,
    PricingPlan,
    TokenBillingConfig,
)
from embergate.gateway.call import Call
from embergate.gateway.money import Money, nanos_of
from embergate.gateway.prices.model_names import resource_name_of
from embergate.gateway.pricing_plans import store
from embergate.gateway.pricing_plans.store import PLANS
from embergate.gateway.usage.prices import per_token
from embergate.storage.insertion import insert_if_absent
from embergate.storage.tables.prices import PricingPlanRow


async def create(call: Call, plan_id: str, draft: PricingPlan) -> PricingPlan:
    """Make a plan for the account of the call, from now on where it does not say from when.

    Models are named by their resource names from then on.

    Raises: NotFoundError if there is no account; AlreadyExistsError if the id is taken; InvalidArgumentError naming a bad
        field; FailedPreconditionError if another plan of its type is in force at any time of it.
    """
    moment = now()
    draft = draft.model_copy(update={"start_time": draft.start_time or moment})
    require_fields(draft)
    check_id(plan_id, "pricingPlanId")
    account = await accounts.get(call.db, call.account_id, for_update=True)
    assert draft.start_time is not None, "require_fields has seen to it. This is a bug."
    _check_times(draft.start_time, draft.end_time, moment)
    tokens, hours = _checked(draft)
    for other in await store.of_type(call.db, account.id, draft.billing_type):
        if _overlap(draft, other):
            raise FailedPreconditionError(
                f"the plan {other.id} is in force in that time, and an account has one of a type at a time; end it first"
            )
    values = {
        "account_id": account.id,
        "id": plan_id,
        "billing_type": draft.billing_type.value,
        "token_config": tokens,
        "accelerator_hour_config": hours,
        "start_time": draft.start_time,
        "end_time": draft.end_time,
        "state": PlanState.READY.value,
        "create_time": moment,
        "update_time": moment,
    }
    if not await insert_if_absent(call.db, PricingPlanRow, values):
        raise AlreadyExistsError(f"there is a pricing plan {plan_id!r} already", param="pricingPlanId")
    return _changed(call, await store.get(call.db, account_id=account.id, plan_id=plan_id))


async def end(call: Call, plan_id: str, end_time: datetime | None) -> PricingPlan:
    """End a plan of the account of the call, now if None; one that has not begun never does.

    Raises: NotFoundError; InvalidArgumentError for a moment that has passed; FailedPreconditionError if it ends before that.
    """
    await accounts.get(call.db, call.account_id, for_update=True)
    row = await store.get(call.db, account_id=call.account_id, plan_id=plan_id)
    moment = now()
    ends = end_time or moment
    if ends < moment:
        raise InvalidArgumentError("endTime: it has passed, and what was used then is billed", field="endTime")
    if row.end_time is not None and row.end_time <= ends:
        raise FailedPreconditionError("the plan ends before that")
    row.end_time, row.update_time = max(ends, row.start_time), moment
    await call.db.flush()
    return _changed(call, row)


def _changed(call: Call, row: PricingPlanRow) -> PricingPlan:
    call.event.resource = PLANS.name_of(row)
    call.after_commit.append(call.deps.meter.forget)
    return PLANS.message_of(row)


def _check_times(start_time: datetime, end_time: datetime | None, moment: datetime) -> None:
    if start_time < moment:
        raise InvalidArgumentError("startTime: it has passed, and what was used then is billed", field="startTime")
    if end_time is not None and end_time <= start_time:
        raise InvalidArgumentError("endTime: it must be after startTime", field="endTime")


def _checked(draft: PricingPlan) -> tuple[list[dict[str, object]], list[dict[str, object]]]:
    """Return the configurations as they are stored. Raises: InvalidArgumentError if they are not of the plan's type."""
    if draft.billing_type is BillingType.BILLING_TYPE_UNSPECIFIED:
        raise InvalidArgumentError("billingType: TOKEN_USAGE or ACCELERATOR_HOURS", field="billingType")
    is_of_tokens = draft.billing_type is BillingType.TOKEN_USAGE
    needed, other = (
        ("tokenConfig", "acceleratorHourConfig") if is_of_tokens else ("acceleratorHourConfig", "tokenConfig")
    )
    has = {"tokenConfig": bool(draft.token_config), "acceleratorHourConfig": bool(draft.accelerator_hour_config)}
    if not has[needed]:
        raise InvalidArgumentError(f"{needed}: a plan for {draft.billing_type} needs a price", field=needed)
    if has[other]:
        raise InvalidArgumentError(f"{other}: a plan for {draft.billing_type} has none", field=other)
    tokens = [_checked_tokens(config) for config in draft.token_config]
    hours = [_checked_hours(config) for config in draft.accelerator_hour_config]
    _check_distinct([config.base_model_name for config in tokens], "baseModelName")
    _check_distinct([config.accelerator_type.value for config in hours], "acceleratorType")
    return [write_message(config) for config in tokens], [write_message(config) for config in hours]


def _checked_tokens(config: TokenBillingConfig) -> TokenBillingConfig:
    prices = {
        "inputTokenPricePerMillion": config.input_token_price_per_million,
        "outputTokenPricePerMillion": config.output_token_price_per_million,
        "uncachedInputTokenPricePerMillion": config.uncached_input_token_price_per_million,
        "cachedInputTokenPricePerMillion": config.cached_input_token_price_per_million,
    }
    for field, price in prices.items():
        if price is not None:
            per_token(price, field)
    if config.input_token_price_per_million is None and config.uncached_input_token_price_per_million is None:
        raise InvalidArgumentError("inputTokenPricePerMillion must be set", field="inputTokenPricePerMillion")
    name = resource_name_of(config.base_model_name, "baseModelName")
    return config.model_copy(update={"base_model_name": name})


def _checked_hours(config: AcceleratorHourBillingConfig) -> AcceleratorHourBillingConfig:
    price = config.accelerator_hour_price or Money()
    field = "acceleratorHourPrice"
    if price.currency_code != "USD" or nanos_of(price, field) < 0:
        raise InvalidArgumentError(f"{field}: expected an amount in USD, not below zero", field=field)
    return config


def _check_distinct(names: Sequence[str], field: str) -> None:
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise InvalidArgumentError(f"{field}: {min(twice)} has two prices", field=field)


def _overlap(draft: PricingPlan, other: PricingPlanRow) -> bool:
    assert draft.start_time is not None, "a draft has been checked. This is a bug."
    begins_before_end = other.end_time is None or draft.start_time < other.end_time
    return begins_before_end and (draft.end_time is None or other.start_time < draft.end_time)
