"""Embedding many request bodies for nobody who waits, as the gateway's batch jobs ask for it of the inference plane."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from embergate.errors import EmbergateError

# Told of the tokens before they are run; raises if they are not to be.
Approve = Callable[[int], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class BulkModel:
    """A model that is served: its resource name, all its names, and the price of its size in nanos a token."""

    id: str
    names: frozenset[str]
    list_price_nanos: int


@dataclass(frozen=True, slots=True)
class BulkAnswer:
    """What came of a body: the answer, as JSON, that the same request would have had; or why there is none."""

    response: bytes = b""
    num_inputs: int = 0
    num_tokens: int = 0
    error: EmbergateError | None = None


class BulkEmbedder(Protocol):
    """What batch jobs are done with."""

    def get(self, name: str) -> BulkModel:
        """Find a model by any form of its name.

        Raises: ModelNotFoundError; ModelLoadingError while models are still being loaded.
        """
        ...

    def check(self, model: str, body: Mapping[str, Any]) -> None:
        """Check a request's body for what can be told without running it. Raises: InvalidRequestError."""
        ...

    async def embed(
        self, model: str, bodies: Sequence[Mapping[str, Any]], *, tenant: str, approve: Approve
    ) -> list[BulkAnswer]:
        """Answer bodies, in their order; each that cannot be answered has its own error.

        Raises: what `approve` raises; ModelNotFoundError; OverloadedError.
        """
        ...
