"""Error bodies of the inference plane, in the shape that OpenAI's and Fireworks' clients read. Never `{"detail": ...}`."""

from __future__ import annotations

import math
from typing import Any, Final

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from embergate.errors import (
    EmbergateError,
    InvalidRequestError,
    MethodNotAllowedError,
    NotFoundError,
    OverloadedError,
    PayloadTooLargeError,
    RequestTimeoutError,
    UnauthorizedError,
)

MAX_MESSAGE_CHARACTERS: Final = 2000


class JSONResponse(Response):
    """JSON by orjson."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """Serialise; numpy arrays included."""
        return orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)


def error_response(error: EmbergateError, request_id: str | None) -> JSONResponse:
    """Return the response that tells a client what went wrong and what to do."""
    # A message may quote the caller's own text; what cannot be encoded is shown escaped.
    message = error.message[:MAX_MESSAGE_CHARACTERS].encode("utf-8", "backslashreplace").decode()
    body: dict[str, Any] = {"error": {"message": message, "param": error.param, "code": error.code, "type": "error"}}
    if request_id is not None:
        body["request_id"] = request_id
    headers = {}
    if isinstance(error, OverloadedError):
        headers["retry-after"] = str(math.ceil(error.retry_after_s))
    if isinstance(error, UnauthorizedError):
        headers["www-authenticate"] = "Bearer"
    if isinstance(error, RequestTimeoutError | UnauthorizedError | PayloadTooLargeError):
        headers["connection"] = "close"  # the body may still be on its way
    return JSONResponse(body, error.http_status, headers)


async def handle_embergate_error(request: Request, error: Exception) -> Response:
    """Answer with the error's own status and code."""
    assert isinstance(error, EmbergateError), "registered for EmbergateError only. This is a bug."
    return error_response(error, getattr(request.state, "request_id", None))


async def handle_http_exception(request: Request, error: Exception) -> Response:
    """Give the router's own 404 and 405 our body."""
    assert isinstance(error, HTTPException), "registered for HTTPException only. This is a bug."
    translated: EmbergateError
    if error.status_code == MethodNotAllowedError.http_status:
        translated = MethodNotAllowedError(f"{request.method} is not a method of this path")
    elif error.status_code == NotFoundError.http_status:
        translated = NotFoundError(f"there is nothing at {request.url.path[:200]}")
    else:
        translated = InvalidRequestError(str(error.detail))
    response = error_response(translated, getattr(request.state, "request_id", None))
    response.headers.update(error.headers or {})
    return response
