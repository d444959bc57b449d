"""What long-running operations are on the wire.

Source: https://google.aip.dev/151
"""

from __future__ import annotations

from typing import Annotated, Any

from embergate.aip.message import OUTPUT_ONLY, Message
from embergate.aip.scalars import Int32
from embergate.gateway.answers import ListResponse


class OperationError(Message):
    """google.rpc.Status: why an operation came to nothing."""

    code: Int32 = 0
    message: str = ""
    details: list[dict[str, Any]] = []


class LongRunningOperation(Message):
    """Something that goes on; once it is `done`, it has either an `error` or a `response`."""

    name: Annotated[str, OUTPUT_ONLY] = ""
    metadata: Annotated[dict[str, Any], OUTPUT_ONLY] = {}
    done: Annotated[bool, OUTPUT_ONLY] = False
    error: Annotated[OperationError | None, OUTPUT_ONLY] = None
    response: Annotated[dict[str, Any] | None, OUTPUT_ONLY] = None


class ListOperationsResponse(ListResponse):
    """One page of operations."""

    operations: list[LongRunningOperation] = []
