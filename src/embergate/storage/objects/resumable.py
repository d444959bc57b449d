"""Uploads to a local store that may break off and go on later, also after the server was started anew.

An upload's bytes gather in a file of `.work` whose name tells the key, the size and the upload's id, so that no two uploads
mix. A lock on it keeps out whoever would write to it at the same time, in this process or another.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Final

from embergate.errors import InvalidRequestError, OverloadedError, RangeNotSatisfiableError
from embergate.storage.objects.disk import FILE, WORK, Disk
from embergate.storage.objects.disk_threads import DiskThreads
from embergate.storage.objects.keys import segments_of
from embergate.storage.objects.protocol import CHUNK_BYTES, Expected, ObjectInfo
from embergate.storage.objects.tally import Tally, gathered
from embergate.storage.objects.work_file import write_all

# A client that was cut off comes again before the server notices that it was.
RETRY_AFTER_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Upload:
    """One upload: of which object, how large, and which of several of the same."""

    key: str
    size: int
    id: str
    sha256: str | None = None

    @property
    def name(self) -> str:
        """The end of its files' names."""
        return sha256(f"{self.key}\n{self.size}\n{self.sha256}\n{self.id}".encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Progress:
    """How many bytes of an upload are held, from the first on; and the object, once all are."""

    num_bytes: int
    info: ObjectInfo | None = None


class ResumableUploads:
    """The uploads to one local store."""

    def __init__(self, disk: Disk, threads: DiskThreads) -> None:
        """Touch nothing yet."""
        self._disk = disk
        self._run = threads.run

    async def progress(self, upload: Upload) -> Progress:
        """Tell how far an upload is; one whose bytes are all there is completed.

        Raises: OverloadedError if that is being done; InvalidRequestError if they have another sha256 than announced.
        """
        segments_of(upload.key)
        progress = await self._run(_progress, self._disk, upload)
        if progress.info is not None or progress.num_bytes < upload.size:
            return progress
        return await self.append(upload, upload.size, _nothing())

    async def append(
        self, upload: Upload, start: int, chunks: AsyncIterator[bytes], *, end: int | None = None
    ) -> Progress:
        """Write chunks from the byte `start` on, in place of what is held from there; if they break off, what came is kept.

        `end` is the byte before which they end, if that is known.
        Raises: RangeNotSatisfiableError if the bytes before `start` are not held; OverloadedError if another request writes
            to the upload; PayloadTooLargeError beyond the end; InvalidRequestError if they end before it, or if all is there
            with another sha256.
        """
        segments_of(upload.key)
        partial = Partial(self._disk, upload)
        try:
            done = await self._run(partial.open, start)
            if done is not None:
                return done
            size = None if end is None else end - start
            tally = Tally(Expected(size=size, max_bytes=upload.size - start))
            try:
                async for chunk in gathered(tally.counted(chunks)):
                    await self._run(partial.append, chunk)
            finally:
                await self._run(partial.sync)
            tally.check()
            if partial.num_bytes < upload.size:
                return Progress(partial.num_bytes)
            await self._check(partial, upload)
            return Progress(upload.size, await self._run(partial.publish))
        finally:
            await self._run(partial.close)

    async def _check(self, partial: Partial, upload: Upload) -> None:
        tally, offset = Tally(Expected(sha256=upload.sha256)), 0
        while upload.sha256 is not None and offset < upload.size:
            offset += await self._run(partial.hash_chunk, tally, offset)
        try:
            tally.check()
        except InvalidRequestError:
            await self._run(partial.discard)
            raise


class Partial:
    """What is held of an upload, while it is written to. Its calls block, and one runs at a time."""

    def __init__(self, disk: Disk, upload: Upload) -> None:
        """Touch nothing yet."""
        self._disk = disk
        self._upload = upload
        self._name = f"upload-{upload.name}"
        self._handle = -1
        self.num_bytes = 0

    def open(self, start: int) -> Progress | None:
        """Open the file and lock it, and forget what is in it from `start` on; return the object if the upload is done.

        A done upload that starts at its first byte begins again.
        Raises: RangeNotSatisfiableError; OverloadedError; UnavailableError if the rest does not fit on the disk.
        """
        with self._disk.folder(WORK) as work:
            while not self._open_locked(work):
                self.close()
            held = os.fstat(self._handle).st_size
            if start > held:
                done = _done(self._disk, self._upload, work)
                if held == 0:
                    self.discard()
                if done is not None:
                    return done
                raise RangeNotSatisfiableError(f"the upload holds {held} bytes, and cannot go on at {start}")
            with suppress(FileNotFoundError):
                os.unlink(f"done-{self._upload.name}", dir_fd=work)
        self._disk.check_room(self._upload.size - start)
        os.ftruncate(self._handle, start)
        os.lseek(self._handle, start, os.SEEK_SET)
        self.num_bytes = start
        return None

    def _open_locked(self, work: int) -> bool:
        """Return False if somebody else has published or removed the file before it was locked."""
        self._handle = os.open(self._name, os.O_CREAT | os.O_RDWR | FILE, 0o600, dir_fd=work)
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OverloadedError(
                "another request sends the bytes of this upload; ask for its state, and go on from there",
                retry_after_s=RETRY_AFTER_S,
            ) from None
        with suppress(FileNotFoundError):
            return os.path.samestat(os.stat(self._name, dir_fd=work, follow_symlinks=False), os.fstat(self._handle))
        return False

    def append(self, chunk: bytearray) -> None:
        """Write at the end."""
        write_all(self._handle, chunk)
        self.num_bytes += len(chunk)

    def sync(self) -> None:
        """Have what was written on the disk."""
        os.fsync(self._handle)

    def hash_chunk(self, tally: Tally, offset: int) -> int:
        """Hash what is held at an offset; return how many bytes that was."""
        chunk = os.pread(self._handle, CHUNK_BYTES, offset)
        if not chunk:
            raise OSError
        tally.hash(chunk)
        return len(chunk)

    def publish(self) -> ObjectInfo:
        """Make the file the object, and remember that the upload is done: a client may not hear of it."""
        info = self._disk.publish(self._name, self._upload.key)
        with self._disk.folder(WORK) as work:
            os.close(os.open(f"done-{self._upload.name}", os.O_CREAT | os.O_WRONLY | FILE, 0o600, dir_fd=work))
        return replace(info, sha256=self._upload.sha256)

    def discard(self) -> None:
        """Forget all of it."""
        with self._disk.folder(WORK) as work:
            os.unlink(self._name, dir_fd=work)

    def close(self) -> None:
        """Let go of the file and its lock."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1


def _progress(disk: Disk, upload: Upload) -> Progress:
    with disk.folder(WORK) as work:
        with suppress(FileNotFoundError):
            found = os.stat(f"upload-{upload.name}", dir_fd=work, follow_symlinks=False)
            return Progress(min(found.st_size, upload.size))
        return _done(disk, upload, work) or Progress(0)


def _done(disk: Disk, upload: Upload, work: int) -> Progress | None:
    """Return the object of an upload that is done, None of one that is not, or whose object is another since."""
    with suppress(FileNotFoundError):
        os.stat(f"done-{upload.name}", dir_fd=work, follow_symlinks=False)
        info = disk.find(upload.key)
        if info is not None and info.size == upload.size:
            return Progress(upload.size, info)
    return None


async def _nothing() -> AsyncIterator[bytes]:
    return
    yield
