"""`ModelFolders`: the files of uploaded models as folders that a loader can read, one for each content.

Files of a local store are linked, not copied; those of a bucket are fetched, and kept.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
from collections.abc import Collection, Mapping
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Final

from embergate.clock import now
from embergate.errors import NotFoundError, UnavailableError
from embergate.gateway.models.names import content_sha256, is_read
from embergate.gateway.models.store import ModelFile
from embergate.ids import new_id
from embergate.storage.objects.protocol import Objects

# What the folder of a model is called: its own name would be told to others who have uploaded the same files.
NAME: Final = "model"
MAKING: Final = ".making-"


class ModelFolders:
    """Folders below a directory of this machine, which is made with the first of them."""

    def __init__(self, directory: Path, objects: Objects) -> None:
        """Touch nothing yet."""
        self.directory = directory.absolute()
        self._objects = objects

    async def folder_of(self, prefix: str, files: Mapping[str, ModelFile]) -> Path:
        """Return the folder with these files, made of the objects below `prefix` where it is not there.

        Raises: UnavailableError if it cannot be made now.
        """
        home = self.directory / content_sha256(files)
        if await asyncio.to_thread((home / NAME).is_dir):
            return home / NAME
        making = self.directory / f"{MAKING}{new_id()}"
        try:
            await asyncio.to_thread((making / NAME).mkdir, parents=True, mode=0o700)
            for name in filter(is_read, files):
                await self._put(f"{prefix}/{name}", making / NAME / name, files[name].sha256)
            await asyncio.to_thread(_publish, making, home)
        except OSError as error:
            raise UnavailableError(f"a model's files cannot be put where they are read: {error.strerror}") from error
        except NotFoundError as error:  # of a model that was deleted a moment ago, or from a store that lost it
            raise UnavailableError("a file of the model is not in the store any more") from error
        finally:
            await asyncio.to_thread(shutil.rmtree, making, ignore_errors=True)
        return home / NAME

    async def sweep(self, needed: Collection[str], older_than_s: float) -> int:
        """Remove folders of contents that are not needed, if they were made so many seconds ago; return how many."""
        return await asyncio.to_thread(self._sweep, needed, older_than_s)

    def _sweep(self, needed: Collection[str], older_than_s: float) -> int:
        num_removed = 0
        for folder in self.directory.iterdir() if self.directory.is_dir() else ():
            with suppress(FileNotFoundError):
                if folder.name not in needed and folder.stat().st_mtime < now().timestamp() - older_than_s:
                    shutil.rmtree(folder)
                    num_removed += 1
        return num_removed

    async def _put(self, key: str, path: Path, sha256: str) -> None:
        await asyncio.to_thread(path.parent.mkdir, parents=True, exist_ok=True)
        source = await self._objects.local_path(key)
        if source is not None:
            await asyncio.to_thread(_link, source, path)
            return
        digest = hashlib.sha256()
        with await asyncio.to_thread(path.open, "xb") as file:
            async with aclosing(self._objects.read(key)) as chunks:
                async for chunk in chunks:
                    digest.update(chunk)
                    await asyncio.to_thread(file.write, chunk)
        if digest.hexdigest() != sha256:
            raise UnavailableError(f"the object {key} is not the one that was checked")


def _link(source: Path, path: Path) -> None:
    try:
        os.link(source, path, follow_symlinks=False)
    except OSError:  # on another file system
        shutil.copyfile(source, path, follow_symlinks=False)


def _publish(making: Path, home: Path) -> None:
    """Give a folder its name, unless another process was first."""
    try:
        making.rename(home)
    except OSError:
        if not (home / NAME).is_dir():
            raise
