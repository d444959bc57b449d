"""What only a store in a bucket has: parts, presigned URLs, prefixes, and a network between."""

from __future__ import annotations

import socket
from datetime import timedelta
from typing import Any

import boto3
import httpx2
import pytest

from embergate.app.objects import FileOptions, file_options, signer_of
from embergate.errors import ConfigurationError, InvalidRequestError, UnavailableError
from embergate.gateway.files.urls import PlaneUrlSigner
from embergate.settings import Settings
from embergate.storage.database import Database
from embergate.storage.objects import cloud
from embergate.storage.objects.cloud import PART_BYTES, CloudObjects
from embergate.storage.objects.protocol import Expected
from embergate.web.keyring import Keyring
from tests.integration.gateway.platform import Platform
from tests.integration.objects.samples import breaking, get, keys, put, sample

HOUR = timedelta(hours=1)
LARGE = sample(2 * PART_BYTES + 3)


@pytest.fixture
def amazon(s3_environment: str) -> Any:
    return boto3.client("s3", endpoint_url=s3_environment)


async def test_objects_lie_below_the_prefix(s3: CloudObjects, bucket: str, amazon: Any) -> None:
    await put(s3, "a/b", b"x")
    amazon.put_object(Bucket=bucket, Key="elsewhere", Body=b"y")
    amazon.put_object(Bucket=bucket, Key="some/prefix/no key of ours", Body=b"y")
    assert await keys(s3) == ["a/b"]
    found = amazon.list_objects_v2(Bucket=bucket)["Contents"]
    assert [each["Key"] for each in found] == ["elsewhere", "some/prefix/a/b", "some/prefix/no key of ours"]


async def test_large_object_goes_in_parts_and_is_whole(s3: CloudObjects) -> None:
    assert (await put(s3, "k", LARGE, size=len(LARGE))).etag.strip('"').endswith("-3")
    assert await get(s3, "k") == LARGE
    assert await get(s3, "k", PART_BYTES - 1, 2) == LARGE[PART_BYTES - 1 : PART_BYTES + 1]


async def test_no_part_is_left_of_a_large_write_that_fails(s3: CloudObjects, bucket: str, amazon: Any) -> None:
    with pytest.raises(InvalidRequestError, match="send all of it"):
        await put(s3, "k", LARGE, size=len(LARGE) + 1)
    with pytest.raises(InvalidRequestError, match="sha256"):
        await put(s3, "k", LARGE, sha256="0" * 64)
    with pytest.raises(ConnectionResetError):
        await s3.write("k", breaking(LARGE), expect=Expected())
    assert await keys(s3) == []
    assert "Uploads" not in amazon.list_multipart_uploads(Bucket=bucket)


async def test_object_too_large_for_one_copy_is_copied_in_parts(
    s3: CloudObjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cloud, "MAX_COPY_BYTES", 10)
    await put(s3, "k", LARGE)
    assert (await s3.copy("k", "copy")).size == len(LARGE)
    assert await get(s3, "copy") == LARGE


async def test_urls_of_the_bucket_put_and_get(s3: CloudObjects, bucket: str) -> None:
    files = file_options(Settings(objects_url=f"s3://{bucket}/some/prefix"))
    urls = signer_of(files, Keyring([bytes(32)])).at("http://this-server/")
    async with httpx2.AsyncClient() as client:
        url = await urls.upload_url("a/b", size=3, expires_in=HOUR)
        assert "X-Amz-Signature=" in url
        headers = {"content-type": "application/octet-stream", "x-goog-content-length-range": "3,3"}
        assert (await client.put(url, content=b"abc", headers=headers)).status_code == 200
        assert await get(s3, "a/b") == b"abc"
        url = await urls.download_url("a/b", filename="x", expires_in=HOUR)
        assert (await client.get(url)).content == b"abc"


async def test_url_from_before_the_files_were_in_a_bucket_says_so(s3: CloudObjects, sqlite_url: str) -> None:
    database = Database.open(sqlite_url)
    platform = Platform(database, files=FileOptions(s3))
    old = PlaneUrlSigner(platform.keyring).at("http://test")
    for method, url in (
        ("PUT", await old.upload_url("k", size=3, expires_in=HOUR)),
        ("GET", await old.download_url("k", filename="k", expires_in=HOUR)),
    ):
        answer = await platform.call(None, method, url, content=b"abc" if method == "PUT" else None)
        assert (answer.status_code, answer.json()["code"]) == (404, 5)
        assert "in a bucket now" in answer.json()["message"]
    assert await keys(s3) == []
    await platform.close()
    await database.close()


async def test_bucket_that_is_not_there_is_unavailable(s3: CloudObjects) -> None:
    other = CloudObjects("s3://no-such-bucket/x")
    for data in (b"x", LARGE):
        with pytest.raises(UnavailableError):
            await put(other, "k", data)


async def test_server_that_is_not_there_is_unavailable(s3_environment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    monkeypatch.setattr(cloud, "RETRY_FOR", timedelta(seconds=0.2))
    store = CloudObjects("s3://bucket/x")
    for call in (put(store, "k", b"x"), put(store, "k", LARGE), get(store, "k"), store.find("k"), keys(store)):
        with pytest.raises(UnavailableError, match="cannot be reached"):
            await call


def test_url_that_is_none_is_a_bad_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match="EMBERGATE_OBJECTS_URL"):
        file_options(Settings(objects_url="s3://"))
