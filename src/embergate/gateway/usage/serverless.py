"""ListAccountServerlessRateLimits and GetAccountServerlessTokenUsage."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Annotated, Final

from fastapi import APIRouter, Query
from pydantic import Field
from starlette.responses import Response

from embergate.aip.errors import InvalidArgumentError
from embergate.aip.scalars import Duration, Timestamp
from embergate.clock import now
from embergate.gateway.access import Permission
from embergate.gateway.answers import answer
from embergate.gateway.call import Call, CurrentCall
from embergate.gateway.edge import Operation
from embergate.gateway.quotas import store as quotas
from embergate.gateway.quotas.known import NO_LIMIT, PROMPT_TOKENS, Scope
from embergate.gateway.resource_type import QueryParameters
from embergate.gateway.usage.days import MAX_RANGE, check_range
from embergate.gateway.usage.intervals import Intervals, Peaks, peaks_by_model, tokens_by_model
from embergate.gateway.usage.records import SLOT
from embergate.gateway.usage.serverless_schemas import (
    AccountRateLimit,
    AccountServerlessRateLimits,
    AccountServerlessTokenUsage,
    RateLimitMetric,
    TimeSeries,
    TimeSeriesPoint,
)

DEFAULT_RANGE: Final = timedelta(days=30)
# What thirty days can be before.
EARLIEST: Final = datetime(1971, 1, 1, tzinfo=UTC)
DEFAULT_INTERVAL: Final = timedelta(hours=4)
SECONDS_A_MINUTE: Final = 60
RATE_LIMITS: Final = Operation("ListAccountServerlessRateLimits", AccountServerlessRateLimits, needs=Permission.ADMIN)
TOKEN_USAGE: Final = Operation("GetAccountServerlessTokenUsage", AccountServerlessTokenUsage, needs=Permission.ADMIN)
router = APIRouter(prefix="/accounts/{account_id}", tags=["usage"])


class IntervalParameters(QueryParameters):
    """A range of time, and the intervals that it is cut into."""

    start: Timestamp | None = Field(None, description="From this moment on; 30 days before the end by default.")
    end: Timestamp | None = Field(None, description="Before this moment, at most 31 days later; now by default.")
    interval: Duration = Field(
        DEFAULT_INTERVAL, description='What a point stands for, a multiple of "900s"; "14400s" by default.'
    )

    def intervals(self) -> Intervals:
        """Return the intervals. Raises: InvalidArgumentError for intervals that are too fine; see `check_range`."""
        end = self.end or now()
        start = self.start or max(end, EARLIEST) - DEFAULT_RANGE
        check_range(start, end, names=("start", "end"))
        if self.interval < SLOT or self.interval % SLOT or self.interval > MAX_RANGE:
            raise InvalidArgumentError('interval: expected a multiple of "900s", of at most 31 days', field="interval")
        return Intervals.between(start, end, self.interval)


class RateLimitsParameters(IntervalParameters):
    """The query of ListAccountServerlessRateLimits."""

    deployment: str = Field("", description="Of this deployment or model alone; of all that were used by default.")


class TokenUsageParameters(IntervalParameters):
    """The query of GetAccountServerlessTokenUsage; one of both must be true."""

    include_peak_tokens_per_minute_by_base_model: bool = False
    include_average_tokens_per_minute_by_base_model: bool = False


@router.get("/serverlessRateLimits", **RATE_LIMITS.route("Tell an account's rate limits"))
async def list_account_serverless_rate_limits(
    call: CurrentCall, query: Annotated[RateLimitsParameters, Query()]
) -> Response:
    """Return how many prompt tokens a second the account may send to each model, and how many it sent.

    Without a limit there is a series only.
    """
    intervals = query.intervals()
    used = dict(await _tokens(call, intervals))
    if query.deployment:
        model = _model_of(query.deployment)
        used = {model: used.get(model, [0] * intervals.num)}
    seconds = intervals.seconds_until(now())
    limit = await _limit_a_minute(call)
    told = AccountServerlessRateLimits()
    for model, tokens in used.items():
        deployment = model.replace("/models/", "/deployments/", 1)
        metric = RateLimitMetric.TOKENS_PROMPT
        if limit != NO_LIMIT:
            effective = limit / SECONDS_A_MINUTE
            told.rate_limits.append(AccountRateLimit(deployment=deployment, metric=metric, effective_limit=effective))
        values = [number / length for number, length in zip(tokens, seconds, strict=True)]
        told.series.append(_series(intervals, values, deployment=deployment, metric=metric.value))
    return answer(told)


@router.get("/serverlessTokenUsage", **TOKEN_USAGE.route("Tell how many tokens a minute an account used"))
async def get_account_serverless_token_usage(
    call: CurrentCall, query: Annotated[TokenUsageParameters, Query()]
) -> Response:
    """Return tokens a minute by model: averages, and the most in one minute of the clock."""
    told = AccountServerlessTokenUsage()
    with_average = query.include_average_tokens_per_minute_by_base_model
    with_peak = query.include_peak_tokens_per_minute_by_base_model
    if not with_average and not with_peak:
        raise InvalidArgumentError(
            "one of includePeakTokensPerMinuteByBaseModel and includeAverageTokensPerMinuteByBaseModel must be true"
        )
    intervals = query.intervals()
    if with_average:
        minutes = [length / SECONDS_A_MINUTE for length in intervals.seconds_until(now())]
        for model, tokens in (await _tokens(call, intervals)).items():
            values = [number / length for number, length in zip(tokens, minutes, strict=True)]
            told.average_tokens_per_minute_by_base_model.append(_series(intervals, values, base_model=model))
    if with_peak:
        connection = await call.db.connection()
        work = partial(peaks_by_model, account_id=call.account_id, intervals=intervals)
        _tell_peaks(told, intervals, await connection.run_sync(work))
    return answer(told)


async def _tokens(call: Call, intervals: Intervals) -> dict[str, list[int]]:
    connection = await call.db.connection()
    work = partial(tokens_by_model, account_id=call.account_id, intervals=intervals)
    return dict(await connection.run_sync(work))


async def _limit_a_minute(call: Call) -> int:
    """Return the lower one of what the account may send in all and to each model."""
    found = await quotas.quotas_of(call.db, call.account_id, call.deps.quota_defaults)
    return min(found[PROMPT_TOKENS + scope].value for scope in (Scope.ACCOUNT, Scope.MODEL))


def _model_of(name: str) -> str:
    """Return the model of a deployment: every model has one, named like it."""
    return name.partition("#")[0].replace("/deployments/", "/models/", 1)


def _tell_peaks(told: AccountServerlessTokenUsage, intervals: Intervals, peaks: dict[str, Peaks]) -> None:
    for model, found in peaks.items():
        labels = {"base_model": model} if model else {}
        uncached = _series(intervals, found.uncached, **labels)
        cached = _series(intervals, found.cached, **labels)
        generated = _series(intervals, [0] * intervals.num, **labels)  # embeddings generate none
        if not model:
            told.total_peak_uncached_prompt_tokens_per_minute = uncached
            told.total_peak_cached_prompt_tokens_per_minute = cached
            told.total_peak_generated_tokens_per_minute = generated
        else:
            told.peak_uncached_prompt_tokens_per_minute_by_base_model.append(uncached)
            told.peak_cached_prompt_tokens_per_minute_by_base_model.append(cached)
            told.peak_generated_tokens_per_minute_by_base_model.append(generated)


def _series(intervals: Intervals, values: Sequence[float], **labels: str) -> TimeSeries:
    points = [
        TimeSeriesPoint(
            timestamp=timestamp, value=f"{value:.6f}".rstrip("0").rstrip(".") if value % 1 else f"{value:.0f}"
        )
        for timestamp, value in zip(intervals.timestamps(), values, strict=True)
    ]
    return TimeSeries(labels=labels, values=points)
