"""`LocalObjects`: objects as files below a directory of this machine."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from embergate.errors import InvalidRequestError, NotFoundError, UnavailableError
from embergate.storage.objects.disk import Disk
from embergate.storage.objects.disk_threads import DiskThreads
from embergate.storage.objects.failures import BROKEN
from embergate.storage.objects.keys import folder_of, segments_of
from embergate.storage.objects.protocol import CHUNK_BYTES, Expected, ObjectInfo
from embergate.storage.objects.resumable import ResumableUploads
from embergate.storage.objects.tally import Tally, gathered
from embergate.storage.objects.work_file import WorkFile


class LocalObjects:
    """Objects as files of their keys' names. Whatever is not such a file, as a symbolic link, is not there."""

    def __init__(self, directory: Path) -> None:
        """Touch nothing yet; `prepare` makes the directory."""
        self._disk = Disk(directory)
        self._threads = DiskThreads()
        self._run = self._threads.run
        self.uploads = ResumableUploads(self._disk, self._threads)

    def prepare(self) -> None:
        """Make the directory, where there is none. Blocks; raises: OSError."""
        self._disk.prepare()

    async def write(self, key: str, chunks: AsyncIterator[bytes], *, expect: Expected) -> ObjectInfo:
        """Write an object; see `Objects`."""
        segments_of(key)
        tally, file = Tally(expect), WorkFile(self._disk)

        def put(chunk: bytearray) -> None:
            tally.hash(chunk)
            file.append(chunk)

        try:
            await self._run(file.open, expect.size or 0)
            async for chunk in gathered(tally.counted(chunks)):
                await self._run(put, chunk)
            tally.check()
            info = await self._run(file.publish, key)
        finally:
            await self._run(file.close)
        return replace(info, sha256=expect.sha256)

    async def read(
        self, key: str, start: int = 0, length: int | None = None, *, etag: str | None = None
    ) -> AsyncGenerator[bytes, None]:
        """Yield an object's bytes; see `Objects`."""
        opened: list[tuple[int, ObjectInfo]] = []
        try:
            # Noted where it is opened: whoever is cancelled meanwhile is not told of it.
            await self._run(lambda: opened.append(self._disk.open(key)))
            ((handle, info),) = opened
            if etag not in {None, info.etag}:
                raise NotFoundError(f"the object {key} is another by now")
            if start > info.size:
                raise InvalidRequestError(f"{key} has {info.size} bytes, and none at {start}")
            end = info.size if length is None else min(info.size, start + length)
            while start < end:
                chunk = await self._run(os.pread, handle, min(CHUNK_BYTES, end - start), start)
                if not chunk:
                    raise UnavailableError(BROKEN)
                yield chunk
                start += len(chunk)
        finally:
            for handle, _ in opened:
                os.close(handle)

    async def find(self, key: str) -> ObjectInfo | None:
        """Return what is known of an object, None if there is none."""
        return await self._run(self._disk.find, key)

    async def list(self, prefix: str = "") -> AsyncIterator[ObjectInfo]:
        """Yield the objects of a folder and of those in it."""
        folders = ["/".join(folder_of(prefix))]
        while folders:
            found = await self._run(self._disk.listing, folder_of(folders.pop()))
            folders += found.folders
            for info in found.objects:
                yield info

    async def copy(self, source: str, target: str) -> ObjectInfo:
        """Copy an object. Raises: NotFoundError."""
        return await self.compose(target, [source])

    async def move(self, source: str, target: str) -> ObjectInfo:
        """Give an object another key. Raises: NotFoundError."""
        return await self._run(self._disk.move, source, target)

    async def compose(self, key: str, parts: Sequence[str]) -> ObjectInfo:
        """Write objects one behind the other as one. Raises: NotFoundError."""
        return await self.write(key, self._concatenated(parts), expect=Expected())

    async def _concatenated(self, parts: Sequence[str]) -> AsyncIterator[bytes]:
        for part in parts:
            async with aclosing(self.read(part)) as chunks:
                async for chunk in chunks:
                    yield chunk

    async def delete(self, key: str) -> None:
        """Delete an object, if there is one."""
        await self._run(self._disk.delete, key)

    async def delete_prefix(self, prefix: str) -> None:
        """Delete the objects of a folder and of those in it."""
        await self._run(self._disk.delete_folder, prefix)

    async def local_path(self, key: str) -> Path | None:
        """Return where an object lies, to be read and never written."""
        return await self._run(self._disk.path_of, key)

    async def sweep(self, older_than: timedelta) -> int:
        """Remove what writes left that were killed so long ago; return how many."""
        return await self._run(self._disk.sweep, older_than)

    async def close(self) -> None:
        """Wait for what the threads are doing, and end them."""
        await self._threads.close()
