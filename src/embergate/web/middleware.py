"""What happens around every request: an id, a bound on the body, a line in the log, a count, and an answer to a bug."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from embergate.clock import monotonic_s
from embergate.errors import EmbergateError, PayloadTooLargeError, ShuttingDownError
from embergate.ids import new_request_id
from embergate.web.errors import error_response

log: structlog.stdlib.BoundLogger = structlog.get_logger()

# Called with the route's path pattern, the status and the seconds from first byte in to last byte out.
Observe = Callable[[str, int, float], None]


class RequestContextMiddleware:
    """Gives each request an id, answers unforeseen errors with a 500 that carries it, and reports the outcome."""

    def __init__(self, app: ASGIApp, *, observe: Observe) -> None:
        """Wrap `app`."""
        self.app = app
        self.observe = observe

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = new_request_id()
        scope.setdefault("state", {})["request_id"] = request_id
        started_at_s = monotonic_s()
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
            pass  # nobody reads an answer; it is counted as a 499 below
        except asyncio.CancelledError:
            # Only the server cancels a request, when the grace after SIGTERM is over; the task ends with this answer.
            if status:
                raise
            await error_response(ShuttingDownError(), request_id, scope["path"])(scope, receive, send_with_id)
        except Exception:
            log.exception("request_failed", request_id=request_id, path=_route_of(scope))
            if status:
                raise
            await error_response(EmbergateError(), request_id, scope["path"])(scope, receive, send_with_id)
        seconds = monotonic_s() - started_at_s
        self.observe(_route_of(scope), status, seconds)
        log.debug(
            "request",
            request_id=request_id,
            method=scope["method"],
            path=_route_of(scope),
            status=status,
            seconds=round(seconds, 6),
        )


class BodyLimitMiddleware:
    """Refuses a body larger than `max_bytes`, by its announced length or else as it arrives."""

    def __init__(self, app: ASGIApp, *, max_bytes: int) -> None:
        """Wrap `app`."""
        self.app = app
        self.max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        announced = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        if announced.isdigit() and int(announced) > self.max_bytes:
            await self._refuse(scope, receive, send)
            return
        received = 0

        async def receive_bounded() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self.max_bytes:
                raise PayloadTooLargeError(f"the body is larger than {self.max_bytes} bytes; send fewer inputs")
            return message

        await self.app(scope, receive_bounded, send)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        error = PayloadTooLargeError(f"the body is larger than {self.max_bytes} bytes; send fewer inputs")
        response = error_response(error, scope.get("state", {}).get("request_id"), scope["path"])
        response.headers["connection"] = "close"  # the body is not read
        await response(scope, receive, send)


def _route_of(scope: Scope) -> str:
    """Return the route's pattern, never the path itself, which could hold anything."""
    path: str = getattr(scope.get("route"), "path", "unmatched")
    return path
