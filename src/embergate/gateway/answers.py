"""Answers of the gateway: messages in proto3 JSON, whole or as far as a read mask chooses."""

from __future__ import annotations

from typing import Any, Final

from pydantic import BaseModel

from embergate.aip.fieldmask import prune, read_tree
from embergate.aip.message import Message, write_message
from embergate.aip.scalars import Int32
from embergate.web.errors import JSONResponse


class Empty(Message):
    """Nothing: the answer of a deletion."""


class RpcError(BaseModel):
    """google.rpc.Status, the body of every error but a bad key's."""

    code: Int32
    message: str
    details: list[dict[str, Any]]


class CredentialError(BaseModel):
    """The body of a 401."""

    error: dict[str, Any]
    request_id: str | None = None


class ListResponse(Message):
    """One page of a list; a room's own class adds the resources."""

    next_page_token: str = ""
    total_size: Int32 = 0


GATEWAY_ERRORS: Final[dict[int | str, dict[str, Any]]] = {
    "401": {"model": CredentialError, "description": "The key or session is missing or not valid."},
    "4XX": {"model": RpcError, "description": "The call cannot be done; the body says why."},
    "5XX": {"model": RpcError, "description": "The server cannot do it now."},
}


def answer_secret(message: Message) -> JSONResponse:
    """Return a message with a secret in it as a response, which nobody on the way may keep."""
    response = answer(message)
    response.headers["cache-control"] = "no-store"
    return response


def answer(message: Message, read_mask: str = "") -> JSONResponse:
    """Return a message as a response."""
    return JSONResponse(prune(write_message(message), read_tree(read_mask, type(message))))
