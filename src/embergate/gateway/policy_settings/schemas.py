"""What an account's policy is on the wire."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field

from embergate.aip.message import OUTPUT_ONLY, REQUIRED, Message, ProtoEnum
from embergate.aip.scalars import Bool, Timestamp

MAX_RULES: Final = 1_000


class PolicyEffect(ProtoEnum):
    """What a rule does."""

    UNSPECIFIED = "UNSPECIFIED"
    DENY = "DENY"


class ModelAccessRule(Message):
    """What may be done with one model."""

    model: Annotated[str, REQUIRED, Field(max_length=256, description="The model, by any of its names.")] = ""
    allow_serverless: Bool = False
    allow_fine_tuning: Bool = False
    allow_deployments: Bool = False
    effect: Annotated[PolicyEffect, Field(description="`DENY` forbids all, whatever is allowed beside it.")] = (
        PolicyEffect.UNSPECIFIED
    )


class PolicySettings(Message):
    """Which models an account may use: once it is set, those alone that a rule allows."""

    name: Annotated[str, OUTPUT_ONLY] = ""
    rules: Annotated[list[ModelAccessRule], Field(max_length=MAX_RULES)] = []
    update_time: Annotated[Timestamp | None, OUTPUT_ONLY] = None
