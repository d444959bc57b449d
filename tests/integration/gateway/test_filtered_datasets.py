"""Copies of datasets with the rows that a filter lets through, on both databases."""

from __future__ import annotations

import json
from typing import Any

import pytest

from embergate.gateway.datasets import filtered
from tests.integration.gateway.batches import ACCOUNT, files_of, lines, told, upload
from tests.integration.gateway.platform import Platform, on_sqlite_only

DATASETS = f"{ACCOUNT}/datasets"
ROWS = [
    {"custom_id": "a", "lang": "en", "body": {"input": "one", "dimensions": 256}},
    {"custom_id": "b", "lang": "de", "body": {"input": "zwei"}},
    {"custom_id": "c", "body": {"input": "three", "dimensions": 256}},
    {"custom_id": "d", "lang": "en", "body": {"input": "four", "dimensions": 128}},
]


@pytest.fixture
async def key(platform: Platform) -> str:
    key = await platform.add_account("acme")
    await upload(platform, key, b"\xef\xbb\xbf" + lines(ROWS) + b"\n\n")
    return key


def body(filter_: str, source: str = "rows", dataset_id: str = "copy", **dataset: Any) -> dict[str, Any]:
    return {"datasetId": dataset_id, "dataset": dataset, "sourceDatasetId": source, "filter": filter_}


async def ids_in(platform: Platform, key: str, dataset_id: str) -> list[str]:
    ((name, content),) = (await files_of(platform, key, dataset_id)).items()
    assert name == f"dataset/{dataset_id}/data.jsonl"
    return [json.loads(line)["custom_id"] for line in content.splitlines()]


async def test_copy_has_the_rows_that_pass_and_the_source_stays(platform: Platform, key: str) -> None:
    before = await told(platform, key, "GET", f"{DATASETS}/rows")
    chosen = 'lang = "en" AND body.dimensions >= 200'
    made = await told(platform, key, "POST", DATASETS, json=body(chosen, displayName="English"))
    assert (made["state"], made["exampleCount"], made["displayName"]) == ("READY", "1", "English")
    origin = {"sourceDatasetId": "rows", "filter": chosen, "originalFormat": "FORMAT_UNSPECIFIED"}
    assert (made["transformed"], made["userUploaded"]) == (origin, None)
    assert await told(platform, key, "GET", f"{DATASETS}/copy") == made
    assert await ids_in(platform, key, "copy") == ["a"]
    assert await told(platform, key, "GET", f"{DATASETS}/rows") == before


CHOSEN = [
    ("missing = 1", []),
    ("", ["a", "b", "c", "d"]),
    ("NOT lang:*", ["c"]),
    ("lang != en", ["b"]),
    ("custom_id = a OR zwei", ["a", "b"]),
]


@on_sqlite_only
@pytest.mark.parametrize(("chosen", "ids"), CHOSEN, ids=[chosen or "everything" for chosen, _ in CHOSEN])
async def test_rows_are_chosen_in_their_order(platform: Platform, key: str, chosen: str, ids: list[str]) -> None:
    made = await told(
        platform, key, "POST", DATASETS, json=body(chosen, f"{ACCOUNT}/datasets/rows".removeprefix("/v1/"))
    )
    assert (made["state"], made["exampleCount"]) == ("READY", str(len(ids)))
    assert await ids_in(platform, key, "copy") == ids


WRONG: list[tuple[str, dict[str, Any], int, int, str]] = [
    ("filter", body("lang = "), 400, 3, "filter, column 8: a value after = is missing"),
    ("SQL", body("lang = en and year = 1"), 400, 3, "filter, column 11: write AND for and"),
    ("no source", body("lang = en", ""), 400, 3, "sourceDatasetId is required where there is a filter"),
    ("unknown source", body("lang = en", "none"), 404, 5, "resource not found"),
    ("foreign source", body("lang = en", "accounts/beta/datasets/rows"), 403, 7, "must be in the account acme"),
    (
        "another kind",
        body("lang = en", "accounts/acme/models/rows"),
        400,
        3,
        "is not of the form accounts/{account}/datasets",
    ),
    ("origin", body("lang = en", userUploaded={}), 400, 3, "user_uploaded: leave it out"),
    ("taken", body("lang = en", dataset_id="rows"), 409, 6, "there is a dataset 'rows' already"),
    ("no dataset", {"datasetId": "copy", "sourceDatasetId": "rows"}, 400, 3, "dataset is required"),
]


@on_sqlite_only
@pytest.mark.parametrize(
    ("request_", "status", "code", "message"), [case[1:] for case in WRONG], ids=[case[0] for case in WRONG]
)
async def test_copy_that_cannot_be_leaves_nothing(
    platform: Platform, key: str, request_: dict[str, Any], status: int, code: int, message: str
) -> None:
    answer = await platform.call(key, "POST", DATASETS, json=request_)
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert message in answer.json()["message"]
    assert len([one async for one in platform.gateway.objects.list("datasets")]) == 1


@on_sqlite_only
async def test_source_must_be_ready_and_of_a_size_that_is_read_within_a_call(
    platform: Platform, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty = {"datasetId": "empty", "dataset": {"userUploaded": {}, "exampleCount": "1"}}
    await told(platform, key, "POST", DATASETS, json=empty)
    waiting = await platform.call(key, "POST", DATASETS, json=body("lang = en", "empty"))
    assert (waiting.status_code, waiting.json()["code"]) == (400, 9)
    monkeypatch.setattr(filtered, "MAX_SOURCE_BYTES", 10)
    large = await platform.call(key, "POST", DATASETS, json=body("lang = en"))
    assert (large.status_code, large.json()["code"]) == (400, 9)
    assert "split it and filter the parts" in large.json()["message"]
