"""`:upload`: a file in the request itself, of a size that needs no URL of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

from fastapi import Request
from python_multipart.exceptions import FormParserError
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException

from embergate.aip.errors import InvalidArgumentError
from embergate.errors import PayloadTooLargeError

FIELD: Final = "file"
MAX_FILE_BYTES: Final = 150 << 20
# What is around the file in the form.
MAX_FORM_BYTES: Final = 64 << 10
PIECE_BYTES: Final = 1 << 20


async def received_file(request: Request) -> UploadFile:
    """Return the file of a multipart form, which lies on the disk meanwhile. To be closed.

    Raises: InvalidArgumentError if there is none; PayloadTooLargeError beyond 150 MiB.
    """
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > MAX_FILE_BYTES + MAX_FORM_BYTES:
        raise too_large()
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise InvalidArgumentError(f"expected multipart/form-data with a field {FIELD!r}", field=FIELD)
    try:
        form = await request.form(max_files=1, max_fields=20)
    except (MultiPartException, FormParserError) as error:
        raise InvalidArgumentError(f"the form is not valid: {error}", field=FIELD) from None
    file = form.get(FIELD)
    if not isinstance(file, UploadFile):
        raise InvalidArgumentError(f"the form has no file in a field {FIELD!r}", field=FIELD)
    return file


async def pieces_of(file: UploadFile) -> AsyncIterator[bytes]:
    """Yield a file's bytes."""
    while piece := await file.read(PIECE_BYTES):
        yield piece


def too_large() -> PayloadTooLargeError:
    """Return the error for a file that is to be uploaded otherwise."""
    return PayloadTooLargeError(
        f"a file in a form has at most {MAX_FILE_BYTES} bytes; ask for upload endpoints instead"
    )
