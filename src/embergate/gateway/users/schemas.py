"""What a user is on the wire."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from embergate.aip.message import OUTPUT_ONLY, REQUIRED, Message
from embergate.aip.scalars import Bool, Timestamp
from embergate.aip.status import Status
from embergate.gateway.accounts.schemas import ResourceState
from embergate.gateway.answers import ListResponse


class User(Message):
    """A person or a service that acts for an account."""

    name: Annotated[str, OUTPUT_ONLY] = ""
    display_name: Annotated[str, Field(max_length=63)] = ""
    service_account: Bool = False
    create_time: Annotated[Timestamp | None, OUTPUT_ONLY] = None
    role: Annotated[str, REQUIRED, Field(description="`admin`, `user`, `contributor` or `inference-user`.")] = ""
    email: Annotated[str, Field(max_length=320)] = ""
    state: Annotated[ResourceState, OUTPUT_ONLY] = ResourceState.STATE_UNSPECIFIED
    status: Annotated[Status, OUTPUT_ONLY] = Status()
    update_time: Annotated[Timestamp | None, OUTPUT_ONLY] = None
    permission_preset: Annotated[str, Field(max_length=63, description="Empty: there is no role `custom`.")] = ""


class ListUsersResponse(ListResponse):
    """One page of users."""

    users: list[User] = []
