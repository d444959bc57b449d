"""Answering many request bodies for nobody who waits, as the gateway's batch jobs ask for it of the inference plane."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from embergate.errors import EmbergateError
from embergate.web.own_models import NamedModel

# Told of the tokens before they are run; raises if they are not to be.
Approve = Callable[[int], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class BulkAnswer:
    """What came of a body: the answer, as JSON, that the same request would have had; or why there is none."""

    response: bytes = b""
    num_inputs: int = 0
    num_tokens: int = 0
    error: EmbergateError | None = None


class BulkAnswerer(Protocol):
    """What batch jobs are done with."""

    async def find(self, name: str, account_id: str) -> NamedModel:
        """Find a model by any form of its name, for an account; an uploaded one need not be loaded.

        Raises: ModelNotFoundError; ModelLoadingError while models are still being loaded; ForbiddenError for another account's
            or by the account's policy; FailedPreconditionError for one that is still being uploaded; UnavailableError.
        """
        ...

    def check(self, name: str, model: NamedModel, body: Mapping[str, Any]) -> int:
        """Check a request's body for what can be told without running it, and return how many inputs it has.

        `name` is the model's as the job gives it. Raises: InvalidRequestError, also for another model than the job's.
        """
        ...

    async def answer(
        self, name: str, bodies: Sequence[Mapping[str, Any]], *, account_id: str, approve: Approve
    ) -> list[BulkAnswer]:
        """Answer bodies, in their order, for an account; each that cannot be answered has its own error.

        Raises: what `approve` raises; as `find`; OverloadedError; ModelError for an uploaded model that cannot be loaded.
        """
        ...
