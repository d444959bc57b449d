"""`ModelFolders`: the files of uploaded models as folders that a loader can read, one for each content.

Files of a local store are linked, not copied; those of a bucket are fetched, and kept. What is in a folder was hashed as it was
put there, and the folder is named by that. A link is another name of the object's own file: no store ever writes to a file once
it is an object, so that it stays as it was hashed.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Final

from embergate.clock import now
from embergate.errors import NotFoundError, UnavailableError
from embergate.gateway.models.names import content_sha256, is_read
from embergate.gateway.models.store import ModelFile
from embergate.ids import new_id
from embergate.storage.objects.protocol import CHUNK_BYTES, Objects

# What the folder of a model is called: its own name would be told to others who have uploaded the same files.
NAME: Final = "model"
MAKING: Final = ".making-"
GONE: Final = ".gone-"


class ModelFolders:
    """Folders below a directory of this machine, which is made with the first of them."""

    def __init__(self, directory: Path, objects: Objects) -> None:
        """Touch nothing yet."""
        self.directory = directory.absolute()
        self._objects = objects

    async def folder_of(self, prefix: str, files: Mapping[str, ModelFile]) -> Path:
        """Return the folder with these files, made of the objects below `prefix` where it is not there.

        Raises: UnavailableError if it cannot be made now, or if the store has other files by now.
        """
        home = self._home(files)
        if await asyncio.to_thread(_is_there, home):
            return home / NAME
        _, made = await self.make(prefix, files)
        for name, file in made.items():
            if file.sha256 != files[name].sha256:
                raise UnavailableError(f"the object {prefix}/{file.path(name)} is not the one that was checked")
        return home / NAME

    async def make(self, prefix: str, files: Mapping[str, ModelFile]) -> tuple[Path, dict[str, ModelFile]]:
        """Put the objects below `prefix` that a model is loaded from into a folder; also return their sizes and digests.

        Raises: UnavailableError if it cannot be made now.
        """
        making, made = self.directory / f"{MAKING}{new_id()}", {}
        try:
            await asyncio.to_thread((making / NAME).mkdir, parents=True, mode=0o700)
            for name in filter(is_read, files):
                size, sha256 = await self._put(f"{prefix}/{files[name].path(name)}", making / NAME / name)
                made[name] = ModelFile(size, sha256, files[name].folder)
            home = self._home(made)
            await asyncio.to_thread(_publish, making, home)
        except OSError as error:
            raise UnavailableError(f"a model's files cannot be put where they are read: {error.strerror}") from error
        except NotFoundError as error:  # of a model that was deleted a moment ago, or from a store that lost it
            raise UnavailableError("a file of the model is not in the store any more") from error
        finally:
            await asyncio.to_thread(shutil.rmtree, making, ignore_errors=True)
        return home / NAME, made

    async def sweep(self, needed: Callable[[], Awaitable[Collection[str]]], older_than_s: float) -> int:
        """Remove folders of contents that are not needed, and that nobody has asked for in so many seconds; return how many."""
        kept, num_removed = await needed(), 0
        for home in await asyncio.to_thread(self._old, older_than_s):
            if home.name not in kept and await self._remove(home, needed, older_than_s):
                num_removed += 1
        return num_removed

    async def _remove(self, home: Path, needed: Callable[[], Awaitable[Collection[str]]], older_than_s: float) -> bool:
        """Take a folder's name away before its files, so that what is left of it after a crash is no model's any more."""
        gone = self.directory / f"{GONE}{new_id()}"
        try:
            await asyncio.to_thread(home.rename, gone)
        except FileNotFoundError:
            return False
        # Somebody may have asked for it since it was looked at.
        if home.name in await needed() or not await asyncio.to_thread(_is_old, gone, older_than_s):
            with suppress(OSError):  # it was made anew meanwhile; the other is swept later
                await asyncio.to_thread(gone.rename, home)
                return False
        await asyncio.to_thread(shutil.rmtree, gone, ignore_errors=True)
        return True

    def _old(self, older_than_s: float) -> list[Path]:
        folders = self.directory.iterdir() if self.directory.is_dir() else ()
        return [folder for folder in folders if _is_old(folder, older_than_s)]

    def _home(self, files: Mapping[str, ModelFile]) -> Path:
        return self.directory / content_sha256(files)

    async def _put(self, key: str, path: Path) -> tuple[int, str]:
        """Put an object at a path, durably; return its size, and the digest of what is there now."""
        await asyncio.to_thread(path.parent.mkdir, parents=True, exist_ok=True)
        source = await self._objects.local_path(key)
        if source is None:
            return await self._fetch(key, path)
        await asyncio.to_thread(_link, source, path)
        digest, size = hashlib.sha256(), 0
        with await asyncio.to_thread(path.open, "rb") as file:
            while chunk := await asyncio.to_thread(file.read, CHUNK_BYTES):
                await asyncio.to_thread(digest.update, chunk)
                size += len(chunk)
        return size, digest.hexdigest()

    async def _fetch(self, key: str, path: Path) -> tuple[int, str]:
        digest, size = hashlib.sha256(), 0
        with await asyncio.to_thread(path.open, "xb") as file:
            async with aclosing(self._objects.read(key)) as chunks:
                async for chunk in chunks:
                    await asyncio.to_thread(digest.update, chunk)
                    await asyncio.to_thread(file.write, chunk)
                    size += len(chunk)
            await asyncio.to_thread(_flush, file.fileno(), file.flush)
        return size, digest.hexdigest()


def _is_there(home: Path) -> bool:
    """Tell whether a folder is there, and keep it from being swept for now."""
    with suppress(OSError):  # it is not there, or may only be read
        os.utime(home)
    return (home / NAME).is_dir()


def _is_old(folder: Path, older_than_s: float) -> bool:
    try:
        return folder.stat().st_mtime < now().timestamp() - older_than_s
    except FileNotFoundError:
        return False


def _link(source: Path, path: Path) -> None:
    try:
        os.link(source, path, follow_symlinks=False)
    except FileNotFoundError:
        raise NotFoundError from None
    except OSError:  # on another file system
        shutil.copyfile(source, path, follow_symlinks=False)
        _sync(path)


def _flush(handle: int, flush: Callable[[], None]) -> None:
    flush()
    os.fsync(handle)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _publish(making: Path, home: Path) -> None:
    """Give a folder its name, durably, unless another process was first."""
    for folder, _, _ in os.walk(making):  # its files are on the disk already
        _sync(Path(folder))
    try:
        making.rename(home)
    except OSError:
        if not _is_there(home):
            raise
        return
    _sync(home.parent)
