"""What an API key is on the wire."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from embergate.aip.message import ABSENT_IF_UNSET, IMMUTABLE, OUTPUT_ONLY, REQUIRED, Message, StringMap
from embergate.aip.scalars import Bool, Duration, Timestamp
from embergate.gateway.answers import ListResponse


class ApiKey(Message):
    """An API key. The key itself is shown once, in the answer of its creation."""

    key_id: Annotated[str, OUTPUT_ONLY, IMMUTABLE] = ""
    display_name: Annotated[str, Field(max_length=63)] = ""
    key: Annotated[str, OUTPUT_ONLY, IMMUTABLE] = ""
    create_time: Annotated[Timestamp | None, OUTPUT_ONLY, IMMUTABLE] = None
    secure: Annotated[Bool, OUTPUT_ONLY, IMMUTABLE] = False
    email: Annotated[str, OUTPUT_ONLY] = ""
    prefix: Annotated[str, OUTPUT_ONLY] = ""
    expire_time: Annotated[Timestamp | None, ABSENT_IF_UNSET] = None
    annotations: StringMap = {}
    last_used: Annotated[Timestamp | None, OUTPUT_ONLY, ABSENT_IF_UNSET] = None


class CreateApiKeyRequest(Message):
    """The body of CreateApiKey."""

    api_key: Annotated[ApiKey | None, REQUIRED] = None


class DeleteApiKeyRequest(Message):
    """The body of DeleteApiKey."""

    key_id: Annotated[str, REQUIRED, Field(max_length=64)] = ""


class RotateApiKeyRequest(Message):
    """The body of RotateApiKey."""

    grace_period: Annotated[
        Duration | None, Field(description="How long the old key still works; a day by default.")
    ] = None


class ListApiKeysResponse(ListResponse):
    """One page of API keys."""

    api_keys: list[ApiKey] = []
