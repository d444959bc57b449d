"""PUT and GET of files by signed URLs. The signature is the caller's permission; who the caller is does not matter."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from embergate.errors import InvalidRequestError, NotFoundError, PayloadTooLargeError
from embergate.gateway.deps import gateway_of
from embergate.gateway.files.ranges import Span, check_length_range, sent_range
from embergate.gateway.files.sending import send_file
from embergate.gateway.files.signing import PURPOSE, Grant, verify
from embergate.gateway.files.streams import paced
from embergate.gateway.files.urls import FILES_PATH
from embergate.storage.objects.local import LocalObjects
from embergate.storage.objects.protocol import Expected, ObjectInfo
from embergate.storage.objects.resumable import Upload

RESUME_INCOMPLETE: Final = 308
PATH: Final = f"{FILES_PATH}{{key:path}}"
# No schema: nobody makes these URLs but the server itself.
router = APIRouter(tags=["files"], include_in_schema=False)


def require_signature(request: Request) -> Grant:
    """Return what the URL allows. Raises: ForbiddenError if it is not signed by this server, or not for this."""
    keys = gateway_of(request).keyring.keys(PURPOSE)
    return verify(keys, request.method, request.path_params["key"], request.query_params.multi_items())


def file_store(request: Request) -> LocalObjects:
    """Return the store of this server's file plane. Raises: NotFoundError if the files are in a bucket by now."""
    objects = gateway_of(request).objects
    if not isinstance(objects, LocalObjects):
        raise NotFoundError("this server's files are in a bucket now; ask for a new URL")
    return objects


Granted = Annotated[Grant, Depends(require_signature)]
Store = Annotated[LocalObjects, Depends(file_store)]


@router.put(PATH)
async def upload(request: Request, grant: Granted, store: Store) -> Response:
    """Write a file, or a part of one; tell how far an upload is."""
    if grant.size is None or grant.upload is None:
        raise InvalidRequestError("the URL is for no upload")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise InvalidRequestError("Content-Encoding is not taken: send the file's own bytes, not compressed ones")
    check_length_range(request.headers.get("x-goog-content-length-range"), grant.size)
    content_range = request.headers.get("content-range")
    if content_range is not None:
        part = sent_range(content_range, grant.size)
        return await _resume(request, Upload(grant.key, grant.size, grant.upload, grant.sha256), part, store)
    _check_announced(request, grant.size)
    expect = Expected(size=grant.size, sha256=grant.sha256)
    return _written(await store.write(grant.key, paced(request), expect=expect))


async def _resume(request: Request, upload: Upload, part: Span | None, store: LocalObjects) -> Response:
    if part is None:
        progress = await store.uploads.progress(upload)
    else:
        _check_announced(request, part.end - part.start)
        progress = await store.uploads.append(upload, part.start, paced(request), end=part.end)
    if progress.info is not None:
        return _written(progress.info)
    headers = {"range": f"bytes=0-{progress.num_bytes - 1}"} if progress.num_bytes else {}
    return Response(status_code=RESUME_INCOMPLETE, headers=headers)


def _check_announced(request: Request, size: int) -> None:
    """Refuse a body that announces a wrong length before it is read; one that announces none is counted as it comes."""
    announced = request.headers.get("content-length")
    if announced is not None and int(announced) > size:
        raise PayloadTooLargeError(f"the body has {announced} bytes, and {size} are due")
    if announced is not None and int(announced) < size:
        raise InvalidRequestError(f"the body has {announced} bytes, and {size} are due: send all of it")


def _written(info: ObjectInfo) -> Response:
    return Response(headers={"etag": f'"{info.etag}"'})


@router.get(PATH)
async def download(request: Request, grant: Granted, store: Store) -> Response:
    """Send a file, or a part of one."""
    return await send_file(request, store, grant.key, grant.filename or "file")
