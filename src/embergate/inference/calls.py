"""What every paid request of this plane goes through, whatever it asks: from its body to an answer that is charged.

Read, find the model, let in, tokenise, reserve, run, encode, settle: once, in this order. A kind of request declares its
fields, its work and its answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final, Protocol, TypeVar

from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive

from embergate.clock import monotonic_s
from embergate.engine.engine import Timings, TokenizedRequest
from embergate.engine.registry import ServedModel
from embergate.errors import EmbergateError, FingerprintMismatchError, RequestTimeoutError
from embergate.inference.deps import Deps
from embergate.inference.dry_run import Described, answer_dry_run, is_dry_run
from embergate.web.caller import Caller
from embergate.web.errors import JSONResponse
from embergate.web.metering import (
    ANNOTATIONS_HEADER,
    IDEMPOTENCY_HEADER,
    Demand,
    Tab,
    UsageKind,
    annotations_of,
    idempotency_key_of,
)
from embergate.web.request_log import note

FINGERPRINT_HEADER: Final = "x-embergate-fingerprint"
EXPECTED_FINGERPRINT_HEADER: Final = "x-embergate-expect-fingerprint"
# Above this many bytes, reading the JSON takes long enough to be felt by others: it moves to a thread.
MAX_INLINE_BYTES: Final = 64 << 10
T = TypeVar("T")


class Result(Protocol):
    """What came of running a request."""

    @property
    def num_tokens(self) -> tuple[int, ...]:
        """The tokens of each input."""
        ...

    @property
    def timings(self) -> Timings:
        """Where the time went."""
        ...


R = TypeVar("R", bound=Result)


class Work(Described, Protocol[R]):
    """A request that was understood, and the model at hand for it."""

    @property
    def fingerprint(self) -> str:
        """The fingerprint of what it will be answered."""
        ...

    @property
    def tells_metrics(self) -> bool:
        """Whether the answer's body has the timings too."""
        ...

    def count(self) -> Awaitable[Sequence[int | None]]:
        """Count the tokens of each input; None for one too long to be counted."""
        ...

    def tokenize(self) -> Awaitable[TokenizedRequest]:
        """Tokenise, which tells what it will cost. Raises: InvalidRequestError; OverloadedError."""
        ...

    def run(self, request: TokenizedRequest, /) -> Awaitable[R]:
        """Run what was tokenised. Raises: OverloadedError."""
        ...

    def content(self, result: R, /) -> dict[str, Any]:
        """Return the answer's body."""
        ...

    def is_long(self, result: R, /) -> bool:
        """Tell whether writing the body takes long enough to be felt by others."""
        ...

    def name_as_sent(self, error: EmbergateError, /) -> None:
        """Let an error name the fields as the request wrote them."""
        ...


class Asked(Protocol):
    """A body that was understood."""

    def model_name(self, deps: Deps, /) -> str:
        """Return the model's name. Raises: ModelNotFoundError if the request names none, and there is none for it."""
        ...

    def work(self, deps: Deps, served: ServedModel, account_id: str) -> Work[Any]:
        """Return the work. Raises: InvalidRequestError for what the model does not do."""
        ...


@dataclass(frozen=True, slots=True)
class Call:
    """One request, who sent it, and since when it runs."""

    request: Request
    caller: Caller
    deps: Deps
    started_at_s: float


async def answer_call(request: Request, caller: Caller, deps: Deps, parse: Callable[[bytes], Asked]) -> Response:
    """Answer a request whose body `parse` understands, within the time that there is for one."""
    call = Call(request, caller, deps, monotonic_s())
    try:
        async with asyncio.timeout(deps.limits.timeout_s) as timer:
            return await _answer(call, parse, timer)
    except TimeoutError:
        raise RequestTimeoutError(f"no answer within {deps.limits.timeout_s:g} s; send fewer inputs") from None


async def _answer(call: Call, parse: Callable[[bytes], Asked], timer: asyncio.Timeout) -> Response:
    deps, request = call.deps, call.request
    raw = await request.body()
    asked = parse(raw) if len(raw) <= MAX_INLINE_BYTES else await run_in_threadpool(parse, raw)
    async with deps.using_model(asked.model_name(deps), call.caller.account) as served:
        work = asked.work(deps, served, call.caller.account)
        _check_fingerprint(request.headers.get(EXPECTED_FINGERPRINT_HEADER), work.fingerprint)
        demand = _demand_of(call, raw, served, work.usage)
        async with deps.meter.open(demand) as tab:
            try:
                if demand.is_dry_run:
                    counts = await until_disconnect(request.receive, work.count())
                    return await answer_dry_run(deps, served, work, tab, counts)
                response = await _run(call, served, work, tab)
                timer.reschedule(None)  # what is charged is answered
                with deps.stage("settle"):
                    await tab.settle()
            except EmbergateError as error:
                work.name_as_sent(error)
                error.headers = {**tab.headers, **error.headers}
                raise
            response.headers.update(tab.headers)
        return response


async def _run(call: Call, served: ServedModel, work: Work[Any], tab: Tab) -> Response:
    deps, receive = call.deps, call.request.receive
    with deps.stage("tokenize"):
        tokenized = await until_disconnect(receive, work.tokenize())
    note(model=served.public_name, prompt_tokens=sum(tokenized.num_tokens))
    with deps.stage("reserve"):
        await tab.reserve(tokenized.num_tokens)
    with deps.stage("queue_and_forward"):
        result = await until_disconnect(receive, work.run(tokenized))
    with deps.stage("encode"):
        return await _respond(call, served, work, result)


def _demand_of(call: Call, raw: bytes, served: ServedModel, usage: UsageKind) -> Demand:
    request = call.request
    key = idempotency_key_of(request.headers.get(IDEMPOTENCY_HEADER))
    return Demand(
        request_id=request.state.request_id,
        caller=call.caller,
        model=served.id,
        list_price_nanos=served.list_price_nanos,
        annotations=annotations_of(request.headers.getlist(ANNOTATIONS_HEADER)),
        idempotency_key=key,
        request_digest=sha256(raw).digest() if key is not None else None,
        is_dry_run=is_dry_run(request.headers),
        usage=usage,
    )


def _check_fingerprint(expected: str | None, actual: str) -> None:
    if expected is not None and expected != actual:
        raise FingerprintMismatchError(
            f"the request expects fingerprint {expected[:64]}, this model with these options has {actual}; what the two "
            "give is not comparable"
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


async def _respond(call: Call, served: ServedModel, work: Work[Any], result: Result) -> Response:
    num_tokens = sum(result.num_tokens)
    content = work.content(result)
    headers = _timing_headers(call.deps, result, num_tokens, monotonic_s() - call.started_at_s)
    if work.tells_metrics:
        content["perf_metrics"] = {name.removeprefix("fireworks-"): value for name, value in headers.items()}
    encoding_at_s = monotonic_s()
    response = await run_in_threadpool(JSONResponse, content) if work.is_long(result) else JSONResponse(content)
    response.headers.update({**headers, FINGERPRINT_HEADER: work.fingerprint})
    _count(call.deps, served, result, num_tokens, monotonic_s() - encoding_at_s)
    return response


def _timing_headers(deps: Deps, result: Result, num_tokens: int, processing_s: float) -> dict[str, str]:
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


def _count(deps: Deps, served: ServedModel, result: Result, num_tokens: int, encode_s: float) -> None:
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
