"""Models over HTTP, on both databases: made, uploaded, checked, embedded with, shared and deleted."""

from __future__ import annotations

import asyncio
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from sqlalchemy import select

from embergate.app.objects import FileOptions
from embergate.app.uploaded_models import PoolOptions
from embergate.engine.loaded_model import LoadedModel
from embergate.engine.loading.loader import SourceOptions
from embergate.gateway.files.doomed import delete_doomed
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
    send,
    upload,
    validate,
)
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


async def told(platform: Platform, key: str, method: str, path: str, **options: Any) -> Any:
    answer = await platform.call(key, method, path, **options)
    assert answer.status_code == 200, answer.text
    return answer.json()


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
    assert await folders.sweep(set(), -1.0) == 1
    assert not _names_in(folders.directory)


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
    platform.close()


async def test_equal_files_of_two_accounts_are_one_model_in_memory_and_on_disk(
    platform: Platform, key: str, folder: Path
) -> None:
    await upload(platform, key, folder, "first")
    await upload(platform, key, folder, "second", displayName="Another name")
    for model_id in ("first", "second"):
        answer = await embed(platform, key, TEXTS, f"accounts/acme/models/{model_id}", dimensions=3)
        assert answer.status_code == 400
        assert "first" not in answer.json()["error"]["message"]
    assert len(_names_in(platform.gateway.models.folders.directory)) == 1
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


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("../x.json", "no part of a file's name begins with a dot"),
        (".gitattributes", "leave such files out"),
        ("a/.hidden/x.json", "leave such files out"),
        ("/etc/passwd", "is not a file name"),
        ("a//b.json", "is not a file name"),
        ("a/b/c/d.json", "is not a file name"),
        ("a b.json", "is not a file name"),
        ("pytorch_model.bin", "Upload safetensors only"),
        ("sub/model.PT", "Upload safetensors only"),
    ],
)
@on_sqlite_only
async def test_file_that_could_do_harm_is_refused_by_its_name(
    platform: Platform, key: str, name: str, message: str
) -> None:
    await create(platform, key)
    body = {"filenameToSize": {"config.json": "2", name: "5"}}
    answer = await platform.call(key, "POST", f"{MODELS}/mine:getUploadEndpoint", json=body)
    assert (answer.status_code, message in answer.json()["message"]) == (400, True), answer.text


@on_sqlite_only
async def test_file_that_is_a_folder_too_and_too_many_files_are_refused(platform: Platform, key: str) -> None:
    await create(platform, key)
    for names in (["a", "a/b"], [f"f{number}" for number in range(201)]):
        body = {"filenameToSize": dict.fromkeys(names, "1")}
        answer = await platform.call(key, "POST", f"{MODELS}/mine:getUploadEndpoint", json=body)
        assert answer.status_code == 400, answer.text


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({}, "model.kind: HF_PEFT_ADDON (which a model is that says no kind) cannot be served here"),
        ({"kind": "HF_BASE_MODEL"}, "model.kind: HF_BASE_MODEL cannot be served here"),
        ({"kind": "EMBEDDING_MODEL", "colour": "red"}, 'unknown field "colour"'),
    ],
)
@on_sqlite_only
async def test_what_cannot_be_created_says_why(
    platform: Platform, key: str, model: dict[str, Any], message: str
) -> None:
    answer = await platform.call(key, "POST", MODELS, json={"modelId": "mine", "model": model})
    assert (answer.status_code, message in answer.json()["message"]) == (400, True), answer.text


async def test_missing_files_are_all_named(platform: Platform, key: str, folder: Path) -> None:
    await create(platform, key)
    assert (await validate(platform, key)).json()["code"] == 9
    files = files_in(folder)
    body = {"filenameToSize": {name: str(len(content)) for name, content in files.items()}}
    urls = (await told(platform, key, "POST", f"{MODELS}/mine:getUploadEndpoint", json=body))["filenameToSignedUrls"]
    async with platform.client() as client:
        assert (await client.put(urls["config.json"], content=files["config.json"])).status_code == 200
    answer = await validate(platform, key)
    assert (answer.status_code, answer.json()["code"]) == (400, 9)
    assert all(name in answer.json()["message"] for name in files if name != "config.json")
    assert (await validate(platform, key, configOnly="true")).status_code in {200, 400}
    assert (await validate(platform, key, trustRemoteCode="true")).json()["code"] == 3


async def refusal_of(platform: Platform, key: str, files: dict[str, bytes]) -> str:
    """Return why files are no model."""
    assert (await create(platform, key)).status_code == 200
    await send(platform, key, files)
    answer = await validate(platform, key)
    assert (answer.status_code, answer.json()["code"]) == (400, 3), answer.text
    assert (await told(platform, key, "GET", f"{MODELS}/mine"))["state"] == "UPLOADING"
    return str(answer.json()["message"])


async def test_every_reason_is_named_at_once_and_the_mended_files_are_taken(
    platform: Platform, key: str, folder: Path
) -> None:
    files = files_in(folder)
    config = {**json.loads(files["config.json"]), "hidden_act": "swash", "num_attention_heads": 5}
    bad = {
        **files,
        "config.json": json.dumps(config).encode(),
        "tokenizer.json": b"{}",
        "model.safetensors": b"\xff" * 100,
        "1_Pooling/config.json": b'{"pooling_mode": "median"}',
    }
    message = await refusal_of(platform, key, bad)
    for reason in ("swash", "do not divide into 5 attention heads", "tokenizer.json", "model.safetensors", "median"):
        assert reason in message
    await send(platform, key, files)
    assert (await validate(platform, key)).status_code == 200


@on_sqlite_only
async def test_weights_that_do_not_fit_are_named(platform: Platform, key: str, folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    gone = "embeddings.position_embeddings.weight"
    save_file({name: values for name, values in tensors.items() if name != gone}, folder / "model.safetensors")
    assert f"{gone} is missing" in await refusal_of(platform, key, files_in(folder))


def _overlapping(content: bytes) -> bytes:
    (size,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + size])
    first, second = [name for name in header if name != "__metadata__"][:2]
    header[second] = header[first]
    raw = json.dumps(header).encode()
    return struct.pack("<Q", len(raw)) + raw + content[8 + size :]


def _names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@on_sqlite_only
async def test_hostile_files_are_refused_and_nothing_is_written_outside(
    platform: Platform, key: str, folder: Path, tmp_path: Path
) -> None:
    files = files_in(folder)
    config = json.loads(files["config.json"])
    modules = json.loads(files["modules.json"])
    modules[1]["path"] = "../../../etc"
    cases = {
        "overlaps": {"model.safetensors": _overlapping(files["model.safetensors"])},
        "its header claims": {"model.safetensors": struct.pack("<Q", 2**62) + b"{}"},
        "keys, more than": {"config.json": json.dumps({**config, **{f"k{n}": n for n in range(10_000)}}).encode()},
        "a folder inside the model": {"modules.json": json.dumps(modules).encode()},
        "is larger than": {"config.json": b" " * (5 << 20)},
        "vocab_size": {"config.json": json.dumps({**config, "vocab_size": 2**40}).encode()},
    }
    before = _names_in(tmp_path)
    for said, changed in cases.items():
        assert said in await refusal_of(platform, key, {**files, **changed})
        await told(platform, key, "DELETE", f"{MODELS}/mine")
    assert _names_in(tmp_path) - before <= {"models", "objects"}
    assert not [name for name in _names_in(tmp_path / "models") if "making" in name]


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
