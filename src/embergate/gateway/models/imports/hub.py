"""A model of the Hugging Face Hub as a source: two routes of its API, read in pieces and of one commit.

Source: https://huggingface.co/docs/hub/api (GET /api/models/{repo}/revision/{revision}?blobs=true, and the files by
GET /{repo}/resolve/{commit}/{path}), as huggingface_hub calls them
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from fnmatch import fnmatch
from typing import Any, Final
from urllib.parse import quote

import httpx2
import orjson

from embergate.engine.loading.sources import FILE_PATTERNS, IGNORED_PATTERNS
from embergate.errors import FailedPreconditionError, UnavailableError
from embergate.gateway.models.imports.sources import Place, SourceFile
from embergate.web.certificates import trusted_certificates

MAX_LIST_BYTES: Final = 8 << 20
MAX_REDIRECTS: Final = 5
TIMEOUT: Final = httpx2.Timeout(60.0, connect=10.0)
# Where the Hub keeps large files, besides its own host.
STORES: Final = (".huggingface.co", ".hf.co")
REFUSED: Final = frozenset({401, 403, 404, 410})
COMMIT: Final = re.compile("[0-9a-f]{40}")
SHA256: Final = re.compile("[0-9a-f]{64}")
UNLIKE_THE_HUB: Final = "what answers at EMBERGATE_HUB_URL does not speak as the Hub does"


class HubSource:
    """See `Source`. The token is shown to the Hub alone, and not to where it sends us for a file."""

    def __init__(
        self, place: Place, token: str | None, *, hub_url: str, endpoints: frozenset[str] = frozenset()
    ) -> None:
        """Read a repository at a revision; `endpoints` are the origins that the Hub may send us to besides its own."""
        self._hub = httpx2.URL(hub_url)
        self._origins = endpoints | {_origin(self._hub)}
        self._repo, self._revision, self._token = place.location, place.path, token

    async def list(self) -> list[SourceFile]:
        """See `Source`; only of what models are made of."""
        path = f"/api/models/{self._repo}/revision/{quote(self._revision, safe='')}?blobs=true"
        content = bytearray()
        async with self._opened(path) as response:
            async for chunk in response.aiter_raw():
                content += chunk
                if len(content) > MAX_LIST_BYTES:
                    raise FailedPreconditionError("the repository has more files than any model")
        return _files_in(bytes(content))

    async def read(self, file: SourceFile) -> AsyncGenerator[bytes, None]:
        """See `Source`."""
        async with self._opened(f"/{self._repo}/resolve/{file.version}/{quote(file.name)}") as response:
            async for chunk in response.aiter_raw():
                yield chunk

    @asynccontextmanager
    async def _opened(self, path: str) -> AsyncIterator[httpx2.Response]:
        """Open what is at a path of the Hub, or where that sends us."""
        url = self._hub.copy_with(raw_path=(self._hub.path.rstrip("/") + path).encode())
        try:
            async with httpx2.AsyncClient(timeout=TIMEOUT, verify=trusted_certificates()) as http:
                for _ in range(MAX_REDIRECTS):
                    request = http.build_request("GET", url, headers=self._headers(url))
                    response = await http.send(request, stream=True)
                    try:
                        if response.has_redirect_location:
                            url = self._checked(url.join(response.headers["location"]))
                            continue
                        _check(response)
                        yield response
                        return
                    finally:
                        await response.aclose()
                raise FailedPreconditionError(UNLIKE_THE_HUB)
        except (httpx2.TransportError, httpx2.InvalidURL) as error:
            raise UnavailableError(f"the Hub cannot be reached ({type(error).__name__})") from None

    def _headers(self, url: httpx2.URL) -> dict[str, str]:
        headers = {"accept-encoding": "identity"}
        if self._token is not None and _origin(url) == _origin(self._hub):
            headers["authorization"] = f"Bearer {self._token}"
        return headers

    def _checked(self, url: httpx2.URL) -> httpx2.URL:
        """Return where the Hub sends us to, if it is a place of its own or one that the operator allows."""
        is_store = url.scheme == "https" and url.host.endswith(STORES) and url.port in {None, 443}
        if not is_store and _origin(url) not in self._origins:
            raise FailedPreconditionError(
                f"the Hub sends us to {url.host[:100]} for a file, which EMBERGATE_IMPORT_ENDPOINTS does not allow"
            )
        return url


def _origin(url: httpx2.URL) -> str:
    port = f":{url.port}" if url.port is not None else ""
    return f"{url.scheme}://{url.host}{port}".lower()


def _check(response: httpx2.Response) -> None:
    if response.status_code == httpx2.codes.OK:
        if response.headers.get("content-encoding", "identity") != "identity":
            raise FailedPreconditionError(UNLIKE_THE_HUB)
        return
    if response.status_code in REFUSED:
        raise FailedPreconditionError(
            "the Hub has no such model at this revision, or it may be read only with a token that is allowed to (tokenSecret)"
        )
    raise UnavailableError(f"the Hub answers HTTP {response.status_code}")


def _files_in(content: bytes) -> list[SourceFile]:
    try:
        found = orjson.loads(content)
        commit, siblings = found["sha"], found["siblings"]
        if COMMIT.fullmatch(commit) is None:
            raise FailedPreconditionError(UNLIKE_THE_HUB)
        return [_file_of(one, commit) for one in siblings if _is_wanted(one["rfilename"])]
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        raise FailedPreconditionError(UNLIKE_THE_HUB) from None


def _file_of(sibling: Any, commit: str) -> SourceFile:
    sha256 = (sibling.get("lfs") or {}).get("sha256")
    if sha256 is not None and SHA256.fullmatch(sha256) is None:
        raise ValueError
    return SourceFile(sibling["rfilename"], int(sibling["size"]), commit, sha256)


def _is_wanted(name: str) -> bool:
    return any(fnmatch(name, pattern) for pattern in FILE_PATTERNS) and not any(
        fnmatch(name, pattern) for pattern in IGNORED_PATTERNS
    )
