"""The gateway's API for the commands: over the network, or in this process on the database itself."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import quote

import httpx2
import structlog

from embergate.aip.errors import InvalidArgumentError
from embergate.app.operating import USER_AGENT, act, look, operator_app, operator_gateway
from embergate.errors import ConfigurationError, EmbergateError, InvalidRequestError
from embergate.gateway.call import Call
from embergate.gateway.deps import GatewayDeps
from embergate.settings import load_settings
from embergate.web.errors import translate

T = TypeVar("T")
TIMEOUT_S: Final = 60.0
PAGE_SIZE: Final = 200
PIECE_BYTES: Final = 1 << 20
# A smaller file is sent again: to ask how much of it came would take as long.
MIN_RESUMABLE_BYTES: Final = 4 << 20
# A server's own, not a bucket's, which takes a question for an empty file.
RESUMABLE_URL: Final = re.compile(r"/files/[^?]*\?(?:.*&)?upload=")
RESUME_INCOMPLETE: Final = 308
INVALID_ARGUMENT: Final = 3
# Answers of a server that may say something else in a while.
TRANSIENT: Final = frozenset({429, 502, 503, 504})
IN_PROCESS: Final = "http://in-process"


class TryAgainError(EmbergateError):
    """The server cannot be reached, or has no answer now; it may have one in a while."""


@dataclass(frozen=True, slots=True)
class Target:
    """What a command works on: the server at a URL, with a key, or where there is none the database."""

    server: str
    api_key: str

    def require_database(self) -> None:
        """Raise InvalidRequestError if a server is given for what its API does not offer."""
        if self.server:
            raise InvalidRequestError(
                "the server's API does not offer this: run it on the database, without --server and EMBERGATE_SERVER"
            )


class Api:
    """Calls of the API."""

    def __init__(self, http: httpx2.AsyncClient) -> None:
        """Call through this client."""
        self._http = http

    async def call(
        self, method: str, path: str, *, body: Any = None, timeout_s: float = TIMEOUT_S, **query: Any
    ) -> dict[str, Any]:
        """Return the answer of a call. Raises: EmbergateError with the server's message, or saying why there is none."""
        given = {name: str(value) for name, value in query.items() if value not in (None, "")}
        try:
            response = await self._http.request(method, f"/v1/{path}", params=given, json=body, timeout=timeout_s)
            answer = response.json()
        except httpx2.TransportError as error:
            raise TryAgainError(f"{self._http.base_url} cannot be reached: {error or type(error).__name__}") from None
        except ValueError:
            raise EmbergateError(
                f"{self._http.base_url} answers HTTP {response.status_code} with no JSON: is it an Embergate server?"
            ) from None
        if response.is_success and isinstance(answer, dict):
            return answer
        raise _error_of(answer, response.status_code)

    async def put(self, url: str, file: Path, size: int, advance: Callable[[int], None]) -> None:
        """Send a file of `size` bytes to a signed URL; where a server keeps what came of a large one, go on behind that.

        Raises: EmbergateError.
        """
        headers = {"content-type": "application/octet-stream"}
        async with self._client_of(url) as http:
            start = 0
            if size >= MIN_RESUMABLE_BYTES and RESUMABLE_URL.search(url):
                start = await _num_kept(http, url, size)
                advance(start)
                if start == size:
                    return
                headers["content-range"] = f"bytes {start}-{size - 1}/{size}"
            headers["content-length"] = str(size - start)
            response = await http.put(url, content=_pieces_of(file, start, advance), headers=headers)
            await _check(response)

    async def fetch(self, url: str, file: Path, advance: Callable[[int], None]) -> None:
        """Write what a signed URL has to a file, which is there as a whole or not at all. Raises: EmbergateError."""
        partial = file.with_name(f".{file.name}.partial")
        async with self._client_of(url) as http, http.stream("GET", url) as response:
            await _check(response)
            with partial.open("wb") as opened:
                async for piece in response.aiter_bytes():
                    opened.write(piece)
                    advance(len(piece))
        partial.replace(file)

    @asynccontextmanager
    async def _client_of(self, url: str) -> AsyncIterator[httpx2.AsyncClient]:
        """Hand out a client for a signed URL, which is shown no key: that of this server, or for a bucket another."""
        if url.startswith(IN_PROCESS):
            yield self._http
            return
        async with httpx2.AsyncClient(timeout=TIMEOUT_S) as http:
            yield http

    async def list(self, path: str, plural: str, *, limit: int | None = None, **query: Any) -> list[dict[str, Any]]:
        """Return the resources of a list, from all of its pages, or the first `limit`."""
        found: list[dict[str, Any]] = []
        token = ""
        while True:
            size = PAGE_SIZE if limit is None else min(PAGE_SIZE, limit - len(found))
            page = await self.call("GET", path, pageSize=size, pageToken=token, **query)
            found += page.get(plural, [])
            token = page.get("nextPageToken", "")
            if not token or (limit is not None and len(found) >= limit):
                return found


def path_of(*segments: str) -> str:
    """Return segments, such as ids that somebody typed, as a path. Raises: InvalidRequestError for what names nothing."""
    for segment in segments:
        if segment in {"", ".", ".."}:
            raise InvalidRequestError(f"{segment!r} is not an id")
    return "/".join(quote(segment, safe="") for segment in segments)


def check(do: Callable[[], T]) -> T:
    """Return what `do` does; what it finds not valid in what was typed becomes a usage error."""
    try:
        return do()
    except InvalidArgumentError as error:
        raise translate(error) from None


def log_to_stderr() -> None:
    """Keep what is logged out of what a command prints."""
    if not structlog.is_configured():
        structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))


def call_api(target: Target, work: Callable[[Api], Awaitable[T]]) -> T:
    """Return what `work` makes of the API of the target."""

    async def run() -> T:
        async with _client(target) as http:
            return await work(Api(http))

    return asyncio.run(run())


def list_all(target: Target, path: str, filter_: str) -> list[dict[str, Any]]:
    """Return every resource of a collection that fits, by the path that ends with the collection's name."""
    return call_api(target, lambda api: api.list(path, path.rpartition("/")[2], filter=filter_))


def change(
    target: Target,
    method: str,
    work: Callable[[Call], Awaitable[T]],
    *,
    account: str = "",
    payload: dict[str, Any] | None = None,
    may_create: bool = False,
) -> T:
    """Return what `work` does to the database in one transaction; the audit trail calls it `method`."""
    target.require_database()

    log_to_stderr()

    async def run() -> T:
        opened = operator_gateway(load_settings(), may_create=may_create)
        async with opened as gateway, act(gateway, method, account, payload) as call:
            return await work(call)

    return check(lambda: asyncio.run(run()))


def read(
    target: Target,
    work: Callable[[Call], Awaitable[T]],
    *,
    account: str = "",
    method: str = "",
    payload: dict[str, Any] | None = None,
) -> T:
    """Return what `work` reads in the database; if there is a `method`, the audit trail says so."""

    async def look_at(gateway: GatewayDeps) -> T:
        async with look(gateway, account, method, payload) as call:
            return await work(call)

    return open_database(target, look_at)


def open_database(target: Target, work: Callable[[GatewayDeps], Awaitable[T]]) -> T:
    """Return what `work` does with the gateway's parts; it begins its own transactions."""
    target.require_database()

    async def run() -> T:
        async with operator_gateway(load_settings()) as gateway:
            return await work(gateway)

    return check(lambda: asyncio.run(run()))


@asynccontextmanager
async def _client(target: Target) -> AsyncIterator[httpx2.AsyncClient]:
    agent = {"user-agent": USER_AGENT}
    if target.server:
        if not target.api_key:
            raise ConfigurationError("a server asks for a key: give --api-key, or set EMBERGATE_API_KEY")
        try:
            url = httpx2.URL(target.server)
        except httpx2.InvalidURL:
            url = httpx2.URL("")
        if url.scheme not in {"http", "https"} or not url.host:
            raise InvalidRequestError("--server: expected a URL such as https://embeddings.example.org")
        key = {"authorization": f"Bearer {target.api_key}"}
        async with httpx2.AsyncClient(base_url=url, headers=agent | key, timeout=TIMEOUT_S) as http:
            yield http
        return
    async with operator_gateway(load_settings()) as gateway:
        inside = httpx2.ASGITransport(app=operator_app(gateway), client=("", 0))
        # The key is nobody's: the operator's authenticator asks for none.
        headers = agent | {"authorization": "Bearer operator"}
        async with httpx2.AsyncClient(transport=inside, base_url=IN_PROCESS, headers=headers) as http:
            yield http


async def _num_kept(http: httpx2.AsyncClient, url: str, size: int) -> int:
    """Return how much of a file a server has, `size` once it has all of it."""
    response = await http.put(url, headers={"content-range": f"bytes */{size}", "content-length": "0"})
    if response.status_code == RESUME_INCOMPLETE:
        kept = response.headers.get("range", "").rpartition("-")[2]
        return int(kept) + 1 if kept else 0
    await _check(response)
    return size


async def _pieces_of(file: Path, start: int, advance: Callable[[int], None]) -> AsyncIterator[bytes]:
    with file.open("rb") as opened:
        opened.seek(start)
        while piece := opened.read(PIECE_BYTES):
            yield piece
            advance(len(piece))


async def _check(response: httpx2.Response) -> None:
    if response.is_success:
        return
    await response.aread()
    try:
        answer = response.json()
    except ValueError:
        answer = None
    raise _error_of(answer, response.status_code)


def _error_of(answer: Any, status: int) -> EmbergateError:
    found = answer if isinstance(answer, dict) else {}
    inner = found.get("error")
    message = (inner if isinstance(inner, dict) else found).get("message") or f"the server answers HTTP {status}"
    if status in TRANSIENT:
        return TryAgainError(str(message))
    kind = InvalidRequestError if found.get("code") == INVALID_ARGUMENT else EmbergateError
    return kind(str(message))
