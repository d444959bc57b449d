"""Rerankers that accounts upload: checked by the code that serves them, and asked under their names."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embergate.engine.loaded_model import LoadedModel
from embergate.engine.loading.loader import SourceOptions
from tests.integration.gateway.platform import Platform, on_sqlite_only
from tests.integration.gateway.uploading import (
    create,
    embed,
    files_in,
    model_folder,
    rerank,
    send,
    told,
    upload,
    validate,
)
from tests.random_models import JUDGES, RERANKERS, Case, cases_of

NAME = "accounts/acme/models/mine"
DOCUMENTS = ["the fox", "a lazy dog", "winter and summer"]
RERANKER = "HF_BASE_MODEL"


@pytest.fixture
async def key(platform: Platform) -> str:
    return await platform.add_account("acme")


@pytest.mark.parametrize("case", [RERANKERS[0], JUDGES[0]], ids=lambda case: case.name)
async def test_uploaded_reranker_answers_under_its_name(
    platform: Platform, key: str, tmp_path: Path, case: Case
) -> None:
    folder = model_folder(tmp_path / "model", case=case)
    await upload(platform, key, folder, kind=RERANKER)
    made = await told(platform, key, "GET", f"/v1/{NAME}")
    assert (made["state"], made["kind"], made["contextLength"]) == ("READY", RERANKER, case.model_max_length)
    answer = await rerank(platform, key, DOCUMENTS)
    assert answer.status_code == 200, answer.text
    model = LoadedModel.open(folder, source=SourceOptions(offline=True))
    scores = model.score("the fox", DOCUMENTS)
    model.close()
    assert [item["index"] for item in answer.json()["data"]] == np.argsort(-scores).tolist()
    shown = (await told(platform, key, "GET", f"/v1/models/{NAME}"))["kind"]
    assert shown == "RERANKER"


@on_sqlite_only
@pytest.mark.parametrize(
    ("case", "kind", "said"),
    [
        (RERANKERS[0], "EMBEDDING_MODEL", "the files are a reranker's, and the model was created as EMBEDDING_MODEL"),
        (
            cases_of("bert")[0],
            RERANKER,
            "the files are an embedding model's, and the model was created as HF_BASE_MODEL",
        ),
        (replace(JUDGES[0], chat_template=""), RERANKER, "does not say how token states become one vector"),
    ],
    ids=["reranker", "embedder", "undecided"],
)
async def test_files_of_another_kind_than_was_said_are_refused(
    platform: Platform, key: str, tmp_path: Path, case: Case, kind: str, said: str
) -> None:
    assert (await create(platform, key, kind=kind)).status_code == 200
    await send(platform, key, files_in(model_folder(tmp_path / "model", case=case)))
    answer = await validate(platform, key)
    assert answer.status_code == 400
    assert said in answer.json()["message"]


@on_sqlite_only
async def test_reranker_embeds_nothing_and_an_embedding_model_reranks_nothing(
    platform: Platform, key: str, tmp_path: Path
) -> None:
    await upload(platform, key, model_folder(tmp_path / "reranker", case=RERANKERS[0]), kind=RERANKER)
    await upload(platform, key, model_folder(tmp_path / "embedder"), "other")
    answers: list[tuple[Any, str]] = [
        (await embed(platform, key, ["a"]), "embedding is not supported"),
        (await rerank(platform, key, ["a"], "accounts/acme/models/other"), "reranking is not supported"),
    ]
    for answer, said in answers:
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "model")
        assert said in answer.json()["error"]["message"]


@on_sqlite_only
async def test_other_account_may_rerank_with_a_public_one_alone(platform: Platform, key: str, tmp_path: Path) -> None:
    await upload(platform, key, model_folder(tmp_path / "model", case=RERANKERS[0]), kind=RERANKER)
    stranger = await platform.add_account("other")
    assert (await rerank(platform, stranger, DOCUMENTS, NAME)).status_code == 403
    patch = await platform.call(key, "PATCH", f"/v1/{NAME}", json={"public": True}, params={"updateMask": "public"})
    assert patch.status_code == 200, patch.text
    assert (await rerank(platform, stranger, DOCUMENTS, NAME)).status_code == 200


@on_sqlite_only
async def test_kind_that_is_neither_is_refused_with_both(platform: Platform, key: str) -> None:
    answer = await create(platform, key, kind="CUSTOM_MODEL")
    assert answer.status_code == 400
    assert "EMBEDDING_MODEL, or as HF_BASE_MODEL if it is a reranker" in answer.json()["message"]


@on_sqlite_only
async def test_reranker_is_prepared_in_other_precisions_by_its_scores(
    platform: Platform, key: str, tmp_path: Path
) -> None:
    await upload(platform, key, model_folder(tmp_path / "model", case=RERANKERS[0]), kind=RERANKER)
    await told(platform, key, "POST", f"/v1/{NAME}:prepare", json={"precision": "INT8"})
    made = await told(platform, key, "GET", f"/v1/{NAME}")
    (prepared,) = made["precisions"]
    assert (prepared["precision"], prepared["state"], made["embeddingDetails"]) == ("INT8", "READY", None)
    assert 0 <= prepared["maxScoreDifference"] <= 0.15
    answer = await rerank(platform, key, DOCUMENTS, f"{NAME}:int8")
    assert answer.status_code == 200, answer.text
    listed = (await told(platform, key, "GET", "/inference/v1/models"))["data"]
    assert [(model["kind"], model["precisions"]) for model in listed] == [("RERANKER", ["int8"])]
