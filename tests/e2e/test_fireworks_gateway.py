"""The fireworks-ai 1.x client, unmodified, against the gateway of a real server."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.e2e.server import Server
from tests.random_models import cases_of, write_model

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".clients-gateway" / "bin" / "python"


@pytest.fixture(scope="module")
def heard(server: Server, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the client makes of our answers."""
    assert PYTHON.exists(), "run `make clients` first"
    folder = tmp_path_factory.mktemp("models") / "published"
    write_model(cases_of("bert")[0], folder, 0)
    script = ROOT / "tests" / "e2e" / "fireworks_gateway_script.py"
    command = [str(PYTHON), str(script), server.base, server.key, server.model(), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_users_are_created_read_updated_and_paged_through(heard: dict[str, Any]) -> None:
    assert heard["users"] == [f"accounts/default/users/sdk-{number}" for number in range(6, -1, -1)]
    assert heard["read"] == heard["created"]
    assert heard["masked"] == {"name": "accounts/default/users/sdk-0", "role": "user"}
    assert heard["updated"]["role"] == "contributor"
    assert heard["updated"]["displayName"] == "1"


def test_key_is_shown_once_and_works(heard: dict[str, Any]) -> None:
    assert heard["key"]["key"].startswith("eg_")
    listed = heard["keys"][0]
    assert (listed["keyId"], listed["key"], listed["annotations"]) == (heard["key"]["keyId"], "", {"team": "search"})
    assert heard["their accounts"] == [heard["account"]["name"]] == ["accounts/default"]
    assert heard["errors"]["deleted key"].startswith("AuthenticationError 401")


def test_keys_are_paged_through_each_once_in_the_order_they_were_made(heard: dict[str, Any]) -> None:
    assert [key["keyId"] for key in heard["keys"]] == heard["key ids"]
    assert len(set(heard["key ids"])) == 3
    first = heard["first page of keys"]
    assert [key["keyId"] for key in first["apiKeys"]] == heard["key ids"][:2]
    assert first["totalSize"] == 3
    assert first["nextPageToken"]


def test_secret_is_kept_and_not_shown(heard: dict[str, Any]) -> None:
    assert heard["secrets"] == ["accounts/default/secrets/s3"]
    assert "do-not-show-this" not in json.dumps(heard)


def test_what_the_client_has_no_method_for_is_read_raw(heard: dict[str, Any]) -> None:
    methods = {entry["method"] for entry in heard["audit"]["auditLogs"]}
    assert {"/gateway.Gateway/CreateUser", "/gateway.Gateway/CreateApiKey"} <= methods
    assert heard["policy"]["name"] == "accounts/default/policySettings"
    assert heard["redemptions"] == {"creditRedemptions": [], "nextPageToken": "", "totalSize": 0}


def test_errors_map_to_the_clients_classes(heard: dict[str, Any]) -> None:
    errors = heard["errors"]
    assert errors["taken"].startswith("ConflictError 409: {'code': 6")
    assert errors["no user"].startswith("NotFoundError 404: {'code': 5")
    assert errors["bad filter"].startswith("BadRequestError 400: {'code': 3")
    assert errors["foreign"].startswith("PermissionDeniedError 403: {'code': 7")
    assert errors["not theirs"].startswith("PermissionDeniedError 403: {'code': 7")
    assert errors["no code"].startswith("NotFoundError 404: {'code': 5")


def test_datasets_are_filled_in_both_ways_and_read_back(heard: dict[str, Any]) -> None:
    datasets = heard["datasets"]
    assert (datasets["created"]["state"], datasets["created"]["exampleCount"]) == ("UPLOADING", "2")
    assert (datasets["sent"]["filename"], datasets["sent"]["object"]) == ("rows.jsonl", "file")
    assert [(one["name"], one["state"]) for one in datasets["listed"]] == [
        (f"accounts/default/datasets/{dataset_id}", "READY") for dataset_id in ("by-form", "by-url")
    ]
    assert list(datasets["contents"]) == ["dataset/by-form/rows.jsonl", "dataset/by-url/rows.jsonl"]
    assert {len(content.splitlines()) for content in datasets["contents"].values()} == {2}
    assert datasets["taken"].startswith("ConflictError 409")
    assert "example_count is required for uploaded datasets" in datasets["uncounted"]
    assert datasets["left"] == ["accounts/default/datasets/by-url"]


def test_batch_is_answered_as_single_requests_are(heard: dict[str, Any]) -> None:
    batch = heard["batch"]
    assert (batch["made"]["state"], batch["made"]["displayName"]) == ("JOB_STATE_VALIDATING", "from the sdk")
    ended = batch["ended"]
    assert (ended["state"], ended["jobProgress"]["outputRows"]) == ("JOB_STATE_COMPLETED", 2)
    assert ended["jobProgress"]["tokensPerSecond"] > 0
    assert batch["listed"] == ["accounts/default/batchInferenceJobs/sdk"]
    assert batch["files"].pop("dataset/answers/error-data") == ""
    (answers,) = batch["files"].values()
    rows = [json.loads(line) for line in answers.splitlines()]
    assert [row["custom_id"] for row in rows] == ["a", "b"]
    for row, single in zip(rows, batch["single"], strict=True):
        got, expected = row["response"]["data"][0].pop("embedding"), single["data"][0].pop("embedding")
        np.testing.assert_allclose(got, expected, atol=1e-5)
        assert row["response"] == single


def test_batch_that_is_deleted_leaves_its_output(heard: dict[str, Any]) -> None:
    batch = heard["batch"]
    assert batch["deleted"].startswith("NotFoundError 404: {'code': 5")
    assert batch["output"] == "accounts/default/batchInferenceJobs/sdk"
    assert batch["taken"].startswith("ConflictError 409: {'code': 6")
    assert batch["no model"].startswith("NotFoundError 404: {'code': 5")


def test_models_are_uploaded_checked_prepared_used_and_deleted(heard: dict[str, Any]) -> None:
    models = heard["models"]
    assert (models["created"]["state"], models["created"]["kind"]) == ("UPLOADING", "EMBEDDING_MODEL")
    assert models["early"].startswith("BadRequestError 400: {'code': 9")
    assert (models["warnings"], models["prepared"], models["dimensions"]) == ([], {}, 48)
    assert models["listed"] == ["accounts/default/models/mine"]
    assert models["catalogue"] == ["accounts/fireworks/models/all-minilm-l6-v2"]
    read = models["read"]
    assert (read["state"], read["description"], read["status"]["code"]) == ("READY", "by the sdk", "OK")
    assert [one["precision"] for one in read["precisions"]] == ["BF16"]
    assert (models["updated"]["displayName"], models["updated"]["public"]) == ("Yours", True)
    assert len(models["contents are the same"]) == len(read["baseModelDetails"]["huggingfaceFiles"])
    assert all(models["contents are the same"].values())
    assert "FP8 is not offered here" in models["not offered"]
    assert models["taken"].startswith("ConflictError 409")
    assert models["no kind"].startswith("BadRequestError 400: {'code': 3")
    assert models["deleted"] == {}
    assert models["gone"].startswith("NotFoundError 404")
