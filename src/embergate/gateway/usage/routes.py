"""GetAccountUsage and GetAccountUsageFilterOptions."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Final

from fastapi import APIRouter, Query, Request
from pydantic import Field
from starlette.responses import Response

from embergate.aip.errors import InvalidArgumentError
from embergate.aip.scalars import Timestamp
from embergate.gateway.access import Permission
from embergate.gateway.answers import answer
from embergate.gateway.call import CurrentCall
from embergate.gateway.edge import Operation
from embergate.gateway.resource_type import QueryParameters
from embergate.gateway.usage.days import ONE_DAY, check_range, days_in, zone_of
from embergate.gateway.usage.queries import KEYS, DayUsage, usage_by_day, values_used
from embergate.gateway.usage.schemas import (
    AccountUsage,
    AccountUsageFilterOptions,
    FilterValues,
    ServerlessUsage,
    UsageType,
)

# What usage of deployments can be grouped and filtered by, besides annotations.
DEDICATED_KEYS: Final = ("deployment_name", "accelerator_type")
ANNOTATIONS: Final = tuple(key for key in KEYS if key.startswith("annotations."))
# What usage of each kind is told apart by.
KEYS_OF: Final = {
    UsageType.USAGE_TYPE_UNSPECIFIED: (*KEYS, *DEDICATED_KEYS),
    UsageType.SERVERLESS: tuple(KEYS),
    UsageType.DEDICATED_DEPLOYMENT: (*ANNOTATIONS, *DEDICATED_KEYS),
}
FILTER: Final = re.compile(r"filter\[([^\]]{1,64})\](?:\[values\]|\.values)?")
MAX_FILTER_VALUES: Final = 100

GET: Final = Operation("GetAccountUsage", AccountUsage, needs=Permission.ADMIN)
GET_OPTIONS: Final = Operation("GetAccountUsageFilterOptions", AccountUsageFilterOptions, needs=Permission.ADMIN)
router = APIRouter(tags=["usage"])


class RangeParameters(QueryParameters):
    """A half-open range of time, and which stream of usage is meant."""

    start_time: Timestamp = Field(description="From this moment on.")
    end_time: Timestamp = Field(description="Before this moment, at most 31 days later.")
    usage_type: UsageType = UsageType.USAGE_TYPE_UNSPECIFIED

    def range(self) -> tuple[datetime, datetime]:
        """Return start and end. Raises: InvalidArgumentError; see `check_range`."""
        check_range(self.start_time, self.end_time, names=("startTime", "endTime"))
        return self.start_time, self.end_time


class AccountUsageParameters(RangeParameters):
    """The query of GetAccountUsage."""

    timezone: str = Field("", description="The IANA zone whose days are meant; UTC by default.")
    group_by: list[str] = Field(
        [],
        description=f"Keys to group by, repeated or separated by commas: {', '.join((*KEYS, *DEDICATED_KEYS))}. By default "
        "serverless use by model, dedicated use by deployment and accelerator.",
    )


FILTER_PARAMETER: Final = {
    "name": "filter",
    "in": "query",
    "style": "deepObject",
    "explode": True,
    "description": "`filter[model_name]=…`: repeated for any of several values; several keys must all fit.",
    "schema": {
        "type": "object",
        "properties": {key: {"type": "string"} for key in (*KEYS, *DEDICATED_KEYS)},
        "additionalProperties": False,
    },
}


@router.get(
    "/accounts/{account_id}/billingUsage",
    **{**GET.route("Tell what an account used, by day"), "openapi_extra": {"parameters": [FILTER_PARAMETER]}},
)
async def get_account_usage(
    call: CurrentCall, request: Request, query: Annotated[AccountUsageParameters, Query()]
) -> Response:
    """Return the tokens that each group used on each day. Usage is there once its call is answered."""
    start, end = query.range()
    days = list(days_in(start, end, zone_of(query.timezone)))
    keys = _keys_of(query.group_by, query.usage_type)
    filters = _filters_of(request)
    usage = AccountUsage()
    if query.usage_type is not UsageType.DEDICATED_DEPLOYMENT and not set(filters) & set(DEDICATED_KEYS):
        serverless = [key for key in keys if key in KEYS] or ["model_name"]
        connection = await call.db.connection()
        work = partial(usage_by_day, account_id=call.account_id, days=days, keys=serverless, filters=filters)
        usage.serverless_costs = [_message_of(row, serverless) for row in await connection.run_sync(work)]
    return answer(usage)


@router.get(
    "/accounts/{account_id}/accountUsageFilterOptions", **GET_OPTIONS.route("List what usage can be filtered by")
)
async def get_account_usage_filter_options(call: CurrentCall, query: Annotated[RangeParameters, Query()]) -> Response:
    """Return the values that usage of a range has for each key."""
    start, end = query.range()
    connection = await call.db.connection()
    found = await connection.run_sync(partial(values_used, account_id=call.account_id, start=start, end=end))
    if query.usage_type is UsageType.DEDICATED_DEPLOYMENT:
        found = {}  # no deployment has used anything
    options = {key: FilterValues(values=found.get(key, [])) for key in KEYS_OF[query.usage_type]}
    return answer(AccountUsageFilterOptions(filter_options=options))


def _keys_of(group_by: list[str], usage_type: UsageType) -> list[str]:
    keys = [key.strip() for text in group_by for key in text.split(",") if key.strip()]
    for key in keys:
        if key not in KEYS_OF[usage_type]:
            known = ", ".join(KEYS_OF[usage_type])
            raise InvalidArgumentError(f"groupBy: there is no key {key[:60]!r}; these are: {known}", field="groupBy")
    return list(dict.fromkeys(keys))


def _filters_of(request: Request) -> dict[str, list[str]]:
    """Read `filter[key]=value`, also as generated clients spell it, for as many values of a key as there are."""
    filters: dict[str, list[str]] = {}
    for name, value in request.query_params.multi_items():
        if not name.startswith("filter"):
            continue
        match = FILTER.fullmatch(name)
        if match is None or (match.group(1) not in KEYS and match.group(1) not in DEDICATED_KEYS):
            known = ", ".join(f"filter[{key}]" for key in (*KEYS, *DEDICATED_KEYS))
            raise InvalidArgumentError(f"filter: {name[:60]!r} is none of {known}", field="filter")
        filters.setdefault(match.group(1), []).append(value)
    if sum(map(len, filters.values())) > MAX_FILTER_VALUES:
        raise InvalidArgumentError(f"filter: more than {MAX_FILTER_VALUES} values", field="filter")
    return filters


def _message_of(row: DayUsage, keys: list[str]) -> ServerlessUsage:
    group = dict(zip(keys, row.group, strict=True))
    midnight = datetime(row.date.year, row.date.month, row.date.day, tzinfo=UTC)
    return ServerlessUsage(
        model_name=group.get("model_name", ""),
        api_key_id=group.get("api_key_id", ""),
        prompt_tokens=row.prompt_tokens,
        start_time=midnight,
        end_time=midnight + ONE_DAY,
        usage_type=row.usage_type,
        group=group,
    )
