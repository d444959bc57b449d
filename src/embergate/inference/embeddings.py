"""`POST /embeddings`: parse, embed, encode, tell what it cost."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from hashlib import sha256
from typing import Any, Final, TypeVar

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive

from embergate.clock import monotonic_s
from embergate.engine.engine import EmbedOptions, EmbedResult
from embergate.engine.registry import ServedModel
from embergate.errors import EmbergateError, FingerprintMismatchError, RequestTimeoutError
from embergate.inference.deps import CurrentDeps, Deps
from embergate.inference.documents import ERRORS, DryRun, EmbeddingList
from embergate.inference.dry_run import answer_dry_run, is_dry_run
from embergate.inference.encoding import encode_vectors
from embergate.inference.schemas import EmbeddingRequest, Inputs, parse_embedding_request
from embergate.web.caller import Caller, CurrentCaller
from embergate.web.errors import JSONResponse
from embergate.web.metering import ANNOTATIONS_HEADER, IDEMPOTENCY_HEADER, Demand, annotations_of, idempotency_key_of
from embergate.web.request_log import note

FINGERPRINT_HEADER: Final = "x-embergate-fingerprint"
EXPECTED_FINGERPRINT_HEADER: Final = "x-embergate-expect-fingerprint"
# Above this many numbers, writing the JSON takes long enough to be felt by others: it moves to a thread.
MAX_INLINE_NUMBERS: Final = 50_000
# Above this many bytes, reading the JSON does.
MAX_INLINE_BYTES: Final = 64 << 10

router = APIRouter()
T = TypeVar("T")

REQUEST: Final = {
    "parameters": [
        {
            "name": "X-Embergate-Dry-Run",
            "in": "header",
            "description": "`true`: run nothing, and tell what the request would cost and meet.",
            "schema": {"type": "string", "enum": ["true", "false"]},
        }
    ],
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/EmbeddingRequest"}}},
    },
}


@router.post(
    "/embeddings",
    openapi_extra=REQUEST,
    responses={200: {"model": EmbeddingList | DryRun}, **ERRORS},
    summary="Embed one text or several",
)
async def create_embeddings(request: Request, caller: CurrentCaller, deps: CurrentDeps) -> Response:
    """Return one vector for each input, in input order, and the number of tokens that were run."""
    try:
        async with asyncio.timeout(deps.limits.timeout_s) as timer:
            return await _answer(request, caller, deps, timer)
    except TimeoutError:
        raise RequestTimeoutError(f"no answer within {deps.limits.timeout_s:g} s; send fewer inputs") from None


async def _answer(request: Request, caller: Caller, deps: Deps, timer: asyncio.Timeout) -> Response:
    started_at_s = monotonic_s()
    raw = await request.body()
    body, inputs = await _parse(raw, deps)
    async with deps.using_model(body.model, caller.account) as served:
        options = _options_of(body, served, tenant=caller.account)
        fingerprint = served.model.fingerprint_of(
            dimensions=options.dimensions, normalize=options.normalize, prompt=options.prompt
        )
        _check_fingerprint(request.headers.get(EXPECTED_FINGERPRINT_HEADER), fingerprint)
        demand = _demand_of(request, raw, caller, served)
        async with deps.meter.open(demand) as tab:
            try:
                if demand.is_dry_run:
                    counts = await until_disconnect(
                        request.receive, deps.engine.count_tokens(served.model, inputs, options)
                    )
                    return await answer_dry_run(deps, served, body.model, tab, counts)
                with deps.stage("tokenize"):
                    tokenized = await until_disconnect(
                        request.receive, deps.engine.tokenize(served.model, inputs, options)
                    )
                note(model=served.public_name, prompt_tokens=sum(tokenized.num_tokens))
                with deps.stage("reserve"):
                    await tab.reserve(tokenized.num_tokens)
                with deps.stage("queue_and_forward"):
                    result = await until_disconnect(request.receive, deps.engine.run(served.model, tokenized, options))
                with deps.stage("encode"):
                    response = await _respond(deps, body, served, result, fingerprint, started_at_s)
                timer.reschedule(None)  # what is charged is answered
                with deps.stage("settle"):
                    await tab.settle()
            except EmbergateError as error:
                if body.has_one_input:
                    _name_as_sent(error)
                error.headers = {**tab.headers, **error.headers}
                raise
            response.headers.update(tab.headers)
        return response


def _demand_of(request: Request, raw: bytes, caller: Caller, served: ServedModel) -> Demand:
    key = idempotency_key_of(request.headers.get(IDEMPOTENCY_HEADER))
    return Demand(
        request_id=request.state.request_id,
        caller=caller,
        model=served.id,
        list_price_nanos=served.list_price_nanos,
        annotations=annotations_of(request.headers.getlist(ANNOTATIONS_HEADER)),
        idempotency_key=key,
        request_digest=sha256(raw).digest() if key is not None else None,
        is_dry_run=is_dry_run(request.headers),
    )


async def _parse(raw: bytes, deps: Deps) -> tuple[EmbeddingRequest, Inputs]:
    if len(raw) <= MAX_INLINE_BYTES:
        return parse_embedding_request(raw, max_inputs=deps.limits.max_inputs)
    return await run_in_threadpool(parse_embedding_request, raw, max_inputs=deps.limits.max_inputs)


def _name_as_sent(error: EmbergateError) -> None:
    """Name an input as the request wrote it, for which it is not the first of a list."""
    error.message = error.message.replace("input[0]", "input", 1)
    error.param = error.param and error.param.replace("input[0]", "input", 1)


def _options_of(body: EmbeddingRequest, served: ServedModel, *, tenant: str) -> EmbedOptions:
    served.model.check_dimensions(body.dimensions)
    return EmbedOptions(body.dimensions, body.normalize, served.model.spec.prompt_for(body.input_type), tenant)


def _check_fingerprint(expected: str | None, actual: str) -> None:
    if expected is not None and expected != actual:
        raise FingerprintMismatchError(
            f"the request expects fingerprint {expected[:64]}, this model with these options has {actual}; vectors of the "
            "two are not comparable"
        )


async def until_disconnect(receive: Receive, work: Awaitable[T]) -> T:
    """Await `work`, and cancel it when the client leaves. Raises: ClientDisconnect if it left."""
    job = asyncio.ensure_future(work)
    watcher = asyncio.ensure_future(_wait_for_disconnect(receive))
    try:
        await asyncio.wait((job, watcher), return_when=asyncio.FIRST_COMPLETED)
        if not job.done():
            raise ClientDisconnect
        return job.result()
    finally:
        job.cancel()
        watcher.cancel()


async def _wait_for_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _respond(
    deps: Deps,
    body: EmbeddingRequest,
    served: ServedModel,
    result: EmbedResult,
    fingerprint: str,
    started_at_s: float,
) -> Response:
    num_tokens = sum(result.num_tokens)
    content: dict[str, Any] = {
        "object": "list",
        "data": encode_vectors(result.vectors, body.encoding_format or "float"),
        "model": body.model,
        "usage": {"prompt_tokens": num_tokens, "total_tokens": num_tokens},
    }
    headers = _timing_headers(deps, result, num_tokens, monotonic_s() - started_at_s)
    if body.perf_metrics_in_response:
        content["perf_metrics"] = {name.removeprefix("fireworks-"): value for name, value in headers.items()}
    encoding_at_s = monotonic_s()
    if result.vectors.size > MAX_INLINE_NUMBERS:
        response = await run_in_threadpool(JSONResponse, content)
    else:
        response = JSONResponse(content)
    response.headers.update({**headers, FINGERPRINT_HEADER: fingerprint})
    _count(deps, served, result, num_tokens, monotonic_s() - encoding_at_s)
    return response


def _timing_headers(deps: Deps, result: EmbedResult, num_tokens: int, processing_s: float) -> dict[str, str]:
    timings = result.timings
    return {
        "fireworks-prompt-tokens": str(num_tokens),
        "fireworks-cached-prompt-tokens": "0",
        "fireworks-server-time-to-first-token": f"{processing_s:.6f}",
        "fireworks-server-processing-time": f"{processing_s:.6f}",
        "fireworks-tokenizer-queue-duration": f"{timings.tokenizer_queue_s:.6f}",
        "fireworks-tokenizer-duration": f"{timings.tokenizer_s:.6f}",
        "fireworks-prefill-queue-duration": f"{timings.queue_s:.6f}",
        "fireworks-prefill-duration": f"{timings.forward_s:.6f}",
        "fireworks-num-concurrent-requests": str(deps.engine.runner.num_in_flight),
    }


def _count(deps: Deps, served: ServedModel, result: EmbedResult, num_tokens: int, encode_s: float) -> None:
    deps.metrics.tokens.labels(served.public_name).inc(num_tokens)
    deps.metrics.inputs.labels(served.public_name).inc(len(result.num_tokens))
    timings = result.timings
    stages = {
        "tokenizer_queue": timings.tokenizer_queue_s,
        "tokenizer": timings.tokenizer_s,
        "queue": timings.queue_s,
        "forward": timings.forward_s,
        "encode": encode_s,
    }
    for stage, seconds in stages.items():
        deps.metrics.stage_seconds.labels(stage).observe(seconds)
