"""The files of models as folders to read: linked from a local store, fetched from a bucket, and removed when not needed."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest

from embergate.errors import UnavailableError
from embergate.gateway.models.folders import ModelFolders
from embergate.gateway.models.names import content_sha256
from embergate.gateway.models.store import ModelFile
from embergate.storage.objects.local import LocalObjects
from embergate.storage.objects.protocol import Expected

CONTENTS: Final = {
    "config.json": b"{}",
    "1_Pooling/config.json": b"{}",
    "model.safetensors": b"weights",
    "README.md": b"",
}
FILES: Final = {
    name: ModelFile(len(content), hashlib.sha256(content).hexdigest()) for name, content in CONTENTS.items()
}


class FarObjects(LocalObjects):
    """A store whose objects are not on this machine, as a bucket's."""

    async def local_path(self, key: str) -> Path | None:  # noqa: ARG002
        return None


async def pieces(content: bytes) -> AsyncIterator[bytes]:
    yield content


@pytest.fixture(params=[LocalObjects, FarObjects])
async def objects(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[LocalObjects]:
    opened: LocalObjects = request.param(tmp_path / "objects")
    opened.prepare()
    for name, content in CONTENTS.items():
        await opened.write(f"models/acme/1/{name}", pieces(content), expect=Expected())
    yield opened
    await opened.close()


def contents_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


async def test_folder_holds_what_is_read_and_is_made_once(objects: LocalObjects, tmp_path: Path) -> None:
    folders = ModelFolders(tmp_path / "models", objects)
    folder = await folders.folder_of("models/acme/1", FILES)
    assert contents_of(folder) == {name: content for name, content in CONTENTS.items() if name != "README.md"}
    await objects.delete_prefix("models/acme/1")
    assert await folders.folder_of("models/globex/2", FILES) == folder
    assert contents_of(folder)["model.safetensors"] == b"weights"


async def test_files_that_are_not_there_or_are_others_leave_nothing(objects: LocalObjects, tmp_path: Path) -> None:
    folders = ModelFolders(tmp_path / "models", objects)
    with pytest.raises(UnavailableError):
        await folders.folder_of("models/acme/2", FILES)
    if isinstance(objects, FarObjects):
        await objects.write("models/acme/1/model.safetensors", pieces(b"changed"), expect=Expected())
        with pytest.raises(UnavailableError, match="is not the one that was checked"):
            await folders.folder_of("models/acme/1", FILES)
    assert contents_of(tmp_path / "models") == {}


async def test_sweep_leaves_what_is_needed_or_new(objects: LocalObjects, tmp_path: Path) -> None:
    folders = ModelFolders(tmp_path / "models", objects)
    folder = await folders.folder_of("models/acme/1", FILES)
    assert await folders.sweep({content_sha256(FILES)}, -1.0) == 0
    assert await folders.sweep(set(), 60.0) == 0
    assert await folders.sweep(set(), -1.0) == 1
    assert contents_of(folder) == {}
