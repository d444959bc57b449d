"""Liveness, readiness and metrics. Public: they name the models served, but no account."""

from __future__ import annotations

from dataclasses import asdict

from fastapi import APIRouter, Depends
from starlette.responses import Response

from embergate.inference.deps import CurrentDeps
from embergate.web.caller import public
from embergate.web.errors import JSONResponse

router = APIRouter(dependencies=[Depends(public)])


@router.get("/health/live", summary="Is the process up?")
async def live() -> Response:
    """Answer 200 as long as the event loop turns."""
    return JSONResponse({"status": "live"})


@router.get("/health/ready", summary="Has every model run a forward pass?")
async def ready(deps: CurrentDeps) -> Response:
    """Answer 200 once the models have run, 503 before."""
    if deps.is_ready:
        return JSONResponse({"status": "ready"})
    return JSONResponse({"status": "loading"}, 503, {"retry-after": "1"})


@router.get("/metrics", summary="Prometheus metrics")
async def metrics(deps: CurrentDeps) -> Response:
    """Return the exposition text."""
    deps.metrics.queued_tokens.set(deps.engine.runner.queued_tokens)
    deps.metrics.in_flight.set(deps.engine.runner.num_in_flight)
    for served in deps.registry.list():
        if served.memory is not None:
            deps.metrics.set_memory(served.public_name, asdict(served.memory))
    return Response(deps.metrics.render(), media_type=deps.metrics.content_type)
