"""What the inference plane is handed by the composition root."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Annotated, cast

from fastapi import Depends, Request

from embergate.engine.engine import Engine
from embergate.engine.registry import Registry, ServedModel
from embergate.errors import ForbiddenError, ModelLoadingError, ModelNotFoundError
from embergate.web.caller import Authenticator
from embergate.web.metering import Meter
from embergate.web.metrics import Metrics
from embergate.web.policy import ModelPolicies
from embergate.web.tracing import UNTRACED, Tracer


@dataclass(frozen=True, slots=True)
class InferenceLimits:
    """Bounds on one request."""

    max_inputs: int = 2048
    max_request_bytes: int = 16 << 20
    timeout_s: float = 600.0


@dataclass(slots=True)
class Deps:
    """The parts that routes use; `is_ready` turns true once every model has run a forward pass."""

    engine: Engine
    registry: Registry
    authenticator: Authenticator
    policies: ModelPolicies
    meter: Meter
    limits: InferenceLimits = field(default_factory=InferenceLimits)
    metrics: Metrics = field(default_factory=Metrics)
    # Whoever gathers spans, if anybody does.
    tracer: Tracer | None = None
    is_ready: bool = False

    def stage(self, name: str) -> AbstractContextManager[None]:
        """Return the span of a stage of the request, to be entered."""
        return UNTRACED if self.tracer is None else self.tracer.stage(name)

    def get_model(self, name: str) -> ServedModel:
        """Find a served model. Raises: ModelNotFoundError, or ModelLoadingError while models are still being loaded."""
        try:
            return self.registry.get(name)
        except ModelNotFoundError:
            if not self.is_ready:
                raise ModelLoadingError from None
            raise

    async def get_allowed_model(self, name: str, account_id: str) -> ServedModel:
        """Find a served model that the account may use. Raises: as `get_model`, and ForbiddenError."""
        served = self.get_model(name)
        if not await self.policies.allows(account_id, served.names):
            raise ForbiddenError(
                f"the account's policy does not allow {served.id}; an admin of the account can change its policySettings",
                param="model",
            )
        return served


def _deps_of(request: Request) -> Deps:
    return cast(Deps, request.app.state.deps)


CurrentDeps = Annotated[Deps, Depends(_deps_of)]
