"""The files of models as folders to read: linked from a local store, fetched from a bucket, and removed when not needed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Final

import pytest

from embergate.errors import UnavailableError
from embergate.gateway.models.folders import ModelFolders
from embergate.gateway.models.names import content_sha256
from embergate.gateway.models.store import ModelFile
from embergate.storage.objects.local import LocalObjects
from embergate.storage.objects.protocol import Expected
from embergate.storage.objects.resumable import Upload
from tests.integration.gateway.uploading import names_in

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


def needing(*contents: str) -> Callable[[], Awaitable[set[str]]]:
    async def needed() -> set[str]:
        return set(contents)

    return needed


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
    assert contents_of(tmp_path / "models") == {}
    await objects.write("models/acme/1/model.safetensors", pieces(b"changed"), expect=Expected())
    with pytest.raises(UnavailableError, match="is not the one that was checked"):
        await folders.folder_of("models/acme/1", FILES)
    assert not (folders.directory / content_sha256(FILES)).exists()


async def test_sweep_leaves_what_is_needed_or_new(objects: LocalObjects, tmp_path: Path) -> None:
    folders = ModelFolders(tmp_path / "models", objects)
    await folders.folder_of("models/acme/1", FILES)
    assert await folders.sweep(needing(content_sha256(FILES)), -1.0) == 0
    assert await folders.sweep(needing(), 60.0) == 0
    assert await folders.sweep(needing(), -1.0) == 1
    assert contents_of(folders.directory) == {}


async def test_folder_that_is_needed_again_while_it_is_swept_is_whole(objects: LocalObjects, tmp_path: Path) -> None:
    folders = ModelFolders(tmp_path / "models", objects)
    folder = await folders.folder_of("models/acme/1", FILES)
    num_asked = 0

    async def needed() -> set[str]:
        nonlocal num_asked
        num_asked += 1
        return {content_sha256(FILES)} if num_asked > 1 else set()

    assert await folders.sweep(needed, -1.0) == 0
    assert num_asked == 2
    assert contents_of(folder)["model.safetensors"] == b"weights"
    assert names_in(folders.directory) == {content_sha256(FILES)}


async def test_what_is_left_of_a_sweep_that_was_killed_is_no_model_and_is_swept(
    objects: LocalObjects, tmp_path: Path
) -> None:
    folders = ModelFolders(tmp_path / "models", objects)
    folder = await folders.folder_of("models/acme/1", FILES)

    async def killed() -> set[str]:
        if not folder.exists():
            raise UnavailableError("killed")
        return set()

    with pytest.raises(UnavailableError):
        await folders.sweep(killed, -1.0)
    (left,) = names_in(folders.directory)
    assert left.startswith(".gone-")
    assert await folders.folder_of("models/acme/1", FILES) == folder
    assert contents_of(folder)["model.safetensors"] == b"weights"
    assert await folders.sweep(needing(content_sha256(FILES)), -1.0) == 1
    assert names_in(folders.directory) == {content_sha256(FILES)}


async def test_folder_that_is_asked_for_is_not_swept_for_now(objects: LocalObjects, tmp_path: Path) -> None:
    folders = ModelFolders(tmp_path / "models", objects)
    home = (await folders.folder_of("models/acme/1", FILES)).parent
    os.utime(home, (0, 0))
    await folders.folder_of("models/acme/1", FILES)
    assert await folders.sweep(needing(), 60.0) == 0
    os.utime(home, (0, 0))
    assert await folders.sweep(needing(), 60.0) == 1


async def test_files_and_folders_are_on_the_disk_before_they_have_a_name(
    objects: LocalObjects, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: set[str] = set()

    def fsync(handle: int) -> None:
        path = Path(f"/proc/self/fd/{handle}").readlink()
        home = tmp_path / "models" / content_sha256(FILES)
        synced.add(f"{path.name} {'after' if home.exists() else 'before'}")

    monkeypatch.setattr(os, "fsync", fsync)
    await ModelFolders(tmp_path / "models", objects).folder_of("models/acme/1", FILES)
    assert {"model before", "1_Pooling before", "models after"} <= synced
    if isinstance(objects, FarObjects):  # what is linked was on the disk when it became an object
        assert {"config.json before", "model.safetensors before"} <= synced


async def test_object_that_is_written_anew_leaves_the_folder_as_it_was(objects: LocalObjects, tmp_path: Path) -> None:
    folder = await ModelFolders(tmp_path / "models", objects).folder_of("models/acme/1", FILES)
    key = "models/acme/1/model.safetensors"
    await objects.write(key, pieces(b"changed"), expect=Expected())
    upload = Upload(key, 7, "again")
    await objects.uploads.append(upload, 0, pieces(b"CHANGED"))
    await objects.write("models/acme/other", pieces(b"another"), expect=Expected())
    await objects.move("models/acme/other", key)
    assert contents_of(folder)["model.safetensors"] == b"weights"


async def test_link_in_the_store_leads_into_no_folder(tmp_path: Path, objects: LocalObjects) -> None:
    (tmp_path / "secret").write_bytes(b"weights")
    path = tmp_path / "objects" / "models" / "acme" / "1" / "model.safetensors"
    path.unlink()
    path.symlink_to(tmp_path / "secret")
    with pytest.raises(UnavailableError):
        await ModelFolders(tmp_path / "models", objects).folder_of("models/acme/1", FILES)
    assert contents_of(tmp_path / "models") == {}
