"""`WorkFile`: a file that is on its way to be an object. Its calls block, and one runs at a time."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Final

from embergate.ids import new_id
from embergate.storage.objects.disk import FILE, WORK, Disk
from embergate.storage.objects.protocol import ObjectInfo

NEW: Final = os.O_CREAT | os.O_EXCL | os.O_RDWR | FILE


class WorkFile:
    """A new file in a store's `.work`. Close it: what was not published then is removed."""

    def __init__(self, disk: Disk) -> None:
        """Touch nothing yet."""
        self._disk = disk
        self._name = f"write-{new_id()}"
        self._handle = -1
        self._is_published = False

    def open(self, num_bytes: int) -> None:
        """Make the file, if so many bytes fit. Raises: UnavailableError; OSError."""
        self._disk.check_room(num_bytes)
        with self._disk.folder(WORK) as work:
            self._handle = os.open(self._name, NEW, 0o600, dir_fd=work)

    def append(self, chunk: bytes | bytearray) -> None:
        """Write at the end."""
        write_all(self._handle, chunk)

    def publish(self, key: str) -> ObjectInfo:
        """Make the file an object, durably."""
        os.fsync(self._handle)
        info = self._disk.publish(self._name, key)
        self._is_published = True
        return info

    def close(self) -> None:
        """Be done with the file."""
        if self._handle < 0:
            return
        os.close(self._handle)
        self._handle = -1
        if not self._is_published:
            with suppress(OSError), self._disk.folder(WORK) as work:  # what cannot be removed now, the sweep finds
                os.unlink(self._name, dir_fd=work)


def write_all(handle: int, chunk: bytes | bytearray) -> None:
    """Write a chunk: one call may take less than all of it, as where the disk is almost full."""
    left = memoryview(chunk)
    while left:
        left = left[os.write(handle, left) :]
