"""`:upload`: a file in the request itself, of a size that needs no URL of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from fastapi import Request
from python_multipart.exceptions import FormParserError
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException
from starlette.types import Message, Receive

from embergate.aip.errors import InvalidArgumentError
from embergate.errors import PayloadTooLargeError, RequestTimeoutError

FIELD: Final = "file"
MAX_FILE_BYTES: Final = 150 << 20
# What is around the file in the form.
MAX_FORM_BYTES: Final = 64 << 10
PIECE_BYTES: Final = 1 << 20
IDLE_S: Final = 30.0


async def received_file(request: Request) -> UploadFile:
    """Return the file of a multipart form. As `received_form`."""
    file, _ = await received_form(request, MAX_FILE_BYTES)
    return file


async def received_form(request: Request, max_bytes: int) -> tuple[UploadFile, dict[str, str]]:
    """Return the file of a multipart form, which lies on the disk meanwhile and is to be closed, and the other fields.

    Raises: InvalidArgumentError if there is none; PayloadTooLargeError beyond `max_bytes`; RequestTimeoutError for a client
        that says nothing for half a minute.
    """
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > max_bytes + MAX_FORM_BYTES:
        raise too_large(max_bytes)
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise InvalidArgumentError(f"expected multipart/form-data with a field {FIELD!r}", field=FIELD)
    try:
        form = await Request(request.scope, _bounded(request.receive, max_bytes)).form(max_files=1, max_fields=20)
    except (MultiPartException, FormParserError) as error:
        raise InvalidArgumentError(f"the form is not valid: {error}", field=FIELD) from None
    file = form.get(FIELD)
    if not isinstance(file, UploadFile):
        await form.close()
        raise InvalidArgumentError(f"the form has no file in a field {FIELD!r}", field=FIELD)
    return file, {name: value for name, value in form.items() if isinstance(value, str)}


def _bounded(receive: Receive, max_bytes: int) -> Receive:
    """Return the same, for as many bytes as a form may have, none of which keeps us waiting for long."""
    num_bytes = 0

    async def receive_bounded() -> Message:
        nonlocal num_bytes
        try:
            async with asyncio.timeout(IDLE_S):
                message = await receive()
        except TimeoutError:
            raise RequestTimeoutError(f"nothing of the body came for {IDLE_S:g} s") from None
        num_bytes += len(message.get("body", b""))
        if num_bytes > max_bytes + MAX_FORM_BYTES:
            raise too_large(max_bytes)
        return message

    return receive_bounded


async def pieces_of(file: UploadFile) -> AsyncIterator[bytes]:
    """Yield a file's bytes."""
    while piece := await file.read(PIECE_BYTES):
        yield piece


def too_large(max_bytes: int) -> PayloadTooLargeError:
    """Return the error for a file that is to be uploaded otherwise."""
    return PayloadTooLargeError(f"a file in a form has at most {max_bytes} bytes; ask for upload endpoints instead")
