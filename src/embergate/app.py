"""The composition root: from parts to one ASGI application, and from settings to those parts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import structlog
from fastapi import FastAPI
from starlette.exceptions import HTTPException

from embergate import __version__
from embergate.clock import now
from embergate.engine.backends.protocol import ComputeOptions
from embergate.engine.engine import Engine
from embergate.engine.loaded_model import LoadedModel
from embergate.engine.loading.loader import SourceOptions
from embergate.engine.loading.sources import identify
from embergate.engine.loading.spec import PoolingMode, Precision
from embergate.engine.registry import Registry, ServedModel, resource_of
from embergate.engine.scheduler import Batch, SchedulerLimits
from embergate.engine.self_check import check_model
from embergate.errors import ConfigurationError, EmbergateError, ModelError
from embergate.inference import embeddings, health, models
from embergate.inference.deps import Deps, InferenceLimits
from embergate.inference.schemas import EmbeddingRequest
from embergate.model_setting import ModelSetting
from embergate.settings import Settings
from embergate.web.caller import Authenticator
from embergate.web.errors import handle_embergate_error, handle_http_exception
from embergate.web.middleware import BodyLimitMiddleware, RequestContextMiddleware

log: structlog.stdlib.BoundLogger = structlog.get_logger()

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]


def create_app(deps: Deps, lifespan: Lifespan | None = None) -> FastAPI:
    """Return the application over `deps`. The same app runs in production and in tests."""
    app = FastAPI(
        title="Embergate",
        version=__version__,
        description="A self-hosted embeddings platform that speaks the Fireworks and OpenAI API.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,  # a redirect would answer without our body, and before the key is checked
    )
    app.state.deps = deps
    # The last added runs first: a request gets its id, then its body is bounded.
    app.add_middleware(BodyLimitMiddleware, max_bytes=deps.limits.max_request_bytes)
    app.add_middleware(RequestContextMiddleware, observe=deps.metrics.observe_request)
    app.add_exception_handler(EmbergateError, handle_embergate_error)
    app.add_exception_handler(HTTPException, handle_http_exception)
    for prefix in ("/inference/v1", "/v1"):
        app.include_router(embeddings.router, prefix=prefix, tags=["inference"])
        app.include_router(models.router, prefix=prefix, tags=["inference"])
    app.include_router(health.router, tags=["operations"])
    deps.engine.runner.batch_observers.append(_batch_observer(deps))
    return app


def openapi_document(app: FastAPI) -> dict[str, object]:
    """Return the OpenAPI document, with the request schemas that handlers parse themselves."""
    document = app.openapi()
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    schemas["EmbeddingRequest"] = EmbeddingRequest.model_json_schema(ref_template="#/components/schemas/{model}")
    document["components"]["securitySchemes"] = {
        "bearer": {"type": "http", "scheme": "bearer"},
        "apiKey": {"type": "apiKey", "in": "header", "name": "X-Api-Key"},
    }
    for path, item in document["paths"].items():
        for operation in item.values() if path.startswith(("/inference/", "/v1/")) else ():
            operation["security"] = [{"bearer": []}, {"apiKey": []}]
    return document


def _batch_observer(deps: Deps) -> Callable[[Batch], None]:
    def observe(batch: Batch) -> None:
        deps.metrics.batch_fill.observe(batch.num_tokens / max(batch.padded_tokens, 1))
        deps.metrics.batch_tokens.observe(batch.padded_tokens)

    return observe


def build_deps(settings: Settings, authenticator: Authenticator) -> Deps:
    """Make the parts that `settings` describe; no model is loaded yet."""
    engine = Engine(
        SchedulerLimits(max_batch_tokens=settings.max_batch_tokens, max_queued_tokens=settings.max_queued_tokens),
        num_streams=settings.num_streams,
        tokenizer_threads=settings.tokenizer_threads,
    )
    limits = InferenceLimits(
        max_inputs=settings.max_inputs,
        max_request_bytes=settings.max_request_bytes,
        timeout_s=settings.request_timeout_s,
    )
    return Deps(engine=engine, registry=Registry(), authenticator=authenticator, limits=limits)


def check_models(settings: Settings) -> None:
    """Check what can be told of the models before any is loaded: that each may exist, and is named once.

    Raises: ModelError for a reference that can be no model; ConfigurationError for two that would be served as one.
    """
    seen: dict[tuple[str, str], ModelSetting] = {}
    for asked in settings.models:
        account, slug = resource_of(identify(asked.name).name, settings.bootstrap_account)
        if (account, slug) in seen:
            raise ConfigurationError(
                f"EMBERGATE_MODELS: {str(seen[account, slug])!r} and {str(asked)!r} would both be served as "
                f"accounts/{account}/models/{slug}; name a model once, and rename one of two folders that are called alike"
            )
        seen[account, slug] = asked


def load_model(asked: ModelSetting, settings: Settings) -> ServedModel:
    """Load one model and let it prove itself. Blocks; raises: ModelError."""
    compute = ComputeOptions(settings.num_threads, settings.num_streams)
    source = SourceOptions(offline=settings.offline, pooling=PoolingMode(asked.pooling) if asked.pooling else None)
    precision = Precision(asked.precision or settings.precision)
    model = LoadedModel.open(asked.name, precision=precision, compute=compute, source=source)
    if settings.self_check:
        check = check_model(model, asked.name, compute=compute, source=source)
    else:
        model.encode(["warm"])  # ready means that a forward pass has run
        check = None
    account, slug = resource_of(model.spec.name, settings.bootstrap_account)
    return ServedModel(account, slug, model, now(), check)


def serving_lifespan(deps: Deps, settings: Settings, on_failure: Callable[[EmbergateError], None]) -> Lifespan:
    """Load the models while the server already listens, and free them when it stops.

    `on_failure` is told of a model that cannot be loaded; the server is of no use then and should stop.
    """

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        loading = asyncio.create_task(_load_all(deps, settings, on_failure))
        yield
        loading.cancel()
        await asyncio.to_thread(deps.engine.close)
        deps.registry.close()

    return lifespan


async def _load_all(deps: Deps, settings: Settings, on_failure: Callable[[EmbergateError], None]) -> None:
    try:
        for asked in settings.models:
            served = await asyncio.to_thread(load_model, asked, settings)
            deps.registry.add(served)
            check = served.self_check
            log.info(
                "model_loaded",
                model=served.id,
                precision=served.model.backend.precision.value,
                computes_in=served.model.backend.computes_in,
                min_cosine=check.min_cosine if check else None,
                tokens_per_s=round(check.tokens_per_s) if check else None,
            )
    except EmbergateError as error:
        on_failure(error)
    except Exception as error:
        log.exception("model_load_failed", model=asked.name)
        on_failure(ModelError(f"{asked.name} cannot be loaded: {type(error).__name__}: {error}"))
    else:
        deps.is_ready = True
