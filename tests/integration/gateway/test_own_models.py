"""Models over HTTP, on both databases: made, uploaded, checked, embedded with, shared and deleted."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import select

from embergate.app.objects import FileOptions
from embergate.app.uploaded_models import PoolOptions
from embergate.clock import now
from embergate.engine.loaded_model import LoadedModel
from embergate.engine.loading.loader import SourceOptions
from embergate.engine.registry import ServedModel
from embergate.gateway.files.doomed import delete_doomed
from embergate.gateway.models.store import contents_of_all
from embergate.storage.database import Database
from embergate.storage.objects.local import LocalObjects
from embergate.storage.tables.usage import UsageDimensionsRow, UsageRecordRow
from embergate.web.caller import Role
from tests.integration.gateway.platform import Platform, on_sqlite_only
from tests.integration.gateway.uploading import (
    MODELS,
    create,
    embed,
    files_in,
    model_folder,
    names_in,
    send,
    told,
    upload,
    validate,
)
from tests.loaded import fake_model
from tests.random_models import cases_of

TEXTS = ["a quick brown fox", "a lazy dog", "the fox and the dog"]
NAME = "accounts/acme/models/mine"


@pytest.fixture
async def key(platform: Platform) -> str:
    return await platform.add_account("acme")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return model_folder(tmp_path / "published")


def vectors_of(folder: Path) -> np.ndarray[Any, Any]:
    """Return the vectors of the loader itself."""
    model = LoadedModel.open(folder, source=SourceOptions(offline=True))
    vectors = model.encode(TEXTS)
    model.close()
    return vectors


async def test_uploaded_model_is_checked_and_gives_the_loaders_own_vectors(
    platform: Platform, key: str, folder: Path
) -> None:
    made = (await create(platform, key, displayName="Mine", huggingFaceUrl="https://huggingface.co/x")).json()
    assert (made["name"], made["state"], made["kind"]) == (NAME, "UPLOADING", "EMBEDDING_MODEL")
    files = files_in(folder)
    assert "1_Pooling/config.json" in files
    await send(platform, key, files)
    assert (await embed(platform, key, TEXTS)).json()["error"]["code"] == "FAILED_PRECONDITION"
    answer = await validate(platform, key)
    assert (answer.status_code, answer.json()) == (200, {"warnings": []})
    ready = await told(platform, key, "GET", f"{MODELS}/mine")
    assert (ready["state"], ready["contextLength"] > 0, ready["supportsServerless"]) == ("READY", True, True)
    assert int(ready["baseModelDetails"]["parameterCount"]) > 1000
    assert ready["baseModelDetails"]["huggingfaceFiles"] == sorted(files)
    assert ready["huggingFaceUrl"] == "https://huggingface.co/x"
    (ref,) = ready["deployedModelRefs"]
    assert (ref["state"], ref["default"], ref["public"]) == ("DEPLOYED", True, False)
    assert (await told(platform, key, "GET", MODELS))["models"][0]["deployedModelRefs"] == []
    for name in (NAME, f"fireworks/{NAME}", f"{NAME}#mine", "accounts/acme/deployments/mine"):
        found = (await embed(platform, key, TEXTS, name)).json()
        got = np.array([one["embedding"] for one in found["data"]], np.float32)
        np.testing.assert_allclose(got, vectors_of(folder), atol=1e-6)
    assert (await told(platform, key, "GET", f"/v1/models/{NAME}"))["id"] == NAME


async def test_use_is_billed_under_the_models_own_name_by_its_size(platform: Platform, key: str, folder: Path) -> None:
    await upload(platform, key, folder)
    answer = await embed(platform, key, TEXTS)
    num_tokens = answer.json()["usage"]["prompt_tokens"]
    async with platform.client(key, **{"x-embergate-dry-run": "true"}) as client:
        dry = await client.post("/v1/embeddings", json={"model": NAME, "input": TEXTS})
    assert dry.json()["price_nanos_per_token"] == 8
    async with platform.database.reading() as db:
        record = (await db.scalars(select(UsageRecordRow))).one()
        dimensions = (await db.scalars(select(UsageDimensionsRow))).one()
    assert (dimensions.model, dimensions.price_nanos, record.prompt_tokens) == (NAME, 8, num_tokens)


async def test_files_come_back_as_they_were(platform: Platform, key: str, folder: Path) -> None:
    files = {**files_in(folder), "README.md": b"# Mine"}
    await create(platform, key)
    await send(platform, key, files)
    assert (await validate(platform, key)).json()["warnings"] == ["README.md is kept, and not read by this server"]
    found = await told(platform, key, "GET", f"{MODELS}/mine:getDownloadEndpoint")
    async with platform.client() as client:
        contents = {name: (await client.get(url)).content for name, url in found["filenameToSignedUrls"].items()}
    assert contents == files
    again = await platform.call(key, "POST", f"{MODELS}/mine:getUploadEndpoint", json={"filenameToSize": {"a": "1"}})
    assert (again.status_code, again.json()["code"]) == (400, 9)


async def test_others_get_a_403_until_the_model_is_public(platform: Platform, key: str, folder: Path) -> None:
    stranger = await platform.add_account("globex")
    bot = await platform.add_user("acme", "bot", Role.INFERENCE_USER)
    await upload(platform, key, folder)
    assert (await embed(platform, bot, TEXTS)).status_code == 200
    for name in (NAME, "accounts/acme/models/none"):
        answer = await embed(platform, stranger, TEXTS, name)
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "FORBIDDEN")
    assert (await platform.call(stranger, "GET", f"{MODELS}/mine")).status_code == 403
    await told(platform, key, "PATCH", f"{MODELS}/mine", json={"public": True})
    assert (await embed(platform, stranger, TEXTS)).status_code == 200
    assert (await told(platform, stranger, "GET", f"{MODELS}/mine"))["public"] is True
    for method, path in (("PATCH", ""), ("DELETE", ""), ("GET", ":getDownloadEndpoint"), ("GET", ":validateUpload")):
        assert (await platform.call(stranger, method, f"{MODELS}/mine{path}", json={})).status_code == 403
    await told(platform, key, "PATCH", f"{MODELS}/mine", json={"public": False})
    assert (await embed(platform, stranger, TEXTS)).status_code == 403


async def test_policy_of_the_account_counts_for_its_own_models(platform: Platform, key: str, folder: Path) -> None:
    await upload(platform, key, folder)
    await told(platform, key, "PATCH", "/v1/accounts/acme/policySettings", json={"rules": []})
    assert (await embed(platform, key, TEXTS)).status_code == 403


async def test_deleted_model_answers_no_more_and_leaves_no_file(platform: Platform, key: str, folder: Path) -> None:
    await upload(platform, key, folder)
    assert (await embed(platform, key, TEXTS)).status_code == 200
    assert await told(platform, key, "DELETE", f"{MODELS}/mine") == {}
    assert (await embed(platform, key, TEXTS)).status_code == 404
    assert (await platform.call(key, "GET", f"{MODELS}/mine")).status_code == 404
    objects = platform.gateway.objects
    await delete_doomed(platform.database, objects)
    assert not [one async for one in objects.list("models")]
    folders = platform.gateway.models.folders

    async def needed() -> set[str]:
        async with platform.database.reading() as db:
            return await contents_of_all(db)

    assert await folders.sweep(needed, -1.0) == 1
    assert not names_in(folders.directory)


@on_sqlite_only
async def test_files_do_not_say_more_tokens_than_the_server_lets_any_model_have(
    database: Database, store: LocalObjects, folder: Path, tmp_path: Path
) -> None:
    files = FileOptions(store, models_folder=tmp_path / "models")
    platform = Platform(database, files=files, pool=PoolOptions(max_tokens=16))
    key = await platform.add_account("acme")
    await upload(platform, key, folder)
    assert (await told(platform, key, "GET", f"{MODELS}/mine"))["contextLength"] == 16
    assert (await embed(platform, key, ["a " * 14])).json()["usage"]["prompt_tokens"] == 16
    answer = await embed(platform, key, ["a " * 15])
    assert answer.status_code == 400
    assert "17 tokens long, special tokens included; this model's limit is 16" in answer.json()["error"]["message"]
    await platform.close()


async def test_models_that_do_not_fit_together_take_turns(
    database: Database, store: LocalObjects, tmp_path: Path
) -> None:
    folders = [model_folder(tmp_path / f"published-{seed}", seed) for seed in range(2)]
    num_bytes = sum(path.stat().st_size for path in folders[0].rglob("*.safetensors"))
    files = FileOptions(store, models_folder=tmp_path / "models")
    platform = Platform(database, files=files, pool=PoolOptions(max_bytes=int(num_bytes * 1.5)))
    key, pool = await platform.add_account("acme"), platform.gateway.models.pool
    for number, folder in enumerate(folders):
        await upload(platform, key, folder, f"m{number}")
    for number in (0, 1, 0, 1):
        answer = await embed(platform, key, TEXTS, f"accounts/acme/models/m{number}")
        got = np.array([one["embedding"] for one in answer.json()["data"]], np.float32)
        np.testing.assert_allclose(got, vectors_of(folders[number]), atol=1e-6)
        states = [
            [ref["state"] for ref in (await told(platform, key, "GET", f"{MODELS}/m{other}"))["deployedModelRefs"]]
            for other in range(2)
        ]
        assert states == [["DEPLOYED"] if other == number else [] for other in range(2)]
        assert pool.num_bytes <= num_bytes * 1.5
    await platform.close()


async def test_equal_files_of_two_accounts_are_one_model_in_memory_and_on_disk(
    platform: Platform, key: str, folder: Path
) -> None:
    await upload(platform, key, folder, "first")
    await upload(platform, key, folder, "second", displayName="Another name")
    for model_id in ("first", "second"):
        answer = await embed(platform, key, TEXTS, f"accounts/acme/models/{model_id}", dimensions=3)
        assert answer.status_code == 400
        assert "first" not in answer.json()["error"]["message"]
    assert len(names_in(platform.gateway.models.folders.directory)) == 1
    await told(platform, key, "DELETE", f"{MODELS}/first")
    await delete_doomed(platform.database, platform.gateway.objects)
    assert (await embed(platform, key, TEXTS, "accounts/acme/models/second")).status_code == 200


async def test_many_callers_at_once_load_a_cold_model_once(platform: Platform, key: str, folder: Path) -> None:
    await upload(platform, key, folder)
    pool = platform.gateway.models.pool
    await pool.close()
    answers = await asyncio.gather(*(embed(platform, key, TEXTS) for _ in range(8)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.headers["x-embergate-fingerprint"] for answer in answers}) == 1


@pytest.mark.parametrize("architecture", ["qwen3", "model2vec", "static_embedding"])
@on_sqlite_only
async def test_other_kinds_of_networks_are_served_too(
    platform: Platform, key: str, tmp_path: Path, architecture: str
) -> None:
    folder = model_folder(tmp_path / "other", case=cases_of(architecture)[0])
    await upload(platform, key, folder)
    found = (await embed(platform, key, TEXTS)).json()
    got = np.array([one["embedding"] for one in found["data"]], np.float32)
    np.testing.assert_allclose(got, vectors_of(folder), atol=1e-6)


async def test_models_that_the_server_was_started_with_are_everybodys_in_account_fireworks(
    platform: Platform, key: str, tmp_path: Path
) -> None:
    for account_id, slug in (("fireworks", "small"), ("acme", "house")):
        platform.deps.registry.add(ServedModel(account_id, slug, fake_model(tmp_path / slug), now()))
    (listed,) = (await told(platform, key, "GET", "/v1/accounts/fireworks/models"))["models"]
    assert (listed["name"], listed["state"]) == ("accounts/fireworks/models/small", "READY")
    found = await told(platform, key, "GET", "/v1/accounts/fireworks/models/small")
    assert [ref["state"] for ref in found["deployedModelRefs"]] == ["DEPLOYED"]
    assert (found["public"], found["kind"], found["contextLength"] > 0) == (True, "EMBEDDING_MODEL", True)
    assert (await told(platform, key, "GET", f"{MODELS}/house"))["name"] == "accounts/acme/models/house"
    assert (await create(platform, key, "house")).status_code == 409
    assert (await platform.call(key, "DELETE", "/v1/accounts/fireworks/models/small")).status_code == 403
    refused = await platform.call(key, "GET", "/v1/accounts/fireworks/models", params={"filter": "state=READY"})
    assert refused.status_code == 400


async def test_model_is_not_taken_from_under_a_request_that_runs(platform: Platform, key: str, folder: Path) -> None:
    await upload(platform, key, folder)
    texts = [" ".join(TEXTS)] * 64
    answers = [asyncio.create_task(embed(platform, key, texts)) for _ in range(4)]
    pool = platform.gateway.models.pool
    sha256 = next(iter(names_in(platform.gateway.models.folders.directory)))
    while not all(answer.done() for answer in answers):
        pool.forget(sha256)
        await asyncio.sleep(0)
    assert [answer.result().status_code for answer in answers] == [200] * 4


async def test_list_is_filtered_and_the_catalogues_models_are_everybodys(platform: Platform, key: str) -> None:
    await create(platform, key, "one", displayName="One")
    await create(platform, key, "two")
    found = await told(platform, key, "GET", MODELS, params={"filter": 'display_name="One" AND state=UPLOADING'})
    assert [one["name"] for one in found["models"]] == ["accounts/acme/models/one"]
    assert (await create(platform, key, "one")).status_code == 409
    assert (await told(platform, key, "GET", "/v1/accounts/fireworks/models"))["models"] == []
    assert (await platform.call(key, "GET", "/v1/accounts/fireworks/models/none")).status_code == 404
    changed = await told(
        platform, key, "PATCH", f"{MODELS}/one", json={"description": "New", "kind": "CUSTOM_MODEL", "state": "READY"}
    )
    assert (changed["description"], changed["kind"], changed["state"]) == ("New", "EMBEDDING_MODEL", "UPLOADING")
    wrong = await platform.call(
        key, "PATCH", f"{MODELS}/one", params={"updateMask": "kind"}, json={"kind": "CUSTOM_MODEL"}
    )
    assert wrong.status_code == 400


async def test_inference_plane_lists_what_an_account_may_use(
    platform: Platform, key: str, folder: Path, tmp_path: Path
) -> None:
    stranger = await platform.add_account("globex")
    platform.deps.registry.add(ServedModel("fireworks", "small", fake_model(tmp_path / "small"), now()))
    await upload(platform, key, folder)
    await create(platform, key, "empty")
    small, own = (await told(platform, key, "GET", "/inference/v1/models"))["data"]
    assert (small["id"], own["id"]) == ("accounts/fireworks/models/small", NAME)
    assert (own["owned_by"], own["dimensions"], own["precisions"]) == ("acme", 48, [])
    details = (await told(platform, key, "GET", f"{MODELS}/mine"))["embeddingDetails"]
    assert (details["dimensions"], details["pooling"]) == (48, "mean")
    full = await told(platform, key, "GET", f"/inference/v1/models/{NAME}")
    common = own.keys() & full.keys() - {"created"}
    assert {name: own[name] for name in common} == {name: full[name] for name in common}
    assert [one["id"] for one in (await told(platform, stranger, "GET", "/v1/models"))["data"]] == [small["id"]]
    await told(platform, key, "PATCH", f"{MODELS}/mine", json={"public": True})
    assert [one["id"] for one in (await told(platform, stranger, "GET", "/v1/models"))["data"]] == [small["id"], NAME]
    await told(platform, stranger, "PATCH", "/v1/accounts/globex/policySettings", json={"rules": []})
    assert (await told(platform, stranger, "GET", "/v1/models"))["data"] == []


async def test_gateways_list_is_also_where_the_inference_plane_is(platform: Platform, key: str) -> None:
    await create(platform, key)
    path = "/accounts/acme/models"
    listed = await told(platform, key, "GET", f"/inference/v1{path}", params={"pageSize": "1"})
    assert listed == await told(platform, key, "GET", f"/v1{path}")
    stranger = await platform.add_account("globex")
    assert (await platform.call(stranger, "GET", f"/inference/v1{path}")).status_code == 403
