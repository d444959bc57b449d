"""Error bodies, in the two shapes that clients read. Never `{"detail": ...}`.

The inference plane, and a bad key anywhere: `{"error": {"message", "param", "code", "type"}, "request_id"}`.
The gateway: google.rpc.Status, `{"code", "message", "details"}`.
"""

from __future__ import annotations

import math
import re
from typing import Any, Final

import orjson
from fastapi.exceptions import RequestValidationError
from fastapi.routing import iter_route_contexts
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import compile_path

from embergate.aip.errors import InvalidArgumentError
from embergate.aip.status import CODE_OF_HTTP_STATUS, Code
from embergate.errors import (
    EmbergateError,
    InvalidRequestError,
    MethodNotAllowedError,
    NotFoundError,
    OverloadedError,
    PayloadTooLargeError,
    RequestTimeoutError,
    TooManyRequestsError,
    UnauthorizedError,
)
from embergate.web.request_log import note

MAX_MESSAGE_CHARACTERS: Final = 2000
BAD_REQUEST_TYPE: Final = "type.googleapis.com/google.rpc.BadRequest"
# NOTE: this chooses a body's shape, where the router itself or the body limit answers; it lets nobody in.
INFERENCE_PATH: Final = re.compile(
    r"/inference/(?!v1/accounts/)|/v1/(embeddings|models|rerank|files|batches)(/|$)|/(health|metrics)"
)


class JSONResponse(Response):
    """JSON by orjson."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """Serialise; numpy arrays included."""
        return orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)


def translate(error: Exception) -> EmbergateError:
    """Return the error of our own tree that stands for one of a layer below."""
    if isinstance(error, EmbergateError):
        return error
    if isinstance(error, InvalidArgumentError):
        return InvalidRequestError(error.message, param=error.field)
    if isinstance(error, RequestValidationError):
        problem = error.errors()[0]
        field = ".".join(str(part) for part in problem["loc"][1:])
        return InvalidRequestError(f"{field}: {problem['msg'].removeprefix('Value error, ')}", param=field)
    return EmbergateError()


def status_of(error: Exception) -> tuple[str, str]:
    """Return the google.rpc code's name and the message of an error."""
    known = translate(error)
    code = known.code if known.code in Code.__members__ else CODE_OF_HTTP_STATUS.get(known.http_status, Code.UNKNOWN)
    return str(code), _encodable(known.message)


def error_response(error: EmbergateError, request_id: str | None, path: str = "/inference/") -> JSONResponse:
    """Return the response that tells a client what went wrong and what to do, in the shape of the path's plane."""
    headers = dict(error.headers)
    if isinstance(error, OverloadedError | TooManyRequestsError):
        headers["retry-after"] = str(math.ceil(error.retry_after_s))
    if isinstance(error, UnauthorizedError):
        headers["www-authenticate"] = "Bearer"
    if isinstance(error, RequestTimeoutError | UnauthorizedError | PayloadTooLargeError):
        headers["connection"] = "close"  # the body may still be on its way
    if isinstance(error, UnauthorizedError) or INFERENCE_PATH.match(path):
        return JSONResponse(_openai_body(error, request_id), error.http_status, headers)
    if error.http_status == 409:
        headers["x-should-retry"] = "false"  # clients retry a 409 by themselves; here it would only fail again
    return JSONResponse(_rpc_body(error), error.http_status, headers)


def _openai_body(error: EmbergateError, request_id: str | None) -> dict[str, Any]:
    message = _encodable(error.message)
    body: dict[str, Any] = {"error": {"message": message, "param": error.param, "code": error.code, "type": "error"}}
    if request_id is not None:
        body["request_id"] = request_id
    return body


def _rpc_body(error: EmbergateError) -> dict[str, Any]:
    code, message = status_of(error)
    details = []
    if error.param is not None:
        violation = {"field": _encodable(error.param), "description": message}
        details.append({"@type": BAD_REQUEST_TYPE, "fieldViolations": [violation]})
    return {"code": Code(code).number, "message": message, "details": details}


def _encodable(text: str) -> str:
    """Bound a message, which may quote the caller's own text, and show escaped what cannot be encoded."""
    return text[:MAX_MESSAGE_CHARACTERS].encode("utf-8", "backslashreplace").decode()


async def handle_error(request: Request, error: Exception) -> Response:
    """Answer with the error's own status and code."""
    known = translate(error)
    note(code=known.code)
    return error_response(known, getattr(request.state, "request_id", None), request.url.path)


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
    response = await handle_error(request, translated)
    response.headers.update(error.headers or {})
    if error.status_code == MethodNotAllowedError.http_status:
        response.headers["allow"] = ", ".join(_methods_of(request))
    return response


def _methods_of(request: Request) -> list[str]:
    """Return the methods of a path: the router itself knows only those of the first route that has the path.

    NOTE: an id matches `x:verb` as well, so a path with a verb is compared with routes that have one, and no others.
    """
    path = request.url.path
    found: set[str] = set()
    for route in iter_route_contexts(request.app.routes):
        template = str(route.path)
        has_verb = [":" in re.sub(r"\{[^}]*\}", "", text.rpartition("/")[2]) for text in (template, path)]
        if has_verb[0] == has_verb[1] and compile_path(template)[0].match(path):
            found |= route.methods or set()
    return sorted(found)
