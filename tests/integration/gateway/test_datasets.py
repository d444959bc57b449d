"""Datasets over HTTP, on both databases: made, filled in every way, read, split and deleted."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx2
import pytest

from embergate.errors import UnavailableError
from embergate.gateway.datasets import upload as forms
from embergate.gateway.files.arrivals import sweep_arrivals
from embergate.gateway.files.doomed import delete_doomed
from embergate.web.caller import Role
from tests.integration.gateway.platform import Platform

DATASETS = "/v1/accounts/acme/datasets"
ROWS = b'{"custom_id": "a"}\n{"custom_id": "b"}\n\n{"custom_id": "c"}'


@pytest.fixture
async def key(platform: Platform) -> str:
    return await platform.add_account("acme")


async def create(platform: Platform, key: str, dataset_id: str = "rows", **dataset: Any) -> httpx2.Response:
    body = {"datasetId": dataset_id, "dataset": {"userUploaded": {}, "exampleCount": "3", **dataset}}
    return await platform.call(key, "POST", DATASETS, json=body)


async def told(platform: Platform, key: str, method: str, path: str, **options: Any) -> Any:
    answer = await platform.call(key, method, path, **options)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def urls_for(platform: Platform, key: str, sizes: Mapping[str, int]) -> dict[str, str]:
    body = {"filenameToSize": {name: str(size) for name, size in sizes.items()}}
    found = await told(platform, key, "POST", f"{DATASETS}/rows:getUploadEndpoint", json=body)
    urls: dict[str, str] = found["filenameToSignedUrls"]
    return urls


async def put(platform: Platform, url: str, content: bytes) -> httpx2.Response:
    headers = {
        "content-type": "application/octet-stream",
        "x-goog-content-length-range": f"{len(content)},{len(content)}",
    }
    async with platform.client(None, **headers) as client:
        return await client.put(url, content=content)


async def fill(platform: Platform, key: str, content: bytes = ROWS, name: str = "rows.jsonl") -> httpx2.Response:
    """Upload a file and have it checked."""
    urls = await urls_for(platform, key, {name: len(content)})
    assert (await put(platform, urls[name], content)).status_code == 200
    return await platform.call(key, "POST", f"{DATASETS}/rows:validateUpload", json={})


async def upload(platform: Platform, key: str, content: bytes, name: str = "rows.jsonl") -> httpx2.Response:
    files = {"file": (name, content, "application/jsonl")}
    return await platform.call(key, "POST", f"{DATASETS}/rows:upload", files=files)


async def content_of(platform: Platform, key: str, dataset_id: str = "rows") -> dict[str, bytes]:
    found = await told(platform, key, "GET", f"{DATASETS}/{dataset_id}:getDownloadEndpoint")
    contents = {}
    async with platform.client() as client:
        for name, url in found["filenameToSignedUrls"].items():
            contents[name] = (await client.get(url)).content
    return contents


async def test_dataset_is_filled_by_signed_urls_and_read_back(platform: Platform, key: str) -> None:
    made = (await create(platform, key, displayName="Rows", exampleCount=7)).json()
    assert (made["name"], made["state"], made["exampleCount"]) == ("accounts/acme/datasets/rows", "UPLOADING", "7")
    assert (made["createdBy"], made["userUploaded"], made["transformed"]) == ("admin@acme.example", {}, None)
    answer = await fill(platform, key)
    assert (answer.status_code, answer.json()) == (200, {})
    ready = await told(platform, key, "GET", f"{DATASETS}/rows")
    assert (ready["state"], ready["exampleCount"]) == ("READY", "3")
    assert ready["estimatedTokenCount"] == str(len(ROWS) // 4)
    assert await content_of(platform, key) == {"dataset/rows/rows.jsonl": ROWS}
    assert (await platform.call(key, "POST", f"{DATASETS}/rows:validateUpload", json={})).status_code == 200


async def test_dataset_is_filled_by_a_form(platform: Platform, key: str) -> None:
    await create(platform, key)
    answer = await upload(platform, key, ROWS, "../../etc/rows.jsonl")
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert isinstance(found.pop("created_at"), int)
    assert found == {
        "id": "accounts/acme/datasets/rows",
        "object": "file",
        "bytes": len(ROWS),
        "filename": found["filename"],
        "purpose": "dataset",
    }
    assert await content_of(platform, key) == {"dataset/rows/rows.jsonl": ROWS}
    again = await upload(platform, key, ROWS)
    assert (again.status_code, again.json()["code"]) == (400, 9)


@pytest.mark.parametrize("way", [fill, upload])
async def test_row_that_is_none_is_named_and_the_next_file_is_taken(platform: Platform, key: str, way: Any) -> None:
    await create(platform, key)
    answer = await way(platform, key, b'{"a": 1}\n{"a": }\n')
    assert (answer.status_code, answer.json()["code"]) == (400, 3)
    assert "Dataset has a syntax error: rows.jsonl line 2 column 7" in answer.json()["message"]
    assert (await told(platform, key, "GET", f"{DATASETS}/rows"))["state"] == "UPLOADING"
    empty = await way(platform, key, b"\n\n")
    assert "it has no rows" in empty.json()["message"]
    assert (await way(platform, key, ROWS)).status_code == 200
    assert (await told(platform, key, "GET", f"{DATASETS}/rows"))["state"] == "READY"


async def test_files_that_are_missing_are_named(platform: Platform, key: str) -> None:
    await create(platform, key)
    answer = await platform.call(key, "POST", f"{DATASETS}/rows:validateUpload", json={})
    assert (answer.status_code, answer.json()["code"]) == (400, 9)
    urls = await urls_for(platform, key, {"a.jsonl": len(ROWS), "b.jsonl": 5})
    assert (await put(platform, urls["a.jsonl"], ROWS)).status_code == 200
    assert (await put(platform, urls["b.jsonl"], ROWS)).status_code in {400, 413}
    answer = await platform.call(key, "POST", f"{DATASETS}/rows:validateUpload", json={})
    assert (answer.status_code, "b.jsonl was not uploaded yet" in answer.json()["message"]) == (400, True)


async def test_what_was_checked_is_out_of_reach_of_the_upload(platform: Platform, key: str) -> None:
    await create(platform, key)
    urls = await urls_for(platform, key, {"rows.jsonl": len(ROWS)})
    await put(platform, urls["rows.jsonl"], ROWS)
    assert (await platform.call(key, "POST", f"{DATASETS}/rows:validateUpload", json={})).status_code == 200
    await put(platform, urls["rows.jsonl"], b"x" * len(ROWS))
    assert await content_of(platform, key) == {"dataset/rows/rows.jsonl": ROWS}


async def test_files_that_are_named_last_are_the_datasets(platform: Platform, key: str) -> None:
    await create(platform, key)
    first = await urls_for(platform, key, {"a.jsonl": len(ROWS)})
    second = await urls_for(platform, key, {"b.jsonl": len(ROWS)})
    for url in (first["a.jsonl"], second["b.jsonl"]):
        assert (await put(platform, url, ROWS)).status_code == 200
    assert (await platform.call(key, "POST", f"{DATASETS}/rows:validateUpload", json={})).status_code == 200
    assert list(await content_of(platform, key)) == ["dataset/rows/b.jsonl"]


@pytest.mark.parametrize("name", ["../x.jsonl", "a/b.jsonl", ".hidden", "", "x" * 129, "a\x00b", "a b", "ä.jsonl"])
async def test_name_that_could_be_something_else_is_refused(platform: Platform, key: str, name: str) -> None:
    await create(platform, key)
    body = {"filenameToSize": {name: "5"}}
    answer = await platform.call(key, "POST", f"{DATASETS}/rows:getUploadEndpoint", json=body)
    assert answer.status_code == 400, answer.text


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "dataset is required"),
        ({"datasetId": "x", "dataset": {"userUploaded": {}}}, "example_count is required for uploaded datasets"),
        ({"datasetId": "X", "dataset": {"exampleCount": 1}}, "is not an id"),
        ({"datasetId": "x", "dataset": {"exampleCount": -1}}, "exampleCount"),
        ({"datasetId": "x", "dataset": {"exampleCount": 1, "userUploaded": {}, "evalProtocol": {}}}, "only one of"),
        ({"datasetId": "x", "dataset": {"exampleCount": 1, "splitted": {}}}, "the server itself says so"),
        ({"datasetId": "x", "dataset": {"exampleCount": 1, "colour": "red"}}, 'unknown field "colour"'),
    ],
)
async def test_what_cannot_be_created_says_why(
    platform: Platform, key: str, body: dict[str, Any], message: str
) -> None:
    answer = await platform.call(key, "POST", DATASETS, json=body)
    assert (answer.status_code, message in answer.json()["message"]) == (400, True), answer.text


async def test_id_that_is_taken_is_a_conflict(platform: Platform, key: str) -> None:
    await create(platform, key)
    answer = await create(platform, key)
    assert (answer.status_code, answer.json()["code"]) == (409, 6)
    assert answer.headers["x-should-retry"] == "false"


async def test_list_is_filtered_and_what_is_said_can_be_changed(platform: Platform, key: str) -> None:
    for dataset_id in ("rows", "other"):
        await create(platform, key, dataset_id)
    await fill(platform, key)
    ready = await told(platform, key, "GET", DATASETS, params={"filter": "state=READY AND example_count=3"})
    assert [one["name"] for one in ready["datasets"]] == ["accounts/acme/datasets/rows"]
    every = await told(platform, key, "GET", DATASETS)
    assert ([one["name"][-5:] for one in every["datasets"]], every["totalSize"]) == (["/rows", "other"], 2)
    changed = await told(
        platform, key, "PATCH", f"{DATASETS}/rows", json={"displayName": "My rows", "state": "UPLOADING"}
    )
    assert (changed["displayName"], changed["state"]) == ("My rows", "READY")
    wrong = await platform.call(key, "PATCH", f"{DATASETS}/rows", json={"exampleCount": 9})
    assert wrong.status_code == 400


async def test_rows_are_split_in_their_order(platform: Platform, key: str) -> None:
    await create(platform, key)
    rows = [json.dumps({"custom_id": str(number)}).encode() for number in range(450)]
    await fill(platform, key, b"\n\n".join(rows))
    found = await told(platform, key, "POST", f"{DATASETS}/rows:splitDataset", json={"chunkSize": 200})
    names = [f"accounts/acme/datasets/rows-chunk-{number}" for number in (1, 2, 3)]
    assert found == {"chunkDatasetNames": names, "chunksCreated": 3, "totalExamples": "450"}
    parts = []
    for number in (1, 2, 3):
        part = await told(platform, key, "GET", f"{DATASETS}/rows-chunk-{number}")
        assert (part["state"], part["splitted"]) == ("READY", {"sourceDatasetId": "rows"})
        parts.append((part["exampleCount"], *(await content_of(platform, key, f"rows-chunk-{number}")).values()))
    assert [count for count, _ in parts] == ["200", "200", "50"]
    assert b"".join(content for _, content in parts) == b"\n".join(rows) + b"\n"
    again = await platform.call(key, "POST", f"{DATASETS}/rows:splitDataset", json={"chunkSize": 200})
    assert again.status_code == 409
    assert list(await content_of(platform, key, "rows-chunk-1")) == ["dataset/rows-chunk-1/data.jsonl"]
    small = await platform.call(key, "POST", f"{DATASETS}/rows:splitDataset", json={"chunkSize": 199})
    assert "chunkSize must be at least 200" in small.json()["message"]


async def test_deleted_dataset_leaves_no_file_and_its_id_is_free(platform: Platform, key: str) -> None:
    await create(platform, key)
    await fill(platform, key)
    objects = platform.gateway.objects
    assert [one async for one in objects.list("datasets")]
    assert (await told(platform, key, "DELETE", f"{DATASETS}/rows")) == {}
    assert (await platform.call(key, "GET", f"{DATASETS}/rows")).status_code == 404
    assert await delete_doomed(platform.database, objects) == 2
    assert not [one async for one in objects.list("datasets")]
    assert (await create(platform, key)).status_code == 200
    assert (await told(platform, key, "GET", f"{DATASETS}/rows"))["state"] == "UPLOADING"


@pytest.mark.parametrize("content_type", ["application/json", "multipart/form-data", "multipart/form-data; boundary=x"])
async def test_form_that_is_none_is_refused(platform: Platform, key: str, content_type: str) -> None:
    await create(platform, key)
    async with platform.client(key, **{"content-type": content_type}) as client:
        answer = await client.post(f"{DATASETS}/rows:upload", content=b"--x\r\nrubbish")
    assert answer.status_code == 400, answer.text
    assert answer.json()["code"] == 3


@pytest.mark.parametrize("is_announced", [True, False])
async def test_file_too_large_for_a_form_is_refused_as_it_comes(
    platform: Platform, key: str, monkeypatch: pytest.MonkeyPatch, is_announced: bool
) -> None:
    monkeypatch.setattr(forms, "MAX_FILE_BYTES", 1000)
    monkeypatch.setattr(forms, "MAX_FORM_BYTES", 500)
    await create(platform, key)
    head = b'--x\r\ncontent-disposition: form-data; name="file"; filename="rows.jsonl"\r\n\r\n'
    body = head + b'{"a": 1}\n' * 1000

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 100):
            yield body[start : start + 100]

    async with platform.client(key, **{"content-type": "multipart/form-data; boundary=x"}) as client:
        answer = await client.post(f"{DATASETS}/rows:upload", content=body if is_announced else pieces())
    assert answer.status_code == 413, answer.text
    assert "ask for upload endpoints instead" in answer.json()["message"]


async def test_others_and_those_who_only_ask_for_vectors_may_not(platform: Platform, key: str) -> None:
    await create(platform, key)
    stranger = await platform.add_account("globex")
    bot = await platform.add_user("acme", "bot", Role.INFERENCE_USER)
    for who in (stranger, bot):
        assert (await platform.call(who, "GET", f"{DATASETS}/rows")).status_code == 403
        assert (await upload(platform, who, ROWS)).status_code == 403


async def test_of_two_files_that_come_at_once_the_one_that_is_accepted_is_kept(platform: Platform, key: str) -> None:
    await create(platform, key)
    contents = [b"".join(b'{"n": %d}\n' % number for number in range(num)) for num in (3, 5)]
    answers = await asyncio.gather(*(upload(platform, key, content, "rows.jsonl") for content in contents))
    assert sorted(answer.status_code for answer in answers) == [200, 400]
    winner = contents[[answer.status_code for answer in answers].index(200)]
    assert await content_of(platform, key) == {"dataset/rows/rows.jsonl": winner}
    assert (await told(platform, key, "GET", f"{DATASETS}/rows"))["exampleCount"] == str(winner.count(b"\n"))


async def test_file_that_is_replaced_while_it_is_read_is_not_kept_as_what_was_read(
    platform: Platform, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = ROWS.replace(b"\n\n", b"\n").replace(b'"c"', b'"cc"')  # as long, and other rows
    assert len(other) == len(ROWS)
    await create(platform, key)
    url = (await urls_for(platform, key, {"rows.jsonl": len(ROWS)}))["rows.jsonl"]
    await put(platform, url, ROWS)
    objects, read = platform.gateway.objects, platform.gateway.objects.read
    statuses: list[int] = []

    async def replaced(key_: str, *where: Any, **options: Any) -> AsyncIterator[bytes]:
        if not statuses:
            statuses.append(0)
            await put(platform, url, other)
            statuses.append((await validate(platform, key)).status_code)
        async for piece in read(key_, *where, **options):
            yield piece

    monkeypatch.setattr(objects, "read", replaced)
    first = await validate(platform, key)
    monkeypatch.undo()
    assert (first.status_code, statuses) == (400, [0, 200])
    assert await content_of(platform, key) == {"dataset/rows/rows.jsonl": other}


async def validate(platform: Platform, key: str) -> httpx2.Response:
    return await platform.call(key, "POST", f"{DATASETS}/rows:validateUpload", json={})


async def test_what_comes_after_its_dataset_is_gone_or_ready_is_swept(platform: Platform, key: str) -> None:
    database, objects = platform.database, platform.gateway.objects
    await create(platform, key)
    url = (await urls_for(platform, key, {"rows.jsonl": len(ROWS)}))["rows.jsonl"]
    await put(platform, url, ROWS)
    assert await sweep_arrivals(database, objects) == 0
    assert (await validate(platform, key)).status_code == 200
    await put(platform, url, ROWS)
    assert await sweep_arrivals(database, objects) == 1
    assert await content_of(platform, key) == {"dataset/rows/rows.jsonl": ROWS}
    await told(platform, key, "DELETE", f"{DATASETS}/rows")
    await delete_doomed(database, objects)
    await put(platform, url, ROWS)
    assert await sweep_arrivals(database, objects) == 1
    assert [info.key async for info in objects.list()] == []


async def test_folder_that_cannot_be_deleted_holds_up_no_other(
    platform: Platform, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    objects = platform.gateway.objects
    for name in ("rows", "other"):
        await create(platform, key, name)
        await told(platform, key, "DELETE", f"{DATASETS}/{name}")
    delete = objects.delete_prefix
    refused: list[str] = []

    async def refuse(prefix: str) -> None:
        if not refused or prefix in refused:
            refused.append(prefix)
            raise UnavailableError("the disk fails")
        await delete(prefix)

    monkeypatch.setattr(objects, "delete_prefix", refuse)
    assert await delete_doomed(platform.database, objects) == 3
    monkeypatch.undo()
    assert await delete_doomed(platform.database, objects) == 1
