"""Spans: where the time of a request goes, for whoever gathers them. What sends them is in `otel`, an extra."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Final, Protocol

UNTRACED: Final = nullcontext()


class RequestSpan(Protocol):
    """The span of a request."""

    @property
    def trace_id(self) -> str:
        """The id of the trace that it is part of, in hex."""
        ...

    def tell(self, route: str, status: int, request_id: str) -> None:
        """Say what became of the request."""
        ...


class Tracer(Protocol):
    """Whoever gathers spans. What is in a block belongs to the span of the block."""

    def request(self, method: str, headers: Mapping[str, str]) -> AbstractContextManager[RequestSpan]:
        """Begin the span of a request, in the trace that its headers name, if they do."""
        ...

    def stage(self, name: str) -> AbstractContextManager[None]:
        """Begin the span of a stage of the request."""
        ...

    def close(self) -> None:
        """Send what is left, for some seconds at most. Blocks."""
        ...
