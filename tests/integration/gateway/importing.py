"""Models that are imported: a bucket to import from, a Hub to import from, and an operation that is waited for."""

from __future__ import annotations

import asyncio
import hashlib
import json
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import boto3

from embergate.app.batches import import_worker, working
from embergate.jobs.rules import WorkerRules
from tests.integration.gateway.platform import Platform
from tests.integration.gateway.uploading import MODELS, told

OPERATIONS: Final = "/v1/accounts/acme/operations"
QUICK: Final = WorkerRules(poll_s=0.02, heartbeat_s=0.05, first_pause_s=0.02, grace_s=2)
DEADLINE_S: Final = 30.0
COMMIT: Final = "0123456789abcdef0123456789abcdef01234567"


def fill(endpoint: str, bucket: str, prefix: str, files: Mapping[str, bytes]) -> None:
    """Put files below a prefix of a bucket."""
    client = boto3.client("s3", endpoint_url=endpoint)
    for name, content in files.items():
        client.put_object(Bucket=bucket, Key=f"{prefix}/{name}", Body=content)


@asynccontextmanager
async def importing(platform: Platform) -> AsyncIterator[None]:
    """Do imports meanwhile."""
    async with working(import_worker(platform.gateway, num_slots=2, rules=QUICK)):
        yield


async def start(platform: Platform, key: str, body: Any, model_id: str = "mine") -> Any:
    """Ask for an import, which may be refused."""
    return await platform.call(key, "POST", f"{MODELS}/{model_id}:import", json=body)


async def wait_for(platform: Platform, key: str, operation: Any) -> Any:
    """Return an operation once it is done, as it is polled by its name."""
    async with asyncio.timeout(DEADLINE_S):
        while not operation["done"]:
            await asyncio.sleep(0.02)
            operation = await told(platform, key, "GET", f"/v1/{operation['name']}")
    return operation


class Hub:
    """Repositories behind the two routes of the Hub that an import calls, with large files on another origin."""

    def __init__(self, repos: Mapping[str, Mapping[str, bytes]]) -> None:
        self.repos = repos
        self.seen: list[tuple[str, str | None]] = []
        self.needed_token = ""
        self.is_away = False
        # What large files are by the time that they are fetched.
        self.changed: dict[str, bytes] = {}
        # Where large files are sent to be fetched: the host that this server does not call itself.
        self.store = ""

    def answer(self, path: str, authorization: str | None) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers and body."""
        self.seen.append((path, authorization))
        if self.is_away:
            return 503, {}, b""
        if path.startswith("/store/"):
            repo, _, name = path.removeprefix("/store/").partition("@")
            return 200, {}, self.changed.get(unquote(name)) or self.repos[unquote(repo)][unquote(name)]
        if self.needed_token and authorization != f"Bearer {self.needed_token}":
            return 401, {}, b'{"error": "Invalid username or password."}'
        if path.startswith("/api/models/"):
            repo, _, revision = path.removeprefix("/api/models/").partition("/revision/")
            found = self.repos.get(repo)
            if found is None or revision not in {"main", "refs%2Fpr%2F1", COMMIT}:
                return 404, {}, b'{"error": "Repository not found"}'
            return 200, {"content-type": "application/json"}, json.dumps(self._info(repo)).encode()
        repo, _, rest = path.removeprefix("/").partition("/resolve/")
        commit, _, name = rest.partition("/")
        assert commit == COMMIT
        content = self.repos[repo][unquote(name)]
        if name.endswith(".safetensors"):
            return 302, {"location": f"{self.store}/store/{repo}@{name}"}, b""
        return 200, {}, content

    def _info(self, repo: str) -> dict[str, Any]:
        siblings = []
        for name, content in self.repos[repo].items():
            sibling: dict[str, Any] = {"rfilename": name, "size": len(content), "blobId": "0" * 40}
            if name.endswith(".safetensors"):
                sha256 = hashlib.sha256(content).hexdigest()
                sibling["lfs"] = {"sha256": sha256, "size": len(content), "pointerSize": 130}
            siblings.append(sibling)
        return {"id": repo, "modelId": repo, "sha": COMMIT, "siblings": siblings}


@contextmanager
def serving(hub: Hub) -> Iterator[str]:
    """Serve a Hub on a free port of this machine; hand out its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, headers, content = hub.answer(urlsplit(self.path).path, self.headers.get("authorization"))
            self.send_response(status)
            for name, value in {**headers, "content-length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    hub.store = f"http://localhost:{server.server_port}"
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
