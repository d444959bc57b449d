"""Files by signed URLs, over the real application and a store in a directory."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx2
import pytest
import time_machine

from embergate.app.objects import FileOptions
from embergate.clock import now
from embergate.gateway.access import Permission
from embergate.gateway.answers import Empty
from embergate.gateway.call import CurrentCall
from embergate.gateway.edge import Operation
from embergate.gateway.files import streams
from embergate.gateway.files.urls import FileUrls
from embergate.gateway.upkeep import sweep_objects
from embergate.storage.database import Database
from embergate.storage.objects.local import LocalObjects
from embergate.web.caller import Role
from embergate.web.errors import JSONResponse
from tests.integration.gateway.platform import MASTER_KEY, Platform, on_sqlite_only
from tests.integration.objects.samples import get, keys, pieces, put, sample

pytestmark = on_sqlite_only
HOUR = timedelta(hours=1)
DATA = sample(20_000_003)  # more than any other body may have
KEY = "datasets/acme/d1/data.jsonl"


@pytest.fixture
def urls(platform: Platform) -> FileUrls:
    return platform.gateway.signer.at("http://test/")


@pytest.fixture
async def client(platform: Platform) -> AsyncIterator[httpx2.AsyncClient]:
    async with platform.client() as opened:
        yield opened


def check_refused(answer: httpx2.Response, status: int, code: int, text: str) -> None:
    assert answer.status_code == status, answer.text
    body = answer.json()
    assert list(body) == ["code", "message", "details"]
    assert body["code"] == code
    assert text in body["message"]


async def test_file_goes_up_and_comes_down(client: httpx2.AsyncClient, urls: FileUrls) -> None:
    headers = {
        "content-type": "application/octet-stream",
        "x-goog-content-length-range": f"{len(DATA)},{len(DATA)}",
    }
    url = await urls.upload_url(KEY, size=len(DATA), expires_in=HOUR)
    put_ = await client.put(url, content=DATA, headers=headers)
    assert (put_.status_code, put_.content) == (200, b"")
    got = await client.get(await urls.download_url(KEY, filename="Daten für alle.jsonl", expires_in=HOUR))
    assert got.status_code == 200
    assert got.content == DATA
    assert got.headers["etag"] == put_.headers["etag"]
    assert got.headers["content-length"] == str(len(DATA))
    assert got.headers["accept-ranges"] == "bytes"
    assert got.headers["content-type"] == "application/octet-stream"
    assert got.headers["x-content-type-options"] == "nosniff"
    assert got.headers["content-disposition"] == (
        "attachment; filename=\"Daten f_r alle.jsonl\"; filename*=UTF-8''Daten%20f%C3%BCr%20alle.jsonl"
    )


async def test_upload_may_be_done_again_by_its_url(
    client: httpx2.AsyncClient, urls: FileUrls, store: LocalObjects
) -> None:
    url = await urls.upload_url(KEY, size=3, expires_in=HOUR)
    for data in (b"abc", b"abc", b"xyz"):
        assert (await client.put(url, content=data)).status_code == 200
        assert await get(store, KEY) == data


@pytest.mark.parametrize(("size", "status"), [(999, 413), (1001, 400)])
@pytest.mark.parametrize("is_chunked", [False, True])
async def test_size_that_lies_is_refused(
    client: httpx2.AsyncClient, urls: FileUrls, store: LocalObjects, size: int, status: int, is_chunked: bool
) -> None:
    data = sample(1000)
    url = await urls.upload_url(KEY, size=size, expires_in=HOUR)
    answer = await client.put(url, content=pieces(data, 100) if is_chunked else data)
    check_refused(answer, status, 3, "bytes")
    assert await keys(store) == []


async def test_compressed_body_is_refused_unread(client: httpx2.AsyncClient, urls: FileUrls) -> None:
    bomb = gzip.compress(bytes(1 << 20))
    url = await urls.upload_url(KEY, size=len(bomb), expires_in=HOUR)
    for encoding in ("gzip", "br, gzip", "x"):
        answer = await client.put(url, content=bomb, headers={"content-encoding": encoding})
        assert (answer.status_code, "Content-Encoding" in answer.text) == (400, True)
    assert (await client.put(url, content=bomb, headers={"content-encoding": "identity"})).status_code == 200


async def test_length_range_that_does_not_fit_is_refused(client: httpx2.AsyncClient, urls: FileUrls) -> None:
    url = await urls.upload_url(KEY, size=3, expires_in=HOUR)
    answer = await client.put(url, content=b"abc", headers={"x-goog-content-length-range": "4,4"})
    check_refused(answer, 400, 3, "X-Goog-Content-Length-Range")


async def test_wrong_sha256_is_refused(client: httpx2.AsyncClient, urls: FileUrls, store: LocalObjects) -> None:
    url = await urls.upload_url(KEY, size=3, expires_in=HOUR, sha256=sha256(b"abc").hexdigest())
    check_refused(await client.put(url, content=b"abd"), 400, 3, "sha256")
    assert await keys(store) == []
    assert (await client.put(url, content=b"abc")).status_code == 200


async def test_url_lets_its_method_in_and_no_other(
    client: httpx2.AsyncClient, urls: FileUrls, store: LocalObjects
) -> None:
    await put(store, KEY, b"abc")
    up = await urls.upload_url(KEY, size=3, expires_in=HOUR)
    down = await urls.download_url(KEY, filename="x", expires_in=HOUR)
    for method, url in (("GET", up), ("HEAD", up), ("PUT", down)):
        answer = await client.request(method, url, content=b"xyz" if method == "PUT" else None)
        assert answer.status_code == 403
        if method != "HEAD":
            check_refused(answer, 403, 7, "signature")
    assert (await client.post(up, content=b"xyz")).status_code == 405
    assert await get(store, KEY) == b"abc"


@pytest.mark.parametrize(
    "path", ["files/%2e%2e/secret.key", "files/a/..%2f..%2fx", "files/", "files/.work/x", "files//etc"]
)
async def test_path_leads_nowhere_without_a_signature(client: httpx2.AsyncClient, urls: FileUrls, path: str) -> None:
    query = (await urls.upload_url(KEY, size=3, expires_in=HOUR)).partition("?")[2]
    check_refused(await client.put(f"/{path}?{query}", content=b"abc"), 403, 7, "signature")


async def test_no_key_of_the_api_opens_the_files(platform: Platform, store: LocalObjects) -> None:
    await put(store, KEY, b"abc")
    admin = await platform.add_account("acme")
    operator = await platform.add_user("acme", "op", Role.ADMIN, is_operator=True)
    for credential in (None, admin, operator):
        check_refused(await platform.call(credential, "GET", f"/files/{KEY}"), 403, 7, "signature")
        check_refused(await platform.call(credential, "PUT", f"/files/{KEY}", content=b"xyz"), 403, 7, "signature")
    assert await get(store, KEY) == b"abc"


async def test_refused_body_is_not_read(client: httpx2.AsyncClient, urls: FileUrls) -> None:
    num_taken = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal num_taken
        for _ in range(1000):
            num_taken += 1
            yield bytes(65_536)

    assert (await client.put(f"/files/{KEY}?expires=1&signature=x", content=body())).status_code == 403
    assert num_taken < 1000  # only as much as is dropped of any body that is answered early


async def test_expired_url_is_refused_and_says_so(client: httpx2.AsyncClient, urls: FileUrls) -> None:
    up = await urls.upload_url(KEY, size=3, expires_in=HOUR)
    down = await urls.download_url(KEY, filename="x", expires_in=HOUR)
    with time_machine.travel(now() + HOUR, tick=False):
        check_refused(await client.put(up, content=b"abc"), 403, 7, "expired")
        check_refused(await client.get(down), 403, 7, "expired")


async def test_urls_stay_good_while_their_key_is_known(database: Database, store: LocalObjects, urls: FileUrls) -> None:
    url = await urls.upload_url(KEY, size=3, expires_in=HOUR)
    for masters, status in (((bytes([9]) * 32, MASTER_KEY), 200), ((bytes([9]) * 32,), 403)):
        rotated = Platform(database, master_keys=masters, files=FileOptions(store))
        assert (await rotated.call(None, "PUT", url, content=b"abc")).status_code == status
        await rotated.close()


async def test_file_that_is_not_there_is_a_404(client: httpx2.AsyncClient, urls: FileUrls) -> None:
    answer = await client.get(await urls.download_url(KEY, filename="x", expires_in=HOUR))
    check_refused(answer, 404, 5, "no such file")


@pytest.mark.parametrize(
    ("header", "start", "end"),
    [("bytes=0-9", 0, 10), ("bytes=2000000-", 2_000_000, len(DATA)), ("bytes=-7", len(DATA) - 7, len(DATA))],
)
async def test_part_of_a_file_comes_down(
    client: httpx2.AsyncClient, urls: FileUrls, store: LocalObjects, header: str, start: int, end: int
) -> None:
    await put(store, KEY, DATA)
    url = await urls.download_url(KEY, filename="x", expires_in=HOUR)
    answer = await client.get(url, headers={"range": header})
    assert answer.status_code == 206
    assert answer.content == DATA[start:end]
    assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/{len(DATA)}"
    assert answer.headers["content-length"] == str(end - start)


async def test_part_that_is_not_there_is_a_416(client: httpx2.AsyncClient, urls: FileUrls, store: LocalObjects) -> None:
    await put(store, KEY, b"abc")
    url = await urls.download_url(KEY, filename="x", expires_in=HOUR)
    answer = await client.get(url, headers={"range": "bytes=3-"})
    check_refused(answer, 416, 11, "3 bytes")
    assert answer.headers["content-range"] == "bytes */3"


async def test_part_of_another_version_is_not_sent(
    client: httpx2.AsyncClient, urls: FileUrls, store: LocalObjects
) -> None:
    await put(store, KEY, b"abc")
    url = await urls.download_url(KEY, filename="x", expires_in=HOUR)
    old = (await client.get(url)).headers["etag"]
    part = await client.get(url, headers={"range": "bytes=1-", "if-range": old})
    assert (part.status_code, part.content) == (206, b"bc")
    assert (await client.get(url, headers={"if-none-match": old})).status_code == 304
    await put(store, KEY, b"xyz")
    whole = await client.get(url, headers={"range": "bytes=1-", "if-range": old, "if-none-match": old})
    assert (whole.status_code, whole.content) == (200, b"xyz")


async def test_head_tells_of_a_file_without_reading_it(
    client: httpx2.AsyncClient, urls: FileUrls, store: LocalObjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put(store, KEY, DATA)
    monkeypatch.setattr(store, "read", None)
    answer = await client.head(await urls.download_url(KEY, filename="x.bin", expires_in=HOUR))
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-length"] == str(len(DATA))
    assert 'filename="x.bin"' in answer.headers["content-disposition"]


async def test_empty_file_goes_up_and_comes_down(client: httpx2.AsyncClient, urls: FileUrls) -> None:
    assert (await client.put(await urls.upload_url(KEY, size=0, expires_in=HOUR), content=b"")).status_code == 200
    url = await urls.download_url(KEY, filename="x", expires_in=HOUR)
    got = await client.get(url)
    assert (got.status_code, got.content, got.headers["content-length"]) == (200, b"", "0")
    check_refused(await client.get(url, headers={"range": "bytes=0-"}), 416, 11, "0 bytes")


async def status_of(client: httpx2.AsyncClient, url: str, total: Any = "*") -> tuple[int, str | None]:
    answer = await client.put(url, headers={"content-range": f"bytes */{total}"})
    return answer.status_code, answer.headers.get("range")


async def test_upload_in_parts(client: httpx2.AsyncClient, urls: FileUrls, store: LocalObjects) -> None:
    url = await urls.upload_url(KEY, size=len(DATA), expires_in=HOUR)
    assert await status_of(client, url, len(DATA)) == (308, None)
    step = 8 << 20
    for start in range(0, len(DATA), step):
        end = min(start + step, len(DATA))
        headers = {"content-range": f"bytes {start}-{end - 1}/{len(DATA)}"}
        answer = await client.put(url, content=DATA[start:end], headers=headers)
        if end < len(DATA):
            assert (answer.status_code, answer.headers["range"]) == (308, f"bytes=0-{end - 1}")
            assert await status_of(client, url) == (308, f"bytes=0-{end - 1}")
            assert await keys(store) == []
        else:
            assert answer.status_code == 200
    assert await get(store, KEY) == DATA
    assert (await status_of(client, url))[0] == 200


async def test_part_that_lies_is_refused(client: httpx2.AsyncClient, urls: FileUrls) -> None:
    for header, body, status, code in (
        ("bytes 0-4/11", b"abcde", 400, 3),
        ("bytes 0-10/10", b"abcdefghijk", 400, 3),
        ("bytes 0-4/10", b"abcd", 400, 3),
        ("bytes 0-4/10", b"abcdef", 413, 3),
        ("bytes 5-9/10", b"fghij", 416, 11),
        ("rubbish", b"abcde", 400, 3),
    ):
        for content in (body, pieces(body, 1)):
            url = await urls.upload_url(KEY, size=10, expires_in=HOUR)
            answer = await client.put(url, content=content, headers={"content-range": header})
            assert (answer.status_code, answer.json()["code"]) == (status, code), header
    url = await urls.upload_url(KEY, size=10, expires_in=HOUR)
    check_refused(await client.put(url, headers={"content-range": "bytes */11"}), 400, 3, "11")


async def test_two_uploads_of_one_file_do_not_mix(
    client: httpx2.AsyncClient, urls: FileUrls, store: LocalObjects
) -> None:
    versions = [sample(3_000_000, seed) for seed in range(4)]
    made = [await urls.upload_url(KEY, size=3_000_000, expires_in=HOUR) for _ in versions]

    async def in_parts(url: str, data: bytes) -> None:
        for start in range(0, len(data), 1_000_000):
            headers = {"content-range": f"bytes {start}-{start + 999_999}/{len(data)}"}
            answer = await client.put(url, content=pieces(data[start : start + 1_000_000]), headers=headers)
            assert answer.status_code in {200, 308}

    async def whole(url: str, data: bytes) -> None:
        assert (await client.put(url, content=pieces(data))).status_code == 200

    await asyncio.gather(*map(in_parts, made[:2], versions[:2]), *map(whole, made[2:], versions[2:]))
    assert await get(store, KEY) in versions


async def test_second_request_to_one_upload_is_told_to_wait(client: httpx2.AsyncClient, urls: FileUrls) -> None:
    url = await urls.upload_url(KEY, size=10, expires_in=HOUR)
    began, go_on = asyncio.Event(), asyncio.Event()

    async def waiting() -> AsyncIterator[bytes]:
        yield b"abcde"
        began.set()
        await go_on.wait()
        yield b"fghij"

    headers = {"content-range": "bytes 0-9/10"}
    sending = asyncio.create_task(client.put(url, content=waiting(), headers=headers))
    await began.wait()
    answer = await client.put(url, content=b"0123456789", headers=headers)
    check_refused(answer, 503, 14, "another request")
    assert int(answer.headers["retry-after"]) <= 60
    go_on.set()
    assert (await sending).status_code == 200


async def test_body_that_does_not_come_is_given_up(
    client: httpx2.AsyncClient, urls: FileUrls, store: LocalObjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams.paced, "__defaults__", (0.05,))

    async def stalled() -> AsyncIterator[bytes]:
        yield b"abc"
        await asyncio.sleep(0.2)
        yield b"def"

    url = await urls.upload_url(KEY, size=6, expires_in=HOUR)
    answer = await client.put(url, content=stalled())
    check_refused(answer, 408, 4, "of the body came")
    assert answer.headers["connection"] == "close"
    assert await keys(store) == []
    answer = await client.put(url, content=stalled(), headers={"content-range": "bytes 0-5/6"})
    check_refused(answer, 408, 4, "of the body came")
    assert await status_of(client, url) == (308, "bytes=0-2")


async def test_store_that_is_gone_is_a_503(
    client: httpx2.AsyncClient, urls: FileUrls, store: LocalObjects, tmp_path: Path
) -> None:
    await put(store, KEY, b"abc")
    (tmp_path / "objects").rename(tmp_path / "elsewhere")
    up = await urls.upload_url(KEY, size=3, expires_in=HOUR)
    down = await urls.download_url(KEY, filename="x", expires_in=HOUR)
    check_refused(await client.put(up, content=b"abc"), 503, 14, "not there")
    check_refused(await client.get(down), 503, 14, "not there")


async def test_other_bodies_are_still_bounded(client: httpx2.AsyncClient) -> None:
    for path in ("/v1/embeddings", "/v1/files/x", "/filesystem", "//files/x"):
        assert (await client.put(path, content=bytes(17 << 20))).status_code == 413, path


async def test_urls_are_in_no_error(client: httpx2.AsyncClient, urls: FileUrls) -> None:
    url = await urls.upload_url(KEY, size=3, expires_in=HOUR)
    signature = url.partition("signature=")[2]
    for answer in (
        await client.put(url, content=b"abcd"),
        await client.get(url),
        await client.post(url),
        await client.put(url.replace("/files/", "/filez/")),
    ):
        assert signature not in answer.text


async def test_room_knows_how_its_client_reaches_the_server(platform: Platform) -> None:
    probe = Operation("Probe", Empty, needs=Permission.READ)

    @platform.app.get("/v1/accounts/{account_id}/probe", **probe.route("Make a URL"))
    async def make_url(call: CurrentCall) -> JSONResponse:
        url = await call.deps.signer.at(call.base_url).upload_url(KEY, size=3, expires_in=HOUR)
        return JSONResponse({"url": url})

    admin = await platform.add_account("acme")
    for host in ("test", "embeddings.example:8443", "[::1]:8000"):
        async with platform.client(admin, host=host) as client:
            url = (await client.get("/v1/accounts/acme/probe")).json()["url"]
            assert url.startswith(f"http://{host}/files/{KEY}?")
            assert (await client.put(url, content=b"abc")).status_code == 200


async def test_unfinished_uploads_are_swept_a_day_later(
    platform: Platform, client: httpx2.AsyncClient, urls: FileUrls
) -> None:
    url = await urls.upload_url(KEY, size=10, expires_in=timedelta(days=3))
    await client.put(url, content=b"abc", headers={"content-range": "bytes 0-2/10"})
    await sweep_objects(platform.gateway)
    assert await status_of(client, url) == (308, "bytes=0-2")
    with time_machine.travel(now() + timedelta(days=1, hours=1)):
        await sweep_objects(platform.gateway)
        assert await status_of(client, url) == (308, None)
