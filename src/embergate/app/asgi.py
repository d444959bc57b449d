"""One ASGI application over the parts of both planes. The same app runs in production and in tests."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Any, Final

from fastapi import FastAPI
from fastapi.telemetry import TelemetryConfig

from embergate import __version__
from embergate.app.rooms import add_gateway
from embergate.engine.scheduler import Batch
from embergate.gateway.deps import GatewayDeps
from embergate.gateway.document import body_schemas, describe_path_parameters, operations_of
from embergate.inference import embeddings, health, models, rerank
from embergate.inference.bulk import EngineBulkAnswerer
from embergate.inference.deps import Deps
from embergate.inference.rerank_schemas import RerankRequest
from embergate.inference.schemas import EmbeddingRequest
from embergate.web.middleware import BodyLimitMiddleware, RequestContextMiddleware

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]
# Its own would tell whoever gathers it paths, queries and errors' messages.
NO_TELEMETRY: Final[TelemetryConfig] = {"tracing": False, "metrics": False, "logs": False, "auto_configure": False}
# What takes whole files.
BOUNDED_BY_THEMSELVES: Final = re.compile(r"/files/|(/inference)?/v1/files$|/v1/accounts/[^/]+/datasets/[^/]+:upload$")
SECURITY: Final[list[dict[str, list[str]]]] = [{"bearer": []}, {"apiKey": []}]


def create_app(deps: Deps, gateway: GatewayDeps, lifespan: Lifespan | None = None) -> FastAPI:
    """Return the application over the parts of the inference plane and of the gateway."""
    app = FastAPI(
        title="Embergate",
        version=__version__,
        description="A self-hosted embeddings platform that speaks the Fireworks and OpenAI API.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        telemetry=NO_TELEMETRY,
        redirect_slashes=False,  # a redirect would answer without our body, and before the key is checked
    )
    app.state.deps = deps
    # The last added runs first: a request gets its id, then its body is bounded.
    app.add_middleware(BodyLimitMiddleware, max_bytes=deps.limits.max_request_bytes, exempt=BOUNDED_BY_THEMSELVES)
    app.add_middleware(RequestContextMiddleware, observe=deps.metrics.observe_request, tracer=deps.tracer)
    # The router looks from the first route on: what is called most comes first.
    for prefix in ("/inference/v1", "/v1"):
        app.include_router(embeddings.router, prefix=prefix, tags=["inference"])
        app.include_router(rerank.router, prefix=prefix, tags=["inference"])
        app.include_router(models.router, prefix=prefix, tags=["inference"])
    app.include_router(health.router, tags=["operations"])
    add_gateway(app, replace(gateway, bulk=EngineBulkAnswerer(deps)))
    deps.engine.runner.batch_observers.append(_batch_observer(deps))
    return app


def openapi_document(app: FastAPI) -> dict[str, Any]:
    """Return the OpenAPI document, with the request schemas that handlers parse themselves."""
    document = app.openapi()
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    for body in (EmbeddingRequest, RerankRequest):
        schema = body.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas.update(schema.pop("$defs", {}))
        schemas[body.__name__] = schema
    schemas.update(body_schemas(app))
    describe_path_parameters(document["paths"])
    document["components"]["securitySchemes"] = {
        "bearer": {"type": "http", "scheme": "bearer"},
        "apiKey": {"type": "apiKey", "in": "header", "name": "X-Api-Key"},
    }
    open_calls = {
        f"Gateway_{operation.name}": [{}, *SECURITY] if operation.takes_credential else None
        for operation in operations_of(app)
        if operation.needs is None
    }
    for path, item in document["paths"].items():
        for operation in item.values() if path.startswith(("/inference/", "/v1/")) else ():
            security = open_calls.get(operation["operationId"], SECURITY)
            if security is not None:
                operation["security"] = security
    return document


def _batch_observer(deps: Deps) -> Callable[[Batch], None]:
    def observe(batch: Batch) -> None:
        deps.metrics.batch_fill.observe(batch.num_tokens / max(batch.padded_tokens, 1))
        deps.metrics.batch_tokens.observe(batch.padded_tokens)

    return observe
