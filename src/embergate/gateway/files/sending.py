"""Answers that are files: an object as it is, whole or a part of it, or what is made of objects on the way."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Final
from urllib.parse import quote

from fastapi import Request
from starlette.responses import Response

from embergate.errors import NotFoundError
from embergate.gateway.files.ranges import asked_range
from embergate.gateway.files.streams import FileResponse
from embergate.storage.objects.protocol import Objects

MEDIA_TYPE: Final = "application/octet-stream"


async def send_file(request: Request, objects: Objects, key: str, filename: str) -> Response:
    """Answer with an object, or the range of it that is asked for. Raises: NotFoundError; RangeNotSatisfiableError.

    Its name must be safe in a header, as `urls.safe_name` makes one.
    """
    info = await objects.find(key)
    if info is None:
        raise NotFoundError("there is no such file any more, or not yet")
    etag = f'"{info.etag}"'
    headers = {"etag": etag, "accept-ranges": "bytes", **_headers_of(filename)}
    if etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    is_same = request.headers.get("if-range", etag) == etag
    span = asked_range(request.headers.get("range") if is_same else None, info.size)
    status, (start, end) = (206, (span.start, span.end)) if span else (200, (0, info.size))
    if span is not None:
        headers["content-range"] = f"bytes {start}-{end - 1}/{info.size}"
    headers["content-length"] = str(end - start)
    if is_head(request):
        return Response(status_code=status, headers=headers, media_type=MEDIA_TYPE)
    return await _sent(objects.read(key, start, end - start, etag=info.etag), status, headers)


async def send_made(request: Request, chunks: AsyncGenerator[bytes, None], filename: str) -> Response:
    """Answer with bytes that are made on the way, always all of them. Raises: whatever `chunks` raises at first."""
    headers = _headers_of(filename)
    if is_head(request):
        await chunks.aclose()
        return Response(headers=headers, media_type=MEDIA_TYPE)
    return await _sent(chunks, 200, headers)


def is_head(request: Request) -> bool:
    """Tell whether only the head of an answer is asked for."""
    return getattr(request.state, "is_head", False)


async def _sent(chunks: AsyncGenerator[bytes, None], status: int, headers: dict[str, str]) -> Response:
    first = await anext(chunks, b"")  # before the answer begins: the file may be another by now
    return FileResponse(first, chunks, status, headers)


def _headers_of(filename: str) -> dict[str, str]:
    """Return the headers that have browsers save the file, and nobody else keep it."""
    plain = filename.encode("ascii", "replace").decode().replace("?", "_")
    return {
        "cache-control": "private, no-cache",
        "content-disposition": f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(filename, safe='')}",
        "x-content-type-options": "nosniff",
    }
