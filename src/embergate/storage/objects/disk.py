"""A directory of objects: what is asked of the operating system, each in one blocking call.

The directory is walked by handles, from segment to segment and through no symbolic link, so that no key leads out of it.
Files that are not yet objects lie in `.work`, which no key reaches. That folder is also the mark of a store: it is made
at the start and never after, so that nothing is written to the place of a disk that is no longer mounted.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from embergate.clock import now
from embergate.errors import InvalidRequestError, NotFoundError, UnavailableError
from embergate.ids import new_id
from embergate.storage.objects.failures import FULL, LOST
from embergate.storage.objects.keys import folder_of, segments_of
from embergate.storage.objects.protocol import ObjectInfo

WORK: Final = (".work",)
FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
FILE: Final = os.O_NOFOLLOW | os.O_CLOEXEC
# A folder may be removed, being empty, between its making and its use.
MAX_ATTEMPTS: Final = 10


@dataclass(frozen=True, slots=True)
class Listing:
    """What is directly in a folder."""

    objects: list[ObjectInfo]
    folders: list[str]


class Disk:
    """Objects in a directory. Raises OSError where no other error is named, but UnavailableError if the store is gone."""

    def __init__(self, directory: Path) -> None:
        """Touch nothing yet."""
        self.directory = directory.absolute()

    def prepare(self) -> None:
        """Make the directory, where there is none."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        (self.directory / WORK[0]).mkdir(mode=0o700, exist_ok=True)

    @contextmanager
    def folder(self, segments: Sequence[str], *, is_made: bool = False) -> Iterator[int]:
        """Open a folder. Raises: InvalidRequestError if a segment is a file, or a link."""
        try:
            handle = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            raise UnavailableError(LOST) from None
        try:
            _check_mark(handle)
            for segment in segments:
                outer, handle = handle, _enter(handle, segment, is_made=is_made)
                os.close(outer)
            yield handle
        except NotADirectoryError:
            raise InvalidRequestError(
                f"{'/'.join(segments)} is no folder: a key may not go on after another's end"
            ) from None
        finally:
            os.close(handle)

    def find(self, key: str) -> ObjectInfo | None:
        """Return what is known of an object."""
        *parents, name = segments_of(key)
        with suppress(FileNotFoundError, InvalidRequestError), self.folder(parents) as folder:
            found = os.stat(name, dir_fd=folder, follow_symlinks=False)
            return info_of(key, found) if stat.S_ISREG(found.st_mode) else None
        return None

    def path_of(self, key: str) -> Path | None:
        """Return where an object lies, None if there is none."""
        return self.directory.joinpath(*segments_of(key)) if self.find(key) is not None else None

    def open(self, key: str) -> tuple[int, ObjectInfo]:
        """Open an object to read. Raises: NotFoundError."""
        *parents, name = segments_of(key)
        with suppress(FileNotFoundError, InvalidRequestError), self.folder(parents) as folder:
            if stat.S_ISREG(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
                handle = os.open(name, os.O_RDONLY | FILE, dir_fd=folder)
                return handle, info_of(key, os.fstat(handle))
        raise NotFoundError(f"there is no object {key}")

    def publish(self, name: str, key: str) -> ObjectInfo:
        """Give a finished file of `.work` its key, in one step and durably."""
        return self._rename((*WORK, name), key)

    def move(self, source: str, target: str) -> ObjectInfo:
        """Give an object another key. Raises: NotFoundError."""
        try:
            info = self._rename(segments_of(source), target) if self.find(source) is not None else None
        except FileNotFoundError:
            info = None  # deleted meanwhile
        if info is None:
            raise NotFoundError(f"there is no object {source}")
        self._prune(segments_of(source)[:-1])
        return info

    def _rename(self, source: Sequence[str], target: str) -> ObjectInfo:
        *parents, name = segments_of(target)
        for attempt in range(MAX_ATTEMPTS):
            try:
                with self.folder(source[:-1]) as origin, self.folder(parents, is_made=True) as folder:
                    os.rename(source[-1], name, src_dir_fd=origin, dst_dir_fd=folder)
                    found = os.stat(name, dir_fd=folder, follow_symlinks=False)
                    os.fsync(folder)
                    return info_of(target, found)
            except IsADirectoryError:
                raise InvalidRequestError(f"{target} is a folder of other objects") from None
            except FileNotFoundError:
                if attempt == MAX_ATTEMPTS - 1:
                    raise
        raise AssertionError("the last attempt returns or raises. This is a bug.")

    def delete(self, key: str) -> None:
        """Delete an object, if there is one, and the folders that are empty then."""
        *parents, name = segments_of(key)
        with suppress(FileNotFoundError, InvalidRequestError, IsADirectoryError), self.folder(parents) as folder:
            os.unlink(name, dir_fd=folder)
            os.fsync(folder)
        self._prune(parents)

    def delete_folder(self, prefix: str) -> None:
        """Delete a folder with all that is in it: it is gone in one step, and its files are removed after that."""
        *parents, name = folder_of(prefix) or segments_of(prefix)
        gone = f"gone-{new_id()}"
        with (
            suppress(FileNotFoundError, InvalidRequestError),
            self.folder(parents) as folder,
            self.folder(WORK) as work,
        ):
            if stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
                os.rename(name, gone, src_dir_fd=folder, dst_dir_fd=work)
                os.fsync(folder)
                shutil.rmtree(gone, dir_fd=work)
        self._prune(parents)

    def _prune(self, parents: Sequence[str]) -> None:
        for depth in range(len(parents), 0, -1):
            try:
                with self.folder(parents[: depth - 1]) as folder:
                    os.rmdir(parents[depth - 1], dir_fd=folder)
            except (OSError, InvalidRequestError):  # it is not empty, most of all
                return

    def listing(self, segments: Sequence[str]) -> Listing:
        """Return what is directly in a folder; nothing if there is no such folder."""
        found = Listing([], [])
        with (
            suppress(FileNotFoundError, InvalidRequestError),
            self.folder(segments) as folder,
            os.scandir(folder) as entries,
        ):
            for entry in entries:
                with suppress(FileNotFoundError, InvalidRequestError):
                    key = "/".join((*segments, *segments_of(entry.name)))
                    if entry.is_dir(follow_symlinks=False):
                        found.folders.append(key)
                    elif entry.is_file(follow_symlinks=False):
                        found.objects.append(info_of(key, entry.stat(follow_symlinks=False)))
        return found

    def sweep(self, older_than: timedelta) -> int:
        """Remove from `.work` what nobody has touched for so long; return how many."""
        before_s = (now() - older_than).timestamp()
        num_removed = 0
        with self.folder(WORK) as work, os.scandir(work) as entries:
            for entry in list(entries):
                with suppress(FileNotFoundError, BlockingIOError):
                    if entry.stat(follow_symlinks=False).st_mtime >= before_s:
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        shutil.rmtree(entry.name, dir_fd=work)
                    else:
                        _unlink_unused(entry.name, work)
                    num_removed += 1
        return num_removed

    def check_room(self, num_bytes: int) -> None:
        """Be sure that so much more fits, before it is sent for nothing. Raises: UnavailableError."""
        with self.folder(()) as folder:
            free = os.fstatvfs(folder)
        if free.f_bavail * free.f_frsize < num_bytes:
            raise UnavailableError(FULL)


def info_of(key: str, found: os.stat_result) -> ObjectInfo:
    """Return what a file's entry tells of an object; no file is changed once it has its key."""
    modified_at = datetime.fromtimestamp(found.st_mtime, UTC)
    return ObjectInfo(key, found.st_size, modified_at, f"{found.st_ino:x}-{found.st_mtime_ns:x}-{found.st_size:x}")


def _check_mark(handle: int) -> None:
    try:
        os.stat(WORK[0], dir_fd=handle, follow_symlinks=False)
    except FileNotFoundError:
        raise UnavailableError(LOST) from None


def _enter(handle: int, segment: str, *, is_made: bool) -> int:
    try:
        return os.open(segment, FOLDER, dir_fd=handle)
    except FileNotFoundError:
        if not is_made:
            raise
    with suppress(FileExistsError):
        os.mkdir(segment, 0o700, dir_fd=handle)
    os.fsync(handle)
    return os.open(segment, FOLDER, dir_fd=handle)


def _unlink_unused(name: str, work: int) -> None:
    """Remove a file that nobody writes: who resumes an upload holds its lock. Raises: BlockingIOError."""
    handle = os.open(name, os.O_RDONLY | FILE, dir_fd=work)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.unlink(name, dir_fd=work)
    finally:
        os.close(handle)
