"""OpenAI's files over HTTP, on both databases: datasets under another name."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from embergate.gateway.files.doomed import delete_doomed
from embergate.gateway.openai import files as openai_files
from embergate.storage.objects.local import LocalObjects
from tests.integration.gateway.batches import ACCOUNT, told
from tests.integration.gateway.batches import upload as upload_dataset
from tests.integration.gateway.platform import Platform, on_sqlite_only

FILES = "/v1/files"
ROWS = b'{"custom_id": "a"}\n{"custom_id": "b"}\n\n{"custom_id": "c"}'


@pytest.fixture
async def key(platform: Platform) -> str:
    return await platform.add_account("acme")


async def send(
    platform: Platform, key: str, content: bytes = ROWS, name: str = "rows.jsonl", path: str = FILES, **fields: str
) -> httpx2.Response:
    files = {"file": (name, content, "application/jsonl")}
    return await platform.call(key, "POST", path, files=files, data={"purpose": "batch", **fields})


async def upload(platform: Platform, key: str, content: bytes = ROWS, name: str = "rows.jsonl") -> str:
    answer = await send(platform, key, content, name)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


async def content_of(platform: Platform, key: str, file_id: str, **headers: str) -> httpx2.Response:
    return await platform.call(key, "GET", f"{FILES}/{file_id}/content", headers=headers)


@pytest.mark.parametrize("prefix", ["/v1", "/inference/v1"])
async def test_file_goes_up_and_comes_down_and_is_a_dataset(platform: Platform, key: str, prefix: str) -> None:
    answer = await send(platform, key, path=f"{prefix}/files")
    assert answer.status_code == 200, answer.text
    made = answer.json()
    assert made == {
        "id": made["id"],
        "object": "file",
        "bytes": len(ROWS),
        "created_at": made["created_at"],
        "expires_at": None,
        "filename": "rows.jsonl",
        "purpose": "batch",
        "status": "processed",
        "status_details": None,
    }
    assert made["id"].startswith("file-")
    assert await told(platform, key, "GET", f"{prefix}/files/{made['id']}") == made
    content = await platform.call(key, "GET", f"{prefix}/files/{made['id']}/content")
    assert (content.status_code, content.content) == (200, ROWS)
    dataset = await told(platform, key, "GET", f"{ACCOUNT}/datasets/{made['id']}")
    assert (dataset["state"], dataset["exampleCount"], dataset["displayName"]) == ("READY", "3", "rows.jsonl")
    deleted = await told(platform, key, "DELETE", f"{prefix}/files/{made['id']}")
    assert deleted == {"id": made["id"], "object": "file", "deleted": True}
    for path in (f"{prefix}/files/{made['id']}", f"{prefix}/files/{made['id']}/content"):
        gone = await platform.call(key, "GET", path)
        assert (gone.status_code, gone.json()["error"]["code"]) == (404, "NOT_FOUND")
    assert (await platform.call(key, "DELETE", f"{prefix}/files/{made['id']}")).status_code == 404
    names = [entry["method"] for entry in await platform.trail(key, "acme")]
    methods = ("DeleteFile", "GetFileContent", "DeleteFile", "GetFileContent", "CreateFile")
    assert names == [f"/gateway.Gateway/{name}" for name in methods]


async def test_part_of_a_content_can_be_asked_for(platform: Platform, key: str) -> None:
    file_id = await upload(platform, key)
    part = await content_of(platform, key, file_id, range="bytes=1-9")
    assert (part.status_code, part.content) == (206, ROWS[1:10])
    assert (await content_of(platform, key, file_id, range="bytes=999-")).status_code == 416
    head = await platform.call(key, "HEAD", f"{FILES}/{file_id}/content")
    assert (head.content, head.headers["content-length"]) == (b"", str(len(ROWS)))


WRONG: list[tuple[str, bytes, dict[str, str], str, str]] = [
    ("bad line", ROWS + b'\n{"a": }', {}, "file", "rows.jsonl line 5 column 7: is not JSON"),
    ("no object", b"[1]\n", {}, "file", "rows.jsonl line 1 is not a JSON object"),
    ("no rows", b"\n\n", {}, "file", "it has no rows"),
    ("other purpose", ROWS, {"purpose": "fine-tune"}, "purpose", "'fine-tune' is not supported"),
    ("expires", ROWS, {"expires_after[anchor]": "created_at"}, "expires_after", "until they are deleted"),
    ("unknown field", ROWS, {"nope": "1"}, "nope", 'unknown field "nope"'),
]


@on_sqlite_only
@pytest.mark.parametrize(
    ("content", "fields", "param", "message"), [case[1:] for case in WRONG], ids=[case[0] for case in WRONG]
)
async def test_file_that_cannot_be_is_refused_and_nothing_is_kept(
    platform: Platform,
    key: str,
    store: LocalObjects,
    content: bytes,
    fields: dict[str, str],
    param: str,
    message: str,
) -> None:
    answer = await send(platform, key, content, **fields)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["code"], error["param"]) == ("INVALID_REQUEST", param)
    assert message in error["message"]
    assert (await told(platform, key, "GET", FILES))["data"] == []
    assert [one.key async for one in store.list("datasets")] == []


@on_sqlite_only
async def test_form_without_a_purpose_or_a_file_is_refused(platform: Platform, key: str) -> None:
    file = {"file": ("rows.jsonl", ROWS, "application/jsonl")}
    forms: list[tuple[dict[str, Any], str]] = [
        ({"files": file}, "purpose"),
        ({"files": {"other": file["file"]}, "data": {"purpose": "batch"}}, "file"),
        ({"json": {"purpose": "batch"}}, "file"),
    ]
    for form, param in forms:
        answer = await platform.call(key, "POST", FILES, **form)
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


async def test_file_that_is_too_large_is_refused(
    platform: Platform, key: str, monkeypatch: pytest.MonkeyPatch, store: LocalObjects
) -> None:
    monkeypatch.setattr(openai_files, "MAX_FILE_BYTES", len(ROWS) - 1)
    answer = await send(platform, key)
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "PAYLOAD_TOO_LARGE")
    assert [one.key async for one in store.list("datasets")] == []


@on_sqlite_only
@pytest.mark.parametrize(
    ("given", "kept"), [("my rows (1).jsonl", "my_rows__1_.jsonl"), ("../../.x", "x"), ("", "data.jsonl")]
)
async def test_name_is_made_one_that_is_safe(platform: Platform, key: str, given: str, kept: str) -> None:
    head = f'--x\r\ncontent-disposition: form-data; name="file"; filename="{given}"\r\n\r\n'.encode()
    purpose = b'\r\n--x\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nbatch\r\n--x--\r\n'
    async with platform.client(key, **{"content-type": "multipart/form-data; boundary=x"}) as client:
        answer = await client.post(FILES, content=head + ROWS + purpose)
    assert (answer.status_code, answer.json()["filename"]) == (200, kept), answer.text


async def test_files_are_listed_page_by_page(platform: Platform, key: str) -> None:
    made = [await upload(platform, key, name=f"{number}.jsonl") for number in range(5)]

    async def page(**query: Any) -> tuple[list[str], bool]:
        listed = await told(platform, key, "GET", FILES, params=query)
        ids = [file["id"] for file in listed["data"]]
        assert (listed["object"], listed["first_id"], listed["last_id"]) == ("list", ids[0], ids[-1])
        return ids, listed["has_more"]

    assert await page() == (made[::-1], False)
    assert await page(order="asc", limit=2) == (made[:2], True)
    assert await page(order="asc", limit=2, after=made[1]) == (made[2:4], True)
    assert await page(order="asc", limit=2, after=made[3]) == (made[4:], False)
    assert await page(limit=3, after=made[4]) == (made[3:0:-1], True)
    assert await page(purpose="batch", limit=5) == (made[::-1], False)
    for purpose in ("batch_output", "assistants"):
        empty = await told(platform, key, "GET", FILES, params={"purpose": purpose})
        assert empty == {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False}
    for query, param in (({"after": "file-none"}, "after"), ({"limit": 0}, "limit"), ({"order": "up"}, "order")):
        answer = await platform.call(key, "GET", FILES, params=query)
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


async def test_datasets_of_the_gateway_are_files_too(platform: Platform, key: str, store: LocalObjects) -> None:
    await upload_dataset(platform, key, ROWS)
    assert (await content_of(platform, key, "rows")).content == ROWS
    body = {"datasetId": "several", "dataset": {"userUploaded": {}, "exampleCount": "2"}}
    await told(platform, key, "POST", f"{ACCOUNT}/datasets", json=body)
    waiting = await told(platform, key, "GET", f"{FILES}/several")
    assert (waiting["status"], waiting["bytes"], waiting["filename"]) == ("uploaded", 0, "several.jsonl")
    early = await content_of(platform, key, "several")
    assert (early.status_code, early.json()["error"]["code"]) == (400, "FAILED_PRECONDITION")
    sizes = {name: str(len(ROWS)) for name in ("b.jsonl", "a.jsonl")}
    path = f"{ACCOUNT}/datasets/several"
    urls = await told(platform, key, "POST", f"{path}:getUploadEndpoint", json={"filenameToSize": sizes})
    async with platform.client() as client:
        for url in urls["filenameToSignedUrls"].values():
            await client.put(url, content=ROWS)
    await told(platform, key, "POST", f"{path}:validateUpload", json={})
    both = await told(platform, key, "GET", f"{FILES}/several")
    assert (both["status"], both["bytes"]) == ("processed", 2 * len(ROWS))
    assert (await content_of(platform, key, "several")).content == 2 * (ROWS + b"\n")
    await told(platform, key, "DELETE", f"{FILES}/several")
    await told(platform, key, "DELETE", f"{FILES}/rows")
    await delete_doomed(platform.database, store)
    assert [one.key async for one in store.list("datasets")] == []
