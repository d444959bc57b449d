"""What happens around every request: an id, a bound on the body, a line in the log, a count, and an answer to a bug."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from typing import Final

import structlog
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from embergate.clock import monotonic_s
from embergate.errors import EmbergateError, PayloadTooLargeError, ShuttingDownError
from embergate.ids import new_request_id
from embergate.web.errors import error_response
from embergate.web.request_log import QUIET_ROUTES, level_of, logging_of, note, stack_of
from embergate.web.tracing import UNTRACED, RequestSpan, Tracer

log: structlog.stdlib.BoundLogger = structlog.get_logger()

UNMATCHED: Final = "unmatched"
METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
# Called with the route's path pattern, the status and the seconds from first byte in to last byte out.
Observe = Callable[[str, int, float], None]


class RequestContextMiddleware:
    """Gives each request an id, answers unforeseen errors with a 500 that carries it, and reports the outcome."""

    def __init__(self, app: ASGIApp, *, observe: Observe, tracer: Tracer | None = None) -> None:
        """Wrap `app`; requests have spans if there is a tracer."""
        self.app = app
        self.observe = observe
        self.tracer = tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id, method = new_request_id(), method_of(scope)
        if method == "HEAD":
            scope = {
                **scope,
                "method": "GET",
            }  # the same answer; the server below, which has the other scope, drops its body
        state = scope.setdefault("state", {})
        # A route that reads much for its answer wants to know that only the head is asked for.
        state.update(request_id=request_id, is_head=method == "HEAD")
        started_at_s = monotonic_s()
        with logging_of(request_id), self._span_of(scope, method) as span:
            if span is not None:
                note(trace_id=span.trace_id)
            status = await self._answer(scope, receive, send, request_id)
            seconds, route = monotonic_s() - started_at_s, route_of(scope)
            self.observe(route, status, seconds)
            if span is not None:
                span.tell(route, status, request_id)
            level = level_of(route, status, is_write=state.get("is_write", False))
            log.log(level, "request", method=method, route=route, status=status, seconds=round(seconds, 6))

    def _span_of(self, scope: Scope, method: str) -> AbstractContextManager[RequestSpan | None]:
        if self.tracer is None or scope["path"] in QUIET_ROUTES:
            return UNTRACED
        return self.tracer.request(method, Headers(scope=scope))

    async def _answer(self, scope: Scope, receive: Receive, send: Send, request_id: str) -> int:
        """Answer, and return the status; 499 if the client left before that."""
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode())]
            await send(message)

        try:
            await self.app(scope, receive, send_with_id)
        except ClientDisconnect:
            pass  # nobody reads an answer
        except asyncio.CancelledError:
            # Only the server cancels a request, when the grace after SIGTERM is over; the task ends with this answer.
            if status:
                raise
            await error_response(ShuttingDownError(), request_id, scope["path"])(scope, receive, send_with_id)
        except Exception as error:
            log.error("request_failed", route=route_of(scope), error=type(error).__qualname__, stack=stack_of(error))
            if status:
                raise
            await error_response(EmbergateError(), request_id, scope["path"])(scope, receive, send_with_id)
        return status or 499


class BodyLimitMiddleware:
    """Refuses a body larger than `max_bytes`, by its announced length or else as it arrives.

    NOTE: many clients write their whole body before they read, and never see an answer if the connection is reset while
    they write. What is left of a body that was answered early is therefore read and dropped, within the same bound.
    """

    def __init__(
        self, app: ASGIApp, *, max_bytes: int, exempt: re.Pattern[str] | None = None, linger_s: float = 2.0
    ) -> None:
        """Wrap `app`; the rest of an answered request's body is awaited for at most `linger_s`.

        Routes whose paths `exempt` matches bound the bodies themselves, each by what it was promised.
        """
        self.app = app
        self.max_bytes = max_bytes
        self.exempt = exempt
        self.linger_s = linger_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        announced = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        is_unread = announced != b"0" or any(name == b"transfer-encoding" for name, _ in scope["headers"])
        received = 0
        is_bounded = self.exempt is None or not self.exempt.match(scope["path"])

        async def receive_bounded() -> Message:
            nonlocal received, is_unread
            message = await receive()
            received += len(message.get("body", b""))
            is_unread = message.get("more_body", False)
            if is_bounded and received > self.max_bytes:
                raise self._too_large()
            return message

        async def send_and_linger(message: Message) -> None:
            if is_unread and message["type"] == "http.response.body" and not message.get("more_body", False):
                await send({**message, "more_body": True})
                await self._drop_body(receive)
                message = {"type": "http.response.body"}
            await send(message)

        if is_bounded and announced.isdigit() and int(announced) > self.max_bytes:
            response = error_response(self._too_large(), scope.get("state", {}).get("request_id"), scope["path"])
            await response(scope, receive, send_and_linger)
        else:
            await self.app(scope, receive_bounded, send_and_linger)

    def _too_large(self) -> PayloadTooLargeError:
        return PayloadTooLargeError(f"the body is larger than {self.max_bytes} bytes; send fewer inputs")

    async def _drop_body(self, receive: Receive) -> None:
        dropped, more = 0, True
        with suppress(TimeoutError):
            async with asyncio.timeout(self.linger_s):
                while more and dropped <= self.max_bytes:
                    message = await receive()
                    dropped += len(message.get("body", b""))
                    more = message.get("more_body", False)


def method_of(scope: Scope) -> str:
    """Return the method, `other` for one that we do not know: a caller may write anything there."""
    method: str = scope["method"]
    return method if method in METHODS else "other"


def route_of(scope: Scope) -> str:
    """Return the route's pattern, never the path itself, which could hold anything."""
    path: str = getattr(scope.get("route"), "path", UNMATCHED)
    return path
