"""A model of an account's own through a real server process, and again after it was restarted."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import httpx2
import numpy as np

from embergate.engine.loaded_model import LoadedModel
from embergate.engine.loading.loader import SourceOptions
from tests.e2e.server import Server
from tests.random_models import cases_of, write_model

MODELS = "/v1/accounts/default/models"
NAME = "accounts/default/models/mine"
TEXTS = ["a quick brown fox", "a lazy dog"]
# From READY to the first vectors, and from a restart.
SOON_S = 5.0


def upload(client: httpx2.Client, folder: Path) -> None:
    files = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    body = {"modelId": "mine", "model": {"kind": "EMBEDDING_MODEL"}}
    assert client.post(MODELS, json=body).status_code == 200
    sizes = {"filenameToSize": {name: path.stat().st_size for name, path in files.items()}}
    urls = client.post(f"{MODELS}/mine:getUploadEndpoint", json=sizes).json()["filenameToSignedUrls"]
    for name, path in files.items():
        assert client.put(urls[name], content=path.read_bytes()).status_code == 200
    checked = client.get(f"{MODELS}/mine:validateUpload")
    assert checked.status_code == 200, checked.text


def embed(client: httpx2.Client) -> np.ndarray[Any, Any]:
    started_at_s = time.monotonic()
    answer = client.post("/inference/v1/embeddings", json={"model": NAME, "input": TEXTS})
    assert answer.status_code == 200, answer.text
    assert time.monotonic() - started_at_s < SOON_S
    return np.array([one["embedding"] for one in answer.json()["data"]], np.float32)


def refs(client: httpx2.Client) -> list[str]:
    return [ref["state"] for ref in client.get(f"{MODELS}/mine").json()["deployedModelRefs"]]


def test_uploaded_model_is_served_at_once_and_after_a_restart(tmp_path: Path, tiny_model: str) -> None:
    folder = tmp_path / "published"
    write_model(cases_of("bert")[0], folder, 7)
    model = LoadedModel.open(folder, source=SourceOptions(offline=True))
    expected = model.encode(TEXTS)
    model.close()
    data_dir = tmp_path / "data"
    with Server(data_dir, models=tiny_model, self_check="false") as server, server.ready().client() as client:
        upload(client, folder)
        np.testing.assert_allclose(embed(client), expected, atol=1e-6)
        assert refs(client) == ["DEPLOYED"]
        assert server.metric('embergate_tokens_total{model="uploaded"}') > 0
        assert "mine" not in client.get("/metrics").text
    settings = {"self_check": "false", "model_idle_s": "1"}
    with Server(data_dir, models=tiny_model, **settings) as server, server.ready().client() as client:
        assert refs(client) == []
        np.testing.assert_allclose(embed(client), expected, atol=1e-6)
        deadline = time.monotonic() + 30
        while refs(client):
            assert time.monotonic() < deadline
            time.sleep(0.2)
        np.testing.assert_allclose(embed(client), expected, atol=1e-6)
