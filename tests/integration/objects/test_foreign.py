"""Buckets of others: what they are shown, and what is made of their answers; by a server that writes down what it is asked."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from embergate.errors import FailedPreconditionError, UnavailableError
from embergate.storage.objects.foreign import ForeignBucket, azure_container, s3_bucket

# As Azure lists a container. Source: https://learn.microsoft.com/rest/api/storageservices/list-blobs
LISTED = b"""<?xml version="1.0" encoding="utf-8"?><EnumerationResults><Blobs><Blob><Name>a/config.json</Name><Properties>
<Last-Modified>Mon, 02 Feb 2026 10:00:00 GMT</Last-Modified><Etag>0x8</Etag><Content-Length>2</Content-Length>
<Content-Type>application/json</Content-Type></Properties></Blob></Blobs><NextMarker /></EnumerationResults>"""


class Store:
    """Answers everything alike."""

    def __init__(self) -> None:
        self.status, self.content = 200, LISTED
        self.asked: list[tuple[str, dict[str, list[str]], str | None]] = []
        self.url = ""


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """A store of somebody, in whose environment are the credentials of the server's own."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AZURE_STORAGE_ACCOUNT_KEY"):
        monkeypatch.setenv(name, "c2VydmVy")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "servers")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    found = Store()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            url = urlsplit(self.path)
            found.asked.append((url.path, parse_qs(url.query), self.headers.get("authorization")))
            self.send_response(found.status)
            self.send_header("content-length", str(len(found.content)))
            self.end_headers()
            self.wfile.write(found.content)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    found.url = f"http://127.0.0.1:{server.server_port}"
    yield found
    server.shutdown()
    server.server_close()


def azure(store: Store, sas_token: str | None) -> ForeignBucket:
    return azure_container("theirs", "models", endpoint=f"{store.url}/theirs", sas_token=sas_token)


def s3(store: Store) -> ForeignBucket:
    return s3_bucket("models", endpoint=store.url, region="us-east-1", access_key=("id", "secret"))


async def test_container_of_azure_is_shown_the_token_and_never_the_servers_key(store: Store) -> None:
    (found,) = await azure(store, "?sv=1&sig=theirs").list("a", 10)
    assert (found.name, found.size, found.etag) == ("config.json", 2, "0x8")
    ((path, query, authorization),) = store.asked
    assert (path, query["sig"], query["prefix"], authorization) == ("/theirs/models", ["theirs"], ["a/"], None)
    store.asked.clear()
    await azure(store, None).list("a", 10)
    assert "sig" not in store.asked[0][1]
    assert store.asked[0][2] is None


async def test_more_objects_than_a_model_may_have_are_not_listed(store: Store) -> None:
    with pytest.raises(FailedPreconditionError, match="more than 0 objects"):
        await azure(store, None).list("a", 0)


@pytest.mark.parametrize(
    ("status", "said"),
    [(401, "refuses"), (403, "refuses"), (404, "HTTP 404"), (400, "HTTP 400"), (301, "another region")],
)
async def test_what_no_second_try_mends_is_told_and_final(store: Store, status: int, said: str) -> None:
    store.status, store.content = status, b""
    with pytest.raises(FailedPreconditionError, match=said):
        await s3(store).list("a", 10)


async def test_answer_that_is_no_list_may_be_one_later(store: Store) -> None:
    store.content = b"<html>"
    with pytest.raises(UnavailableError, match="cannot be reached"):
        await s3(store).list("a", 10)
