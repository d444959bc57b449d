"""Models whose files lie in a bucket: uploaded to it by its own URLs, fetched from it to be read, and embedded with."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest

from embergate.app.objects import FileOptions
from embergate.gateway.files.doomed import delete_doomed
from embergate.gateway.models.imports.sources import ImportRules
from embergate.storage.database import Database
from embergate.storage.objects.cloud import CloudObjects
from tests.integration.gateway.importing import fill, importing, start, wait_for
from tests.integration.gateway.platform import Platform, on_sqlite_only
from tests.integration.gateway.uploading import MODELS, create, embed, files_in, model_folder, told, validate

# Which store it is makes no difference to the database.
pytestmark = on_sqlite_only
TEXTS = ["a quick brown fox", "a lazy dog"]


@pytest.fixture
async def platform(database: Database, bucket: str, s3_endpoint: str, tmp_path: Path) -> AsyncIterator[Platform]:
    objects = CloudObjects(f"s3://{bucket}/embergate")
    rules = ImportRules(frozenset({s3_endpoint.rstrip("/")}))
    files = FileOptions(objects, models_folder=tmp_path / "models")
    made = Platform(database, files=files, import_rules=rules)
    yield made
    await made.close()


async def test_model_uploaded_to_a_bucket_is_served_and_its_files_go_with_it(
    platform: Platform, tmp_path: Path, s3_endpoint: str
) -> None:
    key = await platform.add_account("acme")
    files = files_in(model_folder(tmp_path / "published"))
    assert (await create(platform, key)).status_code == 200
    sizes = {name: str(len(content)) for name, content in files.items()}
    answer = await told(platform, key, "POST", f"{MODELS}/mine:getUploadEndpoint", json={"filenameToSize": sizes})
    async with httpx2.AsyncClient() as http:
        for name, url in answer["filenameToSignedUrls"].items():
            assert url.startswith(s3_endpoint)
            if name != "config.json":
                assert (await http.put(url, content=files[name])).status_code == 200
        missing = (await validate(platform, key)).json()
        assert (missing["code"], missing["message"]) == (9, "not uploaded yet: config.json")
        url = answer["filenameToSignedUrls"]["config.json"]
        # A bucket's URL binds no size: what is not as large as was said is found out by the check.
        assert (await http.put(url, content=files["config.json"] + b" ")).status_code == 200
        assert "were announced" in (await validate(platform, key)).json()["message"]
        assert (await http.put(url, content=files["config.json"])).status_code == 200
        assert (await validate(platform, key)).status_code == 200
        # The URL is still good, and reaches nothing that was checked.
        assert (await http.put(url, content=b"{}")).status_code == 200
        assert (await embed(platform, key, TEXTS)).status_code == 200
        found = await told(platform, key, "GET", f"{MODELS}/mine:getDownloadEndpoint")
        contents = {name: (await http.get(url)).content for name, url in found["filenameToSignedUrls"].items()}
    assert contents == files
    await told(platform, key, "DELETE", f"{MODELS}/mine")
    await delete_doomed(platform.database, platform.gateway.objects)
    assert not [one async for one in platform.gateway.objects.list()]


async def test_model_is_imported_from_one_bucket_to_another(
    platform: Platform, tmp_path: Path, s3_endpoint: str, bucket: str
) -> None:
    key = await platform.add_account("acme")
    files = files_in(model_folder(tmp_path / "published"))
    fill(s3_endpoint, bucket, "theirs", files)
    await create(platform, key)
    secret = {"name": "accounts/acme/secrets/s3", "keyName": "S3", "value": "secret"}
    await told(platform, key, "POST", "/v1/accounts/acme/secrets", json=secret)
    credential = {"accessKeyId": "id", "accessSecret": secret["name"]}
    source = {"s3Bucket": bucket, "s3Path": "theirs", "endpoint": s3_endpoint, **credential}
    async with importing(platform):
        begun = (await start(platform, key, {"awsS3Source": source})).json()
        done = await wait_for(platform, key, begun)
    assert done["error"] is None, done
    assert (await embed(platform, key, TEXTS)).status_code == 200
