"""Uploads of models that are not whole, are wrong or are made to harm: each is refused by every reason, and nothing escapes."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from embergate.engine.loaded_model import LoadedModel
from embergate.engine.loading.loader import SourceOptions
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
    validate,
)


@pytest.fixture
async def key(platform: Platform) -> str:
    return await platform.add_account("acme")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return model_folder(tmp_path / "published")


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
        ("a\\..\\b.json", "is not a file name"),
        ("C:\\x.json", "is not a file name"),
        ("~/x.json", "is not a file name"),
        ("a/../x.json", "leave such files out"),
        ("%2e%2e/x.json", "is not a file name"),
        ("config.json/", "is not a file name"),
        ("config.json\n", "is not a file name"),
        ("cоnfig.json", "is not a file name"),  # a Cyrillic o
        ("a" * 129, "is not a file name"),
        ("model.pkl", "Upload safetensors only"),
        ("weights.npz", "Upload safetensors only"),
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
        ({"kind": "CUSTOM_MODEL"}, "model.kind: CUSTOM_MODEL cannot be served here"),
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


@on_sqlite_only
async def test_flags_of_the_check_do_what_they_say(platform: Platform, key: str, folder: Path) -> None:
    files = files_in(folder)
    await create(platform, key)
    configs = {
        name: content for name, content in files.items() if name.endswith("config.json") or name == "modules.json"
    }
    await send(platform, key, {**configs, "config.json": files["config.json"].replace(b"gelu", b"swas")})
    for value in ("true", "True", "1"):
        wrong = await validate(platform, key, configOnly=value)
        assert (wrong.status_code, wrong.json()["code"]) == (400, 3)
        assert "hidden_act is 'swas'" in wrong.json()["message"]
        refused = await validate(platform, key, trustRemoteCode=value)
        message = "trustRemoteCode: a model's own code is never run here"
        assert (refused.status_code, refused.json()["code"], refused.json()["message"]) == (400, 3, message)
    await send(platform, key, files)
    only = await validate(platform, key, configOnly="true", skipHfConfigValidation="false", trustRemoteCode="false")
    assert (only.status_code, only.json()) == (200, {"warnings": []})
    assert (await told(platform, key, "GET", f"{MODELS}/mine"))["state"] == "UPLOADING"
    odd = await validate(platform, key, configOnly="yes please")
    assert (odd.status_code, odd.json()["code"], "configOnly" in odd.json()["message"]) == (400, 3, True)
    done = await validate(platform, key, skipHfConfigValidation="true")
    assert done.status_code == 200
    assert done.json()["warnings"] == [
        "skipHfConfigValidation changes nothing: a model is served only if its configuration is right"
    ]
    assert (await told(platform, key, "GET", f"{MODELS}/mine"))["state"] == "READY"


async def refusal_of(platform: Platform, key: str, files: dict[str, bytes]) -> str:
    """Return why files are no model."""
    assert (await create(platform, key)).status_code == 200
    await send(platform, key, files)
    answer = await validate(platform, key)
    assert (answer.status_code, answer.json()["code"]) == (400, 3), answer.text
    kept, message = await told(platform, key, "GET", f"{MODELS}/mine"), str(answer.json()["message"])
    assert (kept["state"], kept["status"]) == ("UPLOADING", {"code": "INVALID_ARGUMENT", "message": message})
    return message


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
    assert (await told(platform, key, "GET", f"{MODELS}/mine"))["status"] == {"code": "OK", "message": ""}


@on_sqlite_only
async def test_tokenizer_that_could_take_all_memory_is_named_among_the_reasons(
    platform: Platform, key: str, folder: Path
) -> None:
    files = files_in(folder)
    doubling = {"type": "Replace", "pattern": {"String": "z"}, "content": "zz"}
    tokenizer = {
        **json.loads(files["tokenizer.json"]),
        "normalizer": {"type": "Sequence", "normalizers": [doubling] * 25},
    }
    config = {**json.loads(files["config.json"]), "hidden_act": "swash"}
    bad = {"tokenizer.json": json.dumps(tokenizer).encode(), "config.json": json.dumps(config).encode()}
    message = await refusal_of(platform, key, {**files, **bad})
    assert "swash" in message
    assert "tokenizer.json: its normalizer can make a text more than 4096 times as long" in message


@on_sqlite_only
async def test_weights_that_do_not_fit_are_named(platform: Platform, key: str, folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    gone = "embeddings.position_embeddings.weight"
    save_file({name: values for name, values in tensors.items() if name != gone}, folder / "model.safetensors")
    assert f"{gone} is missing" in await refusal_of(platform, key, files_in(folder))


async def test_names_of_tensors_that_no_database_stores_are_told_all_the_same(
    platform: Platform, key: str, folder: Path
) -> None:
    header = b'{"\\u0000\\ud800": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}'
    weights = struct.pack("<Q", len(header)) + header + bytes(4)
    message = await refusal_of(platform, key, {**files_in(folder), "model.safetensors": weights})
    assert "it begins with ??" in message


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ({"config.json": "-1"}, "cannot have -1 bytes"),
        ({"model.safetensors": str(2**62)}, "at most 68719476736 bytes"),
        ({"a.safetensors": str(2**35), "b.safetensors": str(2**35 + 1)}, "at most 68719476736 bytes"),
        ({"config.json": "1.5"}, "filenameToSize.config.json"),
        ({}, "filenameToSize is required"),
    ],
)
@on_sqlite_only
async def test_sizes_that_no_model_has_are_refused(
    platform: Platform, key: str, sizes: dict[str, str], said: str
) -> None:
    await create(platform, key)
    answer = await platform.call(key, "POST", f"{MODELS}/mine:getUploadEndpoint", json={"filenameToSize": sizes})
    assert (answer.status_code, said in answer.json()["message"]) == (400, True), answer.text


@on_sqlite_only
async def test_what_a_folder_says_to_run_is_never_run(
    platform: Platform, key: str, folder: Path, tmp_path: Path
) -> None:
    files, mark = files_in(folder), tmp_path / "was-run"
    code = f"import pathlib; pathlib.Path({str(mark)!r}).touch()\n".encode()
    template = "{% for x in ().__class__.__base__.__subclasses__() %}{{ x }}{% endfor %}{{ ''.__class__.__mro__ }}"
    config = {**json.loads(files["config.json"]), "auto_map": {"AutoModel": "modeling_evil.Evil", "AutoConfig": "e.E"}}
    settings = {
        "tokenizer_class": "EvilTokenizer",
        "auto_map": {"AutoTokenizer": ["e.E", None]},
        "chat_template": template,
    }
    hostile = {
        **files,
        "config.json": json.dumps(config).encode(),
        "tokenizer_config.json": json.dumps(settings).encode(),
        "chat_template.jinja": template.encode(),
        "chat_template.json": json.dumps({"chat_template": template * 100}).encode(),
        "modeling_evil.py": code,
        "e.py": code,
        "__init__.py": code,
        "sitecustomize.py": code,
    }
    assert (await create(platform, key)).status_code == 200
    await send(platform, key, hostile)
    answer = await validate(platform, key)
    assert answer.status_code == 200, answer.text
    unread = {warning.partition(" is kept")[0] for warning in answer.json()["warnings"]}
    assert unread == {"modeling_evil.py", "e.py", "__init__.py", "sitecustomize.py"}
    text = "{{ 7 * 7 }}"
    found = (await embed(platform, key, [text])).json()
    model = LoadedModel.open(folder, source=SourceOptions(offline=True))
    np.testing.assert_allclose(found["data"][0]["embedding"], model.encode([text])[0], atol=1e-6)
    assert found["usage"]["prompt_tokens"] == len(model.tokenizer.encode_texts([text])[0].input_ids)
    model.close()
    assert not mark.exists()


def _changed(content: bytes, change: Callable[[dict[str, Any], str, str], None]) -> bytes:
    """Return a safetensors file with what it says of its first two tensors changed."""
    (size,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + size])
    first, second = [name for name in header if name != "__metadata__"][:2]
    change(header, first, second)
    raw = json.dumps(header).encode()
    return struct.pack("<Q", len(raw)) + raw + content[8 + size :]


@on_sqlite_only
async def test_hostile_files_are_refused_and_nothing_is_written_outside(
    platform: Platform, key: str, folder: Path, tmp_path: Path
) -> None:
    files = files_in(folder)
    config = json.loads(files["config.json"])
    weights = files["model.safetensors"]
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(10 << 20))
    modules = json.loads(files["modules.json"])
    modules[1]["path"] = "../../../etc"
    cases = {
        "overlaps": {"model.safetensors": _changed(weights, lambda header, a, b: header.update({b: header[a]}))},
        "needs": {"model.safetensors": _changed(weights, lambda header, a, _: header[a].update(shape=[2**40]))},
        "is truncated: fetch it again": {"model.safetensors": weights[:-100]},
        # What would be tera- or gigabytes if anything here took it apart.
        "it is truncated or not safetensors": {"model.safetensors": gzip.compress(bytes(10 << 20))},
        "or not safetensors: fetch it": {"model.safetensors": zipped.getvalue()},
        "tokenizer.json is not JSON": {"tokenizer.json": gzip.compress(bytes(10 << 20))},
        # As Git stores a symbolic link.
        "sentence_bert_config.json is not JSON": {"sentence_bert_config.json": b"../../../../etc/passwd"},
        "tokenizer_config.json is not JSON": {"tokenizer_config.json": b"[" * 100_000},
        "tokenizer_config.json has 10000 keys": {
            "tokenizer_config.json": json.dumps({f"k{n}": n for n in range(10_000)}).encode()
        },
        "its header claims": {"model.safetensors": struct.pack("<Q", 2**62) + b"{}"},
        "keys, more than": {"config.json": json.dumps({**config, **{f"k{n}": n for n in range(10_000)}}).encode()},
        "a folder inside the model": {"modules.json": json.dumps(modules).encode()},
        "is larger than": {"config.json": b" " * (5 << 20)},
        "depth limit exceeded": {"config.json": b'{"a": ' * 5_000 + b"1" + b"}" * 5_000},
        "config.json is not": {"config.json": b"[" * 100_000},
        "tokenizer.json": {"tokenizer.json": b'{"model": ' * 5_000 + b"1" + b"}" * 5_000},
        "modules.json": {"modules.json": b"[" * 100_000},
        "model.safetensors": {"model.safetensors": pickle.dumps({"weight": [1.0] * 100})},
        "vocab_size": {"config.json": json.dumps({**config, "vocab_size": 2**40}).encode()},
    }
    before = names_in(tmp_path)
    for said, changed in cases.items():
        assert said in await refusal_of(platform, key, {**files, **changed})
        await told(platform, key, "DELETE", f"{MODELS}/mine")
    assert names_in(tmp_path) - before <= {"models", "objects"}
    assert not [name for name in names_in(tmp_path / "models") if "making" in name]
