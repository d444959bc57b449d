"""Files that arrive while a model is being checked: what was checked is what is served, to its account and to others."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Final

import numpy as np
import pytest

from embergate.app.objects import FileOptions
from embergate.gateway.files.doomed import delete_doomed
from embergate.gateway.models.names import content_sha256
from embergate.gateway.models.store import ModelFile
from embergate.storage.database import Database
from embergate.storage.objects.local import LocalObjects
from tests.integration.gateway.platform import Platform, on_sqlite_only
from tests.integration.gateway.uploading import MODELS, create, embed, files_in, model_folder, send, told, validate

WEIGHTS: Final = "model.safetensors"
TEXTS: Final = ["a quick brown fox", "a lazy dog"]
GLOBEX: Final = "accounts/globex/models/mine"


class SlowObjects(LocalObjects):
    """A store in which something happens just before a model's weights are taken for use, be it once."""

    meanwhile: Callable[[], Awaitable[object]] | None = None

    async def local_path(self, key: str) -> Path | None:
        await self._happen(key)
        return await super().local_path(key)

    async def _happen(self, key: str) -> None:
        if self.meanwhile is not None and key.startswith("models/") and key.endswith(WEIGHTS):
            meanwhile, self.meanwhile = self.meanwhile, None
            await meanwhile()


class FarSlowObjects(SlowObjects):
    """The same of a store that is on another machine."""

    async def local_path(self, key: str) -> Path | None:
        await self._happen(key)
        return None

    async def read(
        self, key: str, start: int = 0, length: int | None = None, *, etag: str | None = None
    ) -> AsyncGenerator[bytes, None]:
        async for chunk in super().read(key, start, length, etag=etag):
            yield chunk


@pytest.fixture(params=[SlowObjects, FarSlowObjects])
async def objects(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[SlowObjects]:
    opened: SlowObjects = request.param(tmp_path / "slow")
    opened.prepare()
    yield opened
    await opened.close()


@pytest.fixture
async def platform(database: Database, objects: SlowObjects, tmp_path: Path) -> AsyncIterator[Platform]:
    made = Platform(database, files=FileOptions(objects, models_folder=tmp_path / "models"))
    yield made
    await made.close()


def folders_tell_the_truth(platform: Platform) -> bool:
    """Whether each folder holds what it is named by."""
    folders = [path for path in platform.gateway.models.folders.directory.iterdir() if not path.name.startswith(".")]
    for folder in folders:
        found = {
            name: ModelFile(len(content), hashlib.sha256(content).hexdigest())
            for name, content in files_in(folder / "model").items()
        }
        if content_sha256(found) != folder.name:
            return False
    return bool(folders)


async def vectors(platform: Platform, key: str, model: str) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    answer = await embed(platform, key, TEXTS, model)
    assert answer.status_code == 200, answer.text
    return np.array([one["embedding"] for one in answer.json()["data"]], np.float32)


async def upload_to_globex(platform: Platform, files: dict[str, bytes]) -> str:
    key = await platform.add_account("globex")
    at = "/v1/accounts/globex/models"
    body = {"modelId": "mine", "model": {"kind": "EMBEDDING_MODEL"}}
    assert (await platform.call(key, "POST", at, json=body)).status_code == 200
    sizes = {"filenameToSize": {name: str(len(content)) for name, content in files.items()}}
    urls = (await told(platform, key, "POST", f"{at}/mine:getUploadEndpoint", json=sizes))["filenameToSignedUrls"]
    async with platform.client() as client:
        for name, content in files.items():
            assert (await client.put(urls[name], content=content)).status_code == 200
    await told(platform, key, "GET", f"{at}/mine:validateUpload")
    return key


async def test_weights_that_arrive_while_others_are_checked_do_not_pass_for_them(
    platform: Platform, objects: SlowObjects, tmp_path: Path
) -> None:
    genuine, hostile = (files_in(model_folder(tmp_path / f"published-{seed}", seed)) for seed in range(2))
    assert [len(files[WEIGHTS]) for files in (genuine, hostile)] == [len(genuine[WEIGHTS])] * 2
    attacker = await platform.add_account("acme")
    await create(platform, attacker)
    await send(platform, attacker, genuine)

    async def meanwhile() -> None:
        urls = await told(
            platform,
            attacker,
            "POST",
            f"{MODELS}/mine:getUploadEndpoint",
            json={"filenameToSize": {name: str(len(content)) for name, content in genuine.items()}},
        )
        async with platform.client() as client:
            url = urls["filenameToSignedUrls"][WEIGHTS]
            assert (await client.put(url, content=hostile[WEIGHTS])).status_code == 200
        # Which takes the new weights over; then the first one goes on.
        assert (await validate(platform, attacker)).status_code == 200

    objects.meanwhile = meanwhile
    refused = await validate(platform, attacker)
    assert (refused.status_code, refused.json()["message"]) == (
        400,
        "the model was changed while it was read; try again",
    )
    assert folders_tell_the_truth(platform)
    victim = await upload_to_globex(platform, genuine)
    got, theirs = (
        await vectors(platform, victim, GLOBEX),
        await vectors(platform, attacker, "accounts/acme/models/mine"),
    )
    assert np.abs(got - theirs).max() > 0.01
    # Made anew from the store, both are what they were.
    await platform.gateway.models.pool.close()
    assert await platform.gateway.models.folders.sweep(nothing, -1.0) == 2
    np.testing.assert_array_equal(await vectors(platform, victim, GLOBEX), got)
    np.testing.assert_array_equal(await vectors(platform, attacker, "accounts/acme/models/mine"), theirs)
    assert folders_tell_the_truth(platform)


async def nothing() -> set[str]:
    return set()


@on_sqlite_only
async def test_files_that_come_in_place_of_refused_ones_count_and_the_others_are_deleted(
    platform: Platform, objects: SlowObjects, tmp_path: Path
) -> None:
    files = files_in(model_folder(tmp_path / "published"))
    key = await platform.add_account("acme")
    await create(platform, key)
    bad = {**files, "config.json": files["config.json"].replace(b"gelu", b"swas")}
    for sent, status in ((bad, 400), (bad, 400), (files, 200)):
        await send(platform, key, sent)
        assert (await validate(platform, key)).status_code == status
    await delete_doomed(platform.database, objects)
    kept = [info.key.rpartition("/")[2] async for info in objects.list("models")]
    assert sorted(kept) == sorted(Path(name).name for name in files)
    found = await told(platform, key, "GET", f"{MODELS}/mine:getDownloadEndpoint")
    async with platform.client() as client:
        contents = {name: (await client.get(url)).content for name, url in found["filenameToSignedUrls"].items()}
    assert contents == files


@on_sqlite_only
async def test_arrivals_after_the_check_change_nothing(
    platform: Platform, objects: SlowObjects, tmp_path: Path
) -> None:
    files, others = (files_in(model_folder(tmp_path / f"published-{seed}", seed)) for seed in range(2))
    key = await platform.add_account("acme")
    await create(platform, key)
    sizes = {"filenameToSize": {name: str(len(content)) for name, content in files.items()}}
    urls = (await told(platform, key, "POST", f"{MODELS}/mine:getUploadEndpoint", json=sizes))["filenameToSignedUrls"]
    async with platform.client() as client:
        for name, content in files.items():
            assert (await client.put(urls[name], content=content)).status_code == 200
        assert (await validate(platform, key)).status_code == 200
        before = await vectors(platform, key, "accounts/acme/models/mine")
        assert (await client.put(urls[WEIGHTS], content=others[WEIGHTS])).status_code == 200
    assert (await validate(platform, key)).json() == {"warnings": []}
    await platform.gateway.models.pool.close()
    await platform.gateway.models.folders.sweep(nothing, -1.0)
    np.testing.assert_array_equal(await vectors(platform, key, "accounts/acme/models/mine"), before)


async def test_two_checks_of_the_same_files_at_once_both_find_them_right(
    platform: Platform, objects: SlowObjects, tmp_path: Path
) -> None:
    files = files_in(model_folder(tmp_path / "published"))
    key = await platform.add_account("acme")
    await create(platform, key)
    await send(platform, key, files)
    answers = []

    async def meanwhile() -> None:
        answers.append(await validate(platform, key))

    objects.meanwhile = meanwhile
    answers.append(await validate(platform, key))
    assert [answer.status_code for answer in answers] == [200, 200]
    assert (await told(platform, key, "GET", f"{MODELS}/mine"))["state"] == "READY"
    assert folders_tell_the_truth(platform)
