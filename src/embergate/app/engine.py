"""From settings to the parts of the inference plane, and their life from the first model loaded to the last request."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Final

import structlog
from fastapi import FastAPI

from embergate.app.asgi import Lifespan
from embergate.app.batches import batch_worker, import_worker, working
from embergate.clock import now
from embergate.engine.backends.protocol import ComputeOptions
from embergate.engine.engine import Engine
from embergate.engine.loaded_model import LoadedModel
from embergate.engine.loading.catalog import load_catalog, price_class_nanousd
from embergate.engine.loading.loader import SourceOptions
from embergate.engine.loading.sources import identify
from embergate.engine.loading.spec import ModelSpec, PoolingMode, Precision
from embergate.engine.loading.weights import Weights
from embergate.engine.memory import MemoryMeter
from embergate.engine.registry import ServedModel, resource_of
from embergate.engine.scheduler import SchedulerLimits
from embergate.engine.self_check import check_model
from embergate.errors import ConfigurationError, EmbergateError, ModelError
from embergate.gateway.deps import GatewayDeps
from embergate.gateway.upkeep import keep_up, settle
from embergate.inference.deps import Deps, InferenceLimits
from embergate.model_setting import ModelSetting
from embergate.settings import Settings
from embergate.web.metrics import Metrics

TOKENS_IN_A_PRICE: Final = 1_000_000
log: structlog.stdlib.BoundLogger = structlog.get_logger()


def build_deps(settings: Settings, gateway: GatewayDeps) -> Deps:
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
    metrics = Metrics(gateway.metrics.registry)
    parts = gateway.models
    return Deps(
        engine,
        parts.registry,
        gateway.authenticator,
        gateway.policies,
        gateway.meter,
        limits,
        metrics,
        own_models=parts.uploaded,
    )


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
    meter = MemoryMeter()
    model = LoadedModel.open(asked.name, precision=precision, compute=compute, source=source)
    if settings.self_check:
        check = check_model(model, asked.name, compute=compute, source=source)
    else:
        model.try_out(["warm"])  # ready means that a forward pass has run
        check = None
    account, slug = resource_of(model.spec.name, settings.bootstrap_account)
    memory = meter.use(model.backend.weights_bytes)
    return ServedModel(account, slug, model, now(), check, memory, list_price_nanos(model.spec))


def list_price_nanos(spec: ModelSpec) -> int:
    """Return what a token of a model costs, in billionths of a dollar, if nobody has set another price: by its size."""
    entry = load_catalog().find(spec.name)
    if entry is not None:
        return entry.price_nanousd_per_million_tokens // TOKENS_IN_A_PRICE
    return price_class_nanousd(Weights(spec.folder).num_values) // TOKENS_IN_A_PRICE


def serving_lifespan(
    deps: Deps, gateway: GatewayDeps, settings: Settings, on_failure: Callable[[EmbergateError], None]
) -> Lifespan:
    """Load the models while the server already listens, and free them when it stops; keep the database in order meanwhile.

    `on_failure` is told of a model that cannot be loaded; the server is of no use then and should stop.
    """

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        loading = asyncio.create_task(_load_all(deps, settings, on_failure))
        upkeep = asyncio.create_task(keep_up(gateway))
        workers = []
        if settings.batch_slots:
            workers.append(batch_worker(deps, gateway, num_slots=settings.batch_slots))
        if settings.import_slots:
            workers.append(import_worker(gateway, num_slots=settings.import_slots))
        async with working(*workers):
            yield
        loading.cancel()
        upkeep.cancel()
        await asyncio.wait([upkeep])  # what it is writing is written before the database is closed
        await settle(gateway)
        await gateway.meter.close()
        await gateway.models.pool.close()
        await gateway.objects.close()
        await gateway.database.close()
        await asyncio.to_thread(deps.engine.close)
        deps.registry.close()
        if deps.tracer is not None:
            await asyncio.to_thread(deps.tracer.close)

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
                max_score_difference=check.max_score_difference if check else None,
                tokens_per_s=round(check.tokens_per_s) if check else None,
                **(asdict(served.memory) if served.memory else {}),
            )
    except EmbergateError as error:
        on_failure(error)
    except Exception as error:
        log.exception("model_load_failed", model=asked.name)
        on_failure(ModelError(f"{asked.name} cannot be loaded: {type(error).__name__}: {error}"))
    else:
        deps.is_ready = True
