"""What prices, plans and bills are on the wire."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from embergate.aip.message import OUTPUT_ONLY, REQUIRED, Message, ProtoEnum
from embergate.aip.scalars import Double, Timestamp
from embergate.gateway.answers import ListResponse
from embergate.gateway.money import Money


class BillingType(ProtoEnum):
    """What a plan has prices for."""

    BILLING_TYPE_UNSPECIFIED = "BILLING_TYPE_UNSPECIFIED"
    TOKEN_USAGE = "TOKEN_USAGE"  # noqa: S105 - no password
    ACCELERATOR_HOURS = "ACCELERATOR_HOURS"


class PlanState(ProtoEnum):
    """Whether a plan counts."""

    STATE_UNSPECIFIED = "STATE_UNSPECIFIED"
    CREATING = "CREATING"
    READY = "READY"


class AcceleratorType(ProtoEnum):
    """What a deployment runs on."""

    ACCELERATOR_TYPE_UNSPECIFIED = "ACCELERATOR_TYPE_UNSPECIFIED"
    NVIDIA_A100_80GB = "NVIDIA_A100_80GB"
    NVIDIA_H100_80GB = "NVIDIA_H100_80GB"
    AMD_MI300X_192GB = "AMD_MI300X_192GB"
    NVIDIA_A10G_24GB = "NVIDIA_A10G_24GB"
    NVIDIA_A100_40GB = "NVIDIA_A100_40GB"
    NVIDIA_L4_24GB = "NVIDIA_L4_24GB"
    NVIDIA_H200_141GB = "NVIDIA_H200_141GB"
    NVIDIA_B200_180GB = "NVIDIA_B200_180GB"
    AMD_MI325X_256GB = "AMD_MI325X_256GB"
    AMD_MI350X_288GB = "AMD_MI350X_288GB"
    NVIDIA_B300_288GB = "NVIDIA_B300_288GB"


class TokenBillingConfig(Message):
    """What a million tokens of one model cost under a plan; embeddings have no output tokens."""

    base_model_name: Annotated[str, REQUIRED, Field(max_length=512)] = ""
    input_token_price_per_million: Money | None = None
    output_token_price_per_million: Annotated[Money | None, REQUIRED] = None
    uncached_input_token_price_per_million: Money | None = None
    cached_input_token_price_per_million: Money | None = None


class AcceleratorHourBillingConfig(Message):
    """What an hour of one kind of accelerator costs under a plan."""

    accelerator_type: Annotated[AcceleratorType, REQUIRED] = AcceleratorType.ACCELERATOR_TYPE_UNSPECIFIED
    accelerator_hour_price: Annotated[Money | None, REQUIRED] = None


class PricingPlan(Message):
    """What an account pays in place of the list's prices, for a time."""

    name: Annotated[str, OUTPUT_ONLY] = ""
    billing_type: Annotated[BillingType, REQUIRED] = BillingType.BILLING_TYPE_UNSPECIFIED
    token_config: list[TokenBillingConfig] = []
    accelerator_hour_config: list[AcceleratorHourBillingConfig] = []
    start_time: Annotated[Timestamp | None, REQUIRED] = None
    end_time: Timestamp | None = None
    create_time: Annotated[Timestamp | None, OUTPUT_ONLY] = None
    update_time: Annotated[Timestamp | None, OUTPUT_ONLY] = None
    state: Annotated[PlanState, OUTPUT_ONLY] = PlanState.STATE_UNSPECIFIED


class ListPricingPlansResponse(ListResponse):
    """One page of plans."""

    pricing_plans: list[PricingPlan] = []


class LineItem(Message):
    """What one kind of use cost in the days asked for. `quantity` counts millions of tokens."""

    category: str = ""
    grouping_key: str = ""
    grouping_value: str = ""
    secondary_grouping_key: str = ""
    secondary_grouping_value: str = ""
    quantity: Double = 0.0
    unit_amount: Money | None = None
    total_cost: Money | None = None


class GetBillingSummaryResponse(Message):
    """The lines of a bill."""

    line_items: list[LineItem] = []
