"""What an account is on the wire."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from embergate.aip.message import IMMUTABLE, OUTPUT_ONLY, REQUIRED, Message, ProtoEnum
from embergate.aip.scalars import Timestamp
from embergate.aip.status import Status
from embergate.gateway.answers import ListResponse
from embergate.gateway.money import Money


class AccountType(ProtoEnum):
    """What kind of customer it is."""

    ACCOUNT_TYPE_UNSPECIFIED = "ACCOUNT_TYPE_UNSPECIFIED"
    ENTERPRISE = "ENTERPRISE"


class ResourceState(ProtoEnum):
    """Where an account or a user is in its life."""

    STATE_UNSPECIFIED = "STATE_UNSPECIFIED"
    CREATING = "CREATING"
    READY = "READY"
    UPDATING = "UPDATING"
    DELETING = "DELETING"


class SuspendState(ProtoEnum):
    """Why an account may not compute."""

    UNSUSPENDED = "UNSUSPENDED"
    FAILED_PAYMENTS = "FAILED_PAYMENTS"
    CREDIT_DEPLETED = "CREDIT_DEPLETED"
    MONTHLY_SPEND_LIMIT_EXCEEDED = "MONTHLY_SPEND_LIMIT_EXCEEDED"
    BLOCKED_BY_ABUSE_RULE = "BLOCKED_BY_ABUSE_RULE"


class NotificationSettings(Message):
    """When the account is warned."""

    monthly_spend_thresholds: Annotated[list[Money], Field(max_length=20)] = []


class Account(Message):
    """A tenant: it owns users, keys and resources, and it pays."""

    name: Annotated[str, OUTPUT_ONLY, IMMUTABLE] = ""
    display_name: Annotated[str, Field(max_length=63)] = ""
    create_time: Annotated[Timestamp | None, OUTPUT_ONLY, IMMUTABLE] = None
    account_type: AccountType = AccountType.ACCOUNT_TYPE_UNSPECIFIED
    email: Annotated[str, REQUIRED, Field(max_length=320)] = ""
    state: Annotated[ResourceState, OUTPUT_ONLY, IMMUTABLE] = ResourceState.STATE_UNSPECIFIED
    status: Annotated[Status, OUTPUT_ONLY, IMMUTABLE] = Status()
    suspend_state: Annotated[SuspendState, OUTPUT_ONLY, IMMUTABLE] = SuspendState.UNSUSPENDED
    update_time: Annotated[Timestamp | None, OUTPUT_ONLY] = None
    notification_settings: NotificationSettings | None = None


class ListAccountsResponse(ListResponse):
    """One page of accounts."""

    accounts: list[Account] = []
