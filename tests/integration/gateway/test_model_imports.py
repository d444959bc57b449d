"""Imports of models: from a bucket and from a Hub, as operations, and the ways in which one comes to nothing."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi
from sqlalchemy import update

from embergate.app.objects import FileOptions
from embergate.clock import now
from embergate.gateway.files.doomed import delete_doomed
from embergate.gateway.models.imports.sources import ImportRules
from embergate.storage.database import Database
from embergate.storage.objects.local import LocalObjects
from embergate.storage.tables.jobs import JobRunRow
from embergate.web.caller import Role
from tests.integration.gateway.importing import COMMIT, OPERATIONS, Hub, fill, importing, serving, start, wait_for
from tests.integration.gateway.platform import Platform, on_sqlite_only
from tests.integration.gateway.uploading import MODELS, create, embed, files_in, model_folder, send, told, validate

REPO = "org/model"
SECRET = "accounts/acme/secrets/s3"


@pytest.fixture
def files(tmp_path: Path) -> dict[str, bytes]:
    return files_in(model_folder(tmp_path / "published"))


@pytest.fixture
def hub(files: dict[str, bytes]) -> Hub:
    more = {".gitattributes": b"x", "pytorch_model.bin": b"x", "onnx/model.onnx": b"x", "onnx/config.json": b"{}"}
    return Hub({REPO: {**files, **more}})


@pytest.fixture
def hub_url(hub: Hub) -> Iterator[str]:
    with serving(hub) as url:
        yield url


@pytest.fixture
async def platform(
    database: Database, store: LocalObjects, tmp_path: Path, s3_endpoint: str, hub: Hub, hub_url: str
) -> AsyncIterator[Platform]:
    rules = ImportRules(frozenset({s3_endpoint.rstrip("/"), hub.store}), hub_url)
    made = Platform(database, files=FileOptions(store, models_folder=tmp_path / "models"), import_rules=rules)
    yield made
    await made.close()


@pytest.fixture
async def key(platform: Platform) -> str:
    key = await platform.add_account("acme")
    secret = {"name": SECRET, "keyName": "S3", "value": "secret"}
    await told(platform, key, "POST", "/v1/accounts/acme/secrets", json=secret)
    assert (await create(platform, key)).status_code == 200
    return key


def source_of(endpoint: str, bucket: str, **more: str) -> dict[str, Any]:
    keys = {"accessKeyId": "id", "accessSecret": SECRET}
    return {"awsS3Source": {"s3Bucket": bucket, "s3Path": "some/folder/", "endpoint": endpoint, **keys, **more}}


@on_sqlite_only
async def test_import_takes_the_place_of_what_was_uploaded_and_refused(
    platform: Platform, key: str, files: dict[str, bytes], s3_endpoint: str, bucket: str
) -> None:
    await send(platform, key, {**files, "config.json": bytes(len(files["config.json"]))})
    assert (await validate(platform, key)).status_code == 400
    fill(s3_endpoint, bucket, "some/folder", files)
    async with importing(platform):
        operation = await start(platform, key, source_of(s3_endpoint, bucket))
        assert (await wait_for(platform, key, operation.json()))["error"] is None
    await delete_doomed(platform.database, platform.gateway.objects)
    found = [info.key.split("/", 3)[3] async for info in platform.gateway.objects.list("models")]
    assert sorted(found) == sorted(files)
    assert (await embed(platform, key, ["a fox"])).status_code == 200


async def test_model_in_a_bucket_is_fetched_checked_and_served(
    platform: Platform, key: str, files: dict[str, bytes], s3_endpoint: str, bucket: str
) -> None:
    fill(s3_endpoint, bucket, "some/folder", {**files, "README.md": b"# Mine", "pytorch_model.bin": b"x"})
    fill(s3_endpoint, bucket, "some/folder-of-others", {"config.json": b"{}"})
    # What consoles put there for folders.
    fill(s3_endpoint, bucket, "some/folder", {"": b"", "1_Pooling/": b""})
    answer = await start(platform, key, source_of(s3_endpoint, bucket))
    assert answer.status_code == 200, answer.text
    begun = answer.json()
    assert (begun["done"], begun["error"], begun["response"]) == (False, None, None)
    assert begun["name"].startswith("accounts/acme/operations/")
    async with importing(platform):
        done = await wait_for(platform, key, begun)
    assert done["error"] is None, done
    model = done["response"]
    assert (model.pop("@type"), model["state"]) == ("type.googleapis.com/gateway.Model", "READY")
    assert model["importedFrom"] == f"s3://{bucket}/some/folder"
    assert model["baseModelDetails"]["huggingfaceFiles"] == sorted([*files, "README.md"])
    metadata = done["metadata"]
    assert (metadata["model"], metadata["state"]) == ("accounts/acme/models/mine", "COMPLETED")
    assert metadata["filesDone"] == metadata["filesTotal"] == len(files) + 1
    assert (await embed(platform, key, ["a fox"])).status_code == 200
    found = await told(platform, key, "GET", f"{MODELS}/mine:getDownloadEndpoint")
    async with platform.client() as client:
        contents = {name: (await client.get(url)).content for name, url in found["filenameToSignedUrls"].items()}
    assert contents == {**files, "README.md": b"# Mine"}
    listed = await told(platform, key, "GET", OPERATIONS, params={"filter": "done=true"})
    assert [one["name"] for one in listed["operations"]] == [done["name"]]
    again = (await start(platform, key, source_of(s3_endpoint, bucket))).json()
    assert (again["code"], "is READY already" in again["message"]) == (9, True)


async def test_model_that_cannot_be_served_is_the_operations_error_with_every_reason(
    platform: Platform, key: str, files: dict[str, bytes], s3_endpoint: str, bucket: str
) -> None:
    bad = {**files, "tokenizer.json": b"{}", "1_Pooling/config.json": b'{"pooling_mode": "median"}'}
    fill(s3_endpoint, bucket, "some/folder", bad)
    begun = (await start(platform, key, source_of(s3_endpoint, bucket))).json()
    for path, body in (
        (":getUploadEndpoint", {"filenameToSize": {"a.json": "1"}}),
        (":import", source_of(s3_endpoint, bucket)),
    ):
        refused = (await platform.call(key, "POST", f"{MODELS}/mine{path}", json=body)).json()
        assert (refused["code"], "is being imported" in refused["message"]) == (9, True)
    assert "is being imported" in (await validate(platform, key)).json()["message"]
    async with importing(platform):
        done = await wait_for(platform, key, begun)
        assert (done["error"]["code"], done["response"]) == (3, None)
        for reason in ("tokenizer.json", "median"):
            assert reason in done["error"]["message"]
        kept = await told(platform, key, "GET", f"{MODELS}/mine")
        assert (kept["state"], kept["status"]["message"]) == ("UPLOADING", done["error"]["message"])
        # What was fetched is taken away, and the model may be filled in another way.
        while (await start(platform, key, source_of(s3_endpoint, bucket, s3Path="nowhere"))).status_code != 200:
            pass
        (other,) = [
            one for one in (await told(platform, key, "GET", OPERATIONS))["operations"] if one["name"] != begun["name"]
        ]
        empty = await wait_for(platform, key, other)
    assert (empty["error"]["code"], "no file at the source" in empty["error"]["message"]) == (9, True)
    assert not [one async for one in platform.gateway.objects.list("models")]


async def test_cancelled_import_leaves_an_empty_model_that_can_be_uploaded(
    platform: Platform, key: str, files: dict[str, bytes], s3_endpoint: str, bucket: str
) -> None:
    fill(s3_endpoint, bucket, "some/folder", files)
    begun = (await start(platform, key, source_of(s3_endpoint, bucket))).json()
    stranger = await platform.add_account("globex")
    assert (await platform.call(stranger, "POST", f"/v1/{begun['name']}:cancel", json={})).status_code == 403
    assert (await platform.call(stranger, "GET", f"/v1/{begun['name']}")).status_code == 403
    elsewhere = begun["name"].replace("acme", "globex")
    assert (await platform.call(stranger, "GET", f"/v1/{elsewhere}")).status_code == 404
    assert await told(platform, key, "POST", f"/v1/{begun['name']}:cancel", json={}) == {}
    done = await told(platform, key, "GET", f"/v1/{begun['name']}")
    assert (done["done"], done["error"]["code"]) == (True, 1)
    assert await told(platform, key, "POST", f"/v1/{begun['name']}:cancel") == {}
    body = {"filenameToSize": {name: len(content) for name, content in files.items()}}
    async with importing(platform):
        while (await platform.call(key, "POST", f"{MODELS}/mine:getUploadEndpoint", json=body)).status_code != 200:
            pass
    await send(platform, key, files)
    assert (await validate(platform, key)).status_code == 200


async def test_model_deleted_while_it_is_imported_leaves_no_file(
    platform: Platform, key: str, files: dict[str, bytes], s3_endpoint: str, bucket: str
) -> None:
    fill(s3_endpoint, bucket, "some/folder", files)
    begun = (await start(platform, key, source_of(s3_endpoint, bucket))).json()
    await told(platform, key, "DELETE", f"{MODELS}/mine")
    async with importing(platform):
        done = await wait_for(platform, key, begun)
    assert (done["error"]["code"], done["error"]["message"]) == (9, "the model was deleted")
    assert not [one async for one in platform.gateway.objects.list("models")]


@on_sqlite_only
async def test_credentials_are_the_accounts_own_and_never_the_servers(
    platform: Platform, key: str, hub: Hub, hub_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AZURE_STORAGE_ACCOUNT_KEY"):
        monkeypatch.setenv(name, "c2VydmVy")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")

    def answer(path: str, authorization: str | None) -> tuple[int, dict[str, str], bytes]:
        seen.append(authorization)
        return 403, {}, b""

    # The Hub's server stands in for a store that writes down what it is shown.
    monkeypatch.setattr(hub, "answer", answer)
    await _fails(platform, key, source_of(hub.store, "bucket"), "refuses the credentials")
    assert [one is not None and "Credential=id/" in one for one in seen] == [True]
    seen.clear()
    open_to_all = source_of(hub.store, "bucket", accessKeyId="", accessSecret="")
    await _fails(platform, key, open_to_all, "refuses the credentials")
    assert seen == [None]


async def _fails(platform: Platform, key: str, body: dict[str, Any], said: str) -> None:
    async with importing(platform):
        answer = await start(platform, key, body)
        while answer.json().get("code") == 9:  # what is left of the last one is being taken away
            answer = await start(platform, key, body)
        assert answer.status_code == 200, answer.text
        done = await wait_for(platform, key, answer.json())
    assert said in done["error"]["message"]


@on_sqlite_only
async def test_source_that_is_not_allowed_is_refused_before_anything_is_begun(platform: Platform, key: str) -> None:
    answer = (await start(platform, key, source_of("http://169.254.169.254", "bucket"))).json()
    assert (answer["code"], "EMBERGATE_IMPORT_ENDPOINTS" in answer["message"]) == (3, True)
    assert (await told(platform, key, "GET", OPERATIONS))["operations"] == []


@on_sqlite_only
async def test_import_whose_time_is_up_ends_and_leaves_an_empty_model(
    platform: Platform, key: str, files: dict[str, bytes], s3_endpoint: str, bucket: str
) -> None:
    fill(s3_endpoint, bucket, "some/folder", files)
    begun = (await start(platform, key, source_of(s3_endpoint, bucket))).json()
    async with platform.database.writing() as db:
        await db.execute(update(JobRunRow).values(expire_time=now() - timedelta(seconds=1)))
    async with importing(platform):
        done = await wait_for(platform, key, begun)
    assert done["error"]["code"] == 4
    assert (await told(platform, key, "GET", f"{MODELS}/mine"))["status"]["code"] == "DEADLINE_EXCEEDED"
    assert not [one async for one in platform.gateway.objects.list("models")]


@on_sqlite_only
async def test_secrets_are_named_never_sent_and_an_admins_to_use(
    platform: Platform, key: str, s3_endpoint: str
) -> None:
    sent = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
    answer = await start(platform, key, source_of(s3_endpoint, "bucket", accessSecret=sent))
    assert (answer.json()["code"], "must be the name of a secret" in answer.json()["message"]) == (3, True)
    assert sent not in answer.text
    assert sent not in json.dumps(await platform.trail(key, "acme"))
    missing = await start(platform, key, source_of(s3_endpoint, "bucket", accessSecret=f"{SECRET}-2"))
    assert missing.status_code == 404
    writer = await platform.add_user("acme", "writer", Role.CONTRIBUTOR)
    assert (await start(platform, writer, source_of(s3_endpoint, "bucket"))).status_code == 403
    without = source_of(s3_endpoint, "bucket", accessKeyId="", accessSecret="")
    assert (await start(platform, writer, without)).status_code == 200


@on_sqlite_only
async def test_import_goes_on_with_another_worker_and_says_what_it_waits_for(
    platform: Platform, key: str, files: dict[str, bytes], hub: Hub
) -> None:
    hub.is_away = True
    operation = (await start(platform, key, {"huggingFaceSource": {"repo": REPO}})).json()
    async with importing(platform):
        while not operation["metadata"].get("waitingFor"):
            operation = await told(platform, key, "GET", f"/v1/{operation['name']}")
    assert operation["metadata"]["waitingFor"] == "the Hub answers HTTP 503"
    hub.is_away = False
    async with importing(platform):
        done = await wait_for(platform, key, operation)
    assert (done["error"], done["response"]["state"]) == (None, "READY")


@on_sqlite_only
async def test_account_has_five_imports_at_once(platform: Platform, key: str) -> None:
    for number in range(6):
        await create(platform, key, f"m{number}")
        answer = await start(platform, key, {"huggingFaceSource": {"repo": REPO}}, f"m{number}")
        assert answer.status_code == (200 if number < 5 else 429)


@on_sqlite_only
async def test_model_of_the_hub_is_fetched_at_one_commit_and_the_token_goes_to_the_hub_alone(
    platform: Platform, key: str, files: dict[str, bytes], hub: Hub, hub_url: str
) -> None:
    hub.needed_token = "hf_token"
    # What the stand-in answers is what the Hub's own client reads.
    info = HfApi(endpoint=hub_url, token="hf_token").model_info(REPO, revision="main", files_metadata=True)
    assert info.siblings is not None
    assert {one.rfilename: one.size for one in info.siblings}.items() >= {
        name: len(c) for name, c in files.items()
    }.items()
    hub.seen.clear()
    await _fails(platform, key, {"huggingFaceSource": {"repo": REPO}}, "tokenSecret")
    value = {"name": "accounts/acme/secrets/hub", "keyName": "Hub", "value": "hf_token"}
    await told(platform, key, "POST", "/v1/accounts/acme/secrets", json=value)
    source = {"repo": REPO, "revision": "refs/pr/1", "tokenSecret": value["name"]}
    async with importing(platform):
        answer = await start(platform, key, {"huggingFaceSource": source})
        while answer.status_code != 200:
            answer = await start(platform, key, {"huggingFaceSource": source})
        done = await wait_for(platform, key, answer.json())
    assert done["error"] is None, done
    assert done["response"]["importedFrom"] == f"hf://{REPO}@refs/pr/1"
    assert done["response"]["baseModelDetails"]["huggingfaceFiles"] == sorted(files)
    stored = [token for path, token in hub.seen if path.startswith("/store/")]
    assert stored == [None]
    assert {path.split("/resolve/")[1].split("/")[0] for path, _ in hub.seen if "/resolve/" in path} == {COMMIT}
    assert (await embed(platform, key, ["a fox"])).status_code == 200


@on_sqlite_only
async def test_hub_that_sends_us_elsewhere_or_changes_a_file_is_not_followed(
    platform: Platform, key: str, files: dict[str, bytes], hub: Hub
) -> None:
    source = {"huggingFaceSource": {"repo": REPO}}
    allowed, hub.store = hub.store, "http://169.254.169.254"
    await _fails(platform, key, source, "the Hub sends us to 169.254.169.254")
    hub.store = allowed
    hub.changed["model.safetensors"] = bytes(len(files["model.safetensors"]))
    await _fails(platform, key, source, "a file was changed while it was read: the object's sha256 is")
