"""What the inference plane is handed by the composition root."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Annotated, cast

from fastapi import Depends, Request

from embergate.engine.engine import Engine
from embergate.engine.registry import Registry, ServedModel
from embergate.errors import ForbiddenError, ModelLoadingError, ModelNotFoundError
from embergate.web.caller import Authenticator
from embergate.web.metering import Meter
from embergate.web.metrics import Metrics
from embergate.web.own_models import NamedModel, OwnModels
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
    # What accounts have uploaded, if they may.
    own_models: OwnModels | None = None

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

    @asynccontextmanager
    async def using_model(self, name: str, account_id: str) -> AsyncIterator[ServedModel]:
        """Keep a model that the account may use for as long as the context lasts; an uploaded one may be loaded for it.

        Raises: as `get_model`, ForbiddenError, and as `OwnModels.using`.
        """
        async with self._opened(name, account_id) as served:
            await self._require_allowed(account_id, served)
            yield served

    async def find_model(self, name: str, account_id: str) -> NamedModel:
        """Look up a model that the account may use, without loading it. Raises: as `using_model`, but for the loading."""
        try:
            served = self.get_model(name)
            found = NamedModel(served.id, served.names, served.list_price_nanos, served.model.spec.kind)
        except (ModelNotFoundError, ModelLoadingError) as error:
            if self.own_models is None:
                raise
            found = await self.own_models.find(name, account_id, error)
        await self._require_allowed(account_id, found)
        return found

    async def _require_allowed(self, account_id: str, model: ServedModel | NamedModel) -> None:
        if not await self.policies.allows(account_id, model.names):
            raise ForbiddenError(
                f"the account's policy does not allow {model.id}; an admin of the account can change its policySettings",
                param="model",
            )

    def _opened(self, name: str, account_id: str) -> AbstractAsyncContextManager[ServedModel]:
        try:
            return nullcontext(self.get_model(name))
        except (ModelNotFoundError, ModelLoadingError) as error:
            if self.own_models is None:
                raise
            return self.own_models.using(name, account_id, error)


def _deps_of(request: Request) -> Deps:
    return cast(Deps, request.app.state.deps)


CurrentDeps = Annotated[Deps, Depends(_deps_of)]
