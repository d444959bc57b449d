"""Precisions of uploaded models: measured, published, asked for by name, and refused where they stray from f32."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from sqlalchemy import select

from embergate.clock import now
from embergate.engine.loaded_model import LoadedModel
from embergate.engine.loading.loader import SourceOptions
from embergate.engine.loading.spec import Precision
from embergate.engine.registry import ServedModel
from embergate.storage.tables.usage import UsageDimensionsRow
from embergate.web.caller import Role
from tests.integration.gateway.platform import Platform, on_sqlite_only
from tests.integration.gateway.uploading import MODELS, create, embed, model_folder, told, upload
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


async def prepare(platform: Platform, key: str, model_id: str = "mine", **body: str) -> Any:
    return await platform.call(key, "POST", f"{MODELS}/{model_id}:prepare", json=body)


def vectors_of(folder: Path, precision: Precision) -> np.ndarray[Any, Any]:
    model = LoadedModel.open(folder, precision=precision, source=SourceOptions(offline=True))
    vectors = model.encode(TEXTS)
    model.close()
    return vectors


async def test_prepared_precision_is_measured_published_and_served_under_its_name(
    platform: Platform, key: str, folder: Path
) -> None:
    await upload(platform, key, folder)
    early = await embed(platform, key, TEXTS, f"{NAME}:int8")
    assert (early.status_code, early.json()["error"]["code"]) == (400, "FAILED_PRECONDITION")
    assert "not prepared in int8" in early.json()["error"]["message"]
    answer = await prepare(platform, key, precision="INT8", readMask="name")
    assert (answer.status_code, answer.json()) == (200, {})
    (told_of,) = (await told(platform, key, "GET", f"{MODELS}/mine"))["precisions"]
    assert (told_of["precision"], told_of["state"]) == ("INT8", "READY")
    assert 0.98 <= told_of["minCosine"] <= told_of["meanCosine"] <= 1.0001
    assert min(told_of["tokensPerSecond"], told_of["f32TokensPerSecond"], int(told_of["weightsBytes"])) > 0
    for name in (f"{NAME}:int8", f"{NAME}:int8#mine", f"{NAME}:int8@{told_of['fingerprint']}"):
        served = await embed(platform, key, TEXTS, name)
        assert served.headers["x-embergate-fingerprint"] == told_of["fingerprint"]
    async with platform.database.reading() as db:
        assert set(await db.scalars(select(UsageDimensionsRow.model))) == {NAME}
    got = np.array([one["embedding"] for one in served.json()["data"]], np.float32)
    np.testing.assert_allclose(got, vectors_of(folder, Precision.INT8), atol=1e-5)
    own = (await embed(platform, key, TEXTS)).headers["x-embergate-fingerprint"]
    assert own != told_of["fingerprint"]
    assert (await embed(platform, key, TEXTS, f"{NAME}:int8@{own}")).status_code == 404
    assert (await told(platform, key, "GET", f"/v1/models/{NAME}:int8"))["precision"] == "int8"


@on_sqlite_only
async def test_each_precision_is_told_of_once_and_outlives_changes_of_the_model(
    platform: Platform, key: str, folder: Path
) -> None:
    await upload(platform, key, folder)
    for precision in ("BF16", "F32", "BF16"):
        assert (await prepare(platform, key, precision=precision)).status_code == 200
    await told(platform, key, "PATCH", f"{MODELS}/mine", json={"displayName": "New", "precisions": []})
    found = (await told(platform, key, "GET", f"{MODELS}/mine"))["precisions"]
    assert [one["precision"] for one in found] == ["F32", "BF16"]
    assert found[0]["minCosine"] == pytest.approx(1.0, abs=1e-5)
    (entry, *_) = [one for one in await platform.trail(key, "acme") if one["method"].endswith("PrepareModel")]
    assert entry["resource"] == NAME


@on_sqlite_only
async def test_precision_that_is_left_out_is_the_servers_own(platform: Platform, key: str, folder: Path) -> None:
    await upload(platform, key, folder)
    assert (await prepare(platform, key)).status_code == 200
    (own,) = (await told(platform, key, "GET", f"{MODELS}/mine"))["precisions"]
    assert (await embed(platform, key, TEXTS)).headers["x-embergate-fingerprint"] == own["fingerprint"]


def make_int8_useless(folder: Path) -> None:
    """Make one state of each token small and its weights large: they take all the steps that 8 bits have."""
    tensors = {name: values.copy() for name, values in load_file(folder / "model.safetensors").items()}
    for name, values in tensors.items():
        if "LayerNorm" in name:
            values[3] *= 1e-4
        if name.endswith(("query.weight", "key.weight", "value.weight", "intermediate.dense.weight")):
            values[:, 3] *= 1e4
    save_file(tensors, folder / "model.safetensors")


@on_sqlite_only
async def test_precision_that_strays_is_refused_with_the_figures_and_not_served(
    platform: Platform, key: str, folder: Path
) -> None:
    make_int8_useless(folder)
    await upload(platform, key, folder)
    answer = await prepare(platform, key, precision="INT8")
    assert (answer.status_code, answer.json()["code"]) == (400, 9)
    assert answer.json()["message"].startswith("mine in int8 has cosine ")
    (refused,) = (await told(platform, key, "GET", f"{MODELS}/mine"))["precisions"]
    assert (refused["state"], refused["fingerprint"]) == ("REFUSED", "")
    assert refused["minCosine"] < 0.98
    assert (await embed(platform, key, TEXTS, f"{NAME}:int8")).status_code == 400


@on_sqlite_only
async def test_what_cannot_be_prepared_is_told_why(platform: Platform, key: str, folder: Path, tmp_path: Path) -> None:
    await upload(platform, key, folder)
    wrong = (await prepare(platform, key, precision="FP8")).json()
    assert (wrong["code"], wrong["message"]) == (
        3,
        "precision: FP8 is not offered here; this server has BF16, INT8, F32",
    )
    assert (await prepare(platform, key, precision="BEST")).json()["code"] == 3
    assert (await prepare(platform, key, "none", precision="INT8")).status_code == 404
    await create(platform, key, "empty")
    assert "is UPLOADING" in (await prepare(platform, key, "empty", precision="INT8")).json()["message"]
    await upload(platform, key, model_folder(tmp_path / "table", case=cases_of("model2vec")[0]), "table")
    table = (await prepare(platform, key, "table", precision="INT8")).json()
    assert (table["code"], "served in f32 alone" in table["message"]) == (9, True)
    platform.deps.registry.add(ServedModel("acme", "house", fake_model(tmp_path / "house"), now()))
    assert "EMBERGATE_MODELS" in (await prepare(platform, key, "house", precision="INT8")).json()["message"]
    stranger, bot = await platform.add_account("globex"), await platform.add_user("acme", "bot", Role.INFERENCE_USER)
    for other in (stranger, bot):
        assert (await prepare(platform, other, precision="INT8")).status_code == 403
