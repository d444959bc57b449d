"""Bodies of gateway calls: bounded JSON, read into the message that the operation takes."""

from __future__ import annotations

import asyncio
from typing import Any, Final, TypeVar

import orjson
from fastapi import Depends, Request

from embergate.aip.errors import InvalidArgumentError
from embergate.aip.message import Message, parse_message
from embergate.errors import PayloadTooLargeError, RequestTimeoutError

MAX_BODY_BYTES: Final = 1 << 20
MAX_JSON_DEPTH: Final = 64
# Some bodies are read before anybody is known to be somebody: a slow one must not keep its connection for long.
BODY_TIMEOUT_S: Final = 30.0
INPUT_SUFFIX: Final = "Input"
PART_SUFFIX: Final = "Update"
M = TypeVar("M", bound=Message)


async def read_json(request: Request, *, is_required: bool) -> Any:
    """Return the request's body as JSON; none at all is an empty object, where a call does without.

    Raises: InvalidArgumentError saying where it is not JSON; PayloadTooLargeError beyond a megabyte; RequestTimeoutError
        if it takes longer than half a minute to arrive.
    """
    received = await _read(request)
    if is_required and not received.strip():
        raise InvalidArgumentError("the body is missing: send a JSON object")
    try:
        value = orjson.loads(received) if received.strip() else {}
    except orjson.JSONDecodeError as error:
        raise InvalidArgumentError(f"the body is not valid JSON: {error}") from error
    _check_json(value, MAX_JSON_DEPTH)
    return value


async def _read(request: Request) -> bytes:
    received = bytearray()
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            async for chunk in request.stream():
                received += chunk
                if len(received) > MAX_BODY_BYTES:
                    raise PayloadTooLargeError(f"the body is larger than {MAX_BODY_BYTES} bytes")
    except TimeoutError:
        raise RequestTimeoutError(f"the body did not arrive within {BODY_TIMEOUT_S:g} s") from None
    return bytes(received)


def _check_json(value: Any, depth: int) -> None:
    if depth == 0:
        raise InvalidArgumentError(f"the body is nested more than {MAX_JSON_DEPTH} deep")
    if isinstance(value, str) and "\0" in value:
        raise InvalidArgumentError("the body holds a NUL character, which cannot be stored")
    if isinstance(value, dict):
        for key, item in value.items():
            _check_json(key, depth)
            _check_json(item, depth - 1)
    elif isinstance(value, list):
        for item in value:
            _check_json(item, depth - 1)


def body_of(message_type: type[M]) -> Any:
    """Return a dependency on the request's body as a message."""

    def parsed(request: Request) -> M:
        return parse_message(message_type, request.state.json)

    return Depends(parsed)


def request_body(message_type: type[Message], *, is_part: bool, is_required: bool) -> dict[str, Any]:
    """Return the OpenAPI description of a body; `gateway/document.py` adds the schema that it names."""
    name = message_type.__name__ + (PART_SUFFIX if is_part else INPUT_SUFFIX)
    reference = {"$ref": f"#/components/schemas/{name}"}
    return {"requestBody": {"required": is_required, "content": {"application/json": {"schema": reference}}}}
