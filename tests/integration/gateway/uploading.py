"""Random models, and their way to a server by signed URLs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx2

from tests.integration.gateway.platform import Platform
from tests.random_models import Case, cases_of, write_model

MODELS = "/v1/accounts/acme/models"


def model_folder(folder: Path, seed: int = 0, case: Case | None = None) -> Path:
    """Write a random model, a BERT by default."""
    write_model(case or cases_of("bert")[0], folder, seed)
    return folder


def files_in(folder: Path) -> dict[str, bytes]:
    """Return the content of each file by its name below the folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def names_in(folder: Path) -> set[str]:
    """Return what is directly in a folder."""
    return {path.name for path in folder.iterdir()}


async def told(platform: Platform, key: str, method: str, path: str, **options: Any) -> Any:
    """Return what a call answers, which must succeed."""
    answer = await platform.call(key, method, path, **options)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def create(platform: Platform, key: str, model_id: str = "mine", **model: Any) -> httpx2.Response:
    """Create a model without files."""
    body = {"modelId": model_id, "model": {"kind": "EMBEDDING_MODEL", **model}}
    return await platform.call(key, "POST", MODELS, json=body)


async def send(platform: Platform, key: str, files: Mapping[str, bytes], model_id: str = "mine") -> None:
    """Upload files by signed URLs."""
    body = {"filenameToSize": {name: str(len(content)) for name, content in files.items()}}
    answer = await platform.call(key, "POST", f"{MODELS}/{model_id}:getUploadEndpoint", json=body)
    assert answer.status_code == 200, answer.text
    urls = answer.json()["filenameToSignedUrls"]
    async with platform.client() as client:
        for name, content in files.items():
            assert (await client.put(urls[name], content=content)).status_code == 200


async def validate(platform: Platform, key: str, model_id: str = "mine", **query: str) -> httpx2.Response:
    """Have the files checked."""
    return await platform.call(key, "GET", f"{MODELS}/{model_id}:validateUpload", params=query)


async def upload(platform: Platform, key: str, folder: Path, model_id: str = "mine", **model: Any) -> None:
    """Create a model, upload a folder and have it checked."""
    assert (await create(platform, key, model_id, **model)).status_code == 200
    await send(platform, key, files_in(folder), model_id)
    answer = await validate(platform, key, model_id)
    assert answer.status_code == 200, answer.text


async def rerank(
    platform: Platform, key: str, documents: list[str], model: str = "accounts/acme/models/mine", **body: Any
) -> httpx2.Response:
    """Ask for scores."""
    values = {"model": model, "query": "the fox", "documents": documents, **body}
    return await platform.call(key, "POST", "/inference/v1/rerank", json=values)


async def embed(
    platform: Platform, key: str, texts: list[str], model: str = "accounts/acme/models/mine", **body: Any
) -> httpx2.Response:
    """Ask for vectors."""
    return await platform.call(key, "POST", "/inference/v1/embeddings", json={"model": model, "input": texts, **body})
