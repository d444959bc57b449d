"""What rate limits, and use by time, are on the wire."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from embergate.aip.message import Message, ProtoEnum
from embergate.aip.scalars import Double, Int64


class RateLimitMetric(ProtoEnum):
    """What a rate limit counts; embeddings have prompt tokens only."""

    METRIC_UNSPECIFIED = "METRIC_UNSPECIFIED"
    TOKENS_GENERATED = "TOKENS_GENERATED"
    TOKENS_PROMPT = "TOKENS_PROMPT"
    TOKENS_CACHE_ADJUSTED_PROMPT = "TOKENS_CACHE_ADJUSTED_PROMPT"


class AccountRateLimit(Message):
    """How much of a deployment an account may use."""

    deployment: str = ""
    metric: RateLimitMetric = RateLimitMetric.METRIC_UNSPECIFIED
    effective_limit: Annotated[Double, Field(description="Per second.")] = 0.0


class TimeSeriesPoint(Message):
    """A value from a moment on, in seconds since 1970, for one interval."""

    timestamp: Int64 = 0
    value: str = ""


class TimeSeries(Message):
    """Values by time."""

    labels: dict[str, str] = {}
    values: list[TimeSeriesPoint] = []


class AccountServerlessRateLimits(Message):
    """Limits by deployment, and how much of each was used, in tokens a second."""

    rate_limits: list[AccountRateLimit] = []
    series: list[TimeSeries] = []


class AccountServerlessTokenUsage(Message):
    """Tokens a minute; what was not asked for is empty."""

    average_tokens_per_minute_by_base_model: list[TimeSeries] = []
    total_peak_generated_tokens_per_minute: TimeSeries | None = None
    total_peak_uncached_prompt_tokens_per_minute: TimeSeries | None = None
    total_peak_cached_prompt_tokens_per_minute: TimeSeries | None = None
    peak_generated_tokens_per_minute_by_base_model: list[TimeSeries] = []
    peak_uncached_prompt_tokens_per_minute_by_base_model: list[TimeSeries] = []
    peak_cached_prompt_tokens_per_minute_by_base_model: list[TimeSeries] = []
