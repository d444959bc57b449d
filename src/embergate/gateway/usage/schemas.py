"""What usage is on the wire."""

from __future__ import annotations

from embergate.aip.message import Message, ProtoEnum
from embergate.aip.scalars import Double, Int64, Timestamp


class UsageType(ProtoEnum):
    """Which stream of usage is asked for; unspecified is both."""

    USAGE_TYPE_UNSPECIFIED = "USAGE_TYPE_UNSPECIFIED"
    SERVERLESS = "SERVERLESS"
    DEDICATED_DEPLOYMENT = "DEDICATED_DEPLOYMENT"


class ServerlessUsage(Message):
    """What one group used on one day. Of `startTime` and `endTime` the dates count: the day, in the zone asked for."""

    model_name: str = ""
    prompt_tokens: Int64 = 0
    completion_tokens: Int64 = 0
    start_time: Timestamp | None = None
    end_time: Timestamp | None = None
    audio_input_seconds: Double = 0.0
    usage_type: str = ""
    api_key_id: str = ""
    group: dict[str, str] = {}


class DedicatedUsage(Message):
    """What one group of deployments used on one day."""

    deployment_id: str = ""
    accelerator_type: str = ""
    accelerator_seconds: Int64 = 0
    start_time: Timestamp | None = None
    end_time: Timestamp | None = None
    base_model: str = ""
    usage_type: str = ""
    placement: str = ""
    group: dict[str, str] = {}


class AccountUsage(Message):
    """Usage by day and group. Despite their names both lists count use, not money."""

    serverless_costs: list[ServerlessUsage] = []
    dedicated_costs: list[DedicatedUsage] = []


class FilterValues(Message):
    """Values of one key, any of which will do."""

    values: list[str] = []


class AccountUsageFilterOptions(Message):
    """By which keys usage can be filtered and grouped, and the values of each that were used."""

    filter_options: dict[str, FilterValues] = {}
