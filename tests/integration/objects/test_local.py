"""What only a store on a local disk has: links, folders, full disks, and what killed processes leave."""

from __future__ import annotations

import asyncio
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from embergate.errors import InvalidRequestError, NotFoundError, PayloadTooLargeError, UnavailableError
from embergate.storage.objects.local import LocalObjects
from embergate.storage.objects.protocol import CHUNK_BYTES, Expected
from tests.integration.objects.samples import breaking, get, keys, pieces, put, sample

DATA = sample(3 * CHUNK_BYTES)
DAY = timedelta(days=1)
# Killed in the middle of a write, as by the kernel: nothing of its own is run.
KILLED = """
import asyncio, os, sys
from pathlib import Path
from embergate.storage.objects.local import LocalObjects
from embergate.storage.objects.protocol import Expected

async def chunks():
    yield bytes(2_000_000)
    os.kill(os.getpid(), 9)

asyncio.run(LocalObjects(Path(sys.argv[1])).write("k", chunks(), expect=Expected()))
"""
# In a user namespace of its own, on a disk of 4 MB.
FILLED = """
import asyncio, sys
from pathlib import Path
from embergate.errors import UnavailableError
from embergate.storage.objects.local import LocalObjects
from embergate.storage.objects.protocol import Expected

async def chunks(num):
    for _ in range(num):
        yield bytes(1_000_000)

async def main():
    objects = LocalObjects(Path(sys.argv[1]) / "objects")
    objects.prepare()
    await objects.write("before", chunks(1), expect=Expected())
    for expect in (Expected(), Expected(size=8_000_000)):
        try:
            await objects.write("k", chunks(8), expect=expect)
        except UnavailableError as error:
            print(error.message)
    print([info.key async for info in objects.list()], [path.name for path in Path(sys.argv[1]).rglob("write-*")])
    await objects.write("k", chunks(2), expect=Expected())
    print(sorted([info.key async for info in objects.list()]))

asyncio.run(main())
"""


def left_in(store: LocalObjects, tmp_path: Path) -> list[str]:
    return [path.name for path in (tmp_path / "objects" / ".work").iterdir()]


@contextmanager
def largest_file(num_bytes: int) -> Iterator[None]:
    """Have the operating system refuse larger files, to this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def age(path: Path, by: timedelta) -> None:
    then = path.stat().st_mtime - by.total_seconds()
    os.utime(path, (then, then))


async def test_object_is_a_file_that_others_can_read_by_its_path(local: LocalObjects, tmp_path: Path) -> None:
    await put(local, "models/m/1_Pooling/config.json", b"{}")
    path = await local.local_path("models/m/1_Pooling/config.json")
    assert path == tmp_path / "objects/models/m/1_Pooling/config.json"
    assert path.read_bytes() == b"{}"
    assert path.stat().st_mode & 0o777 == 0o600
    assert await local.local_path("models/m") is None
    assert await local.local_path("models/none") is None


async def test_link_is_not_followed_out_of_the_directory(local: LocalObjects, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("secret")
    directory = tmp_path / "objects"
    (directory / "folder").symlink_to(outside)
    (directory / "file").symlink_to(outside / "secret")
    for key in ("folder/secret", "file"):
        assert await local.find(key) is None
        assert await local.local_path(key) is None
        with pytest.raises(NotFoundError):
            await get(local, key)
        with pytest.raises(NotFoundError):
            await local.move(key, "taken")
    with pytest.raises(InvalidRequestError):
        await put(local, "folder/new", b"x")
    await local.delete("folder/secret")
    await local.delete_prefix("folder")
    assert await keys(local) == []
    assert [path.name for path in outside.iterdir()] == ["secret"]
    await put(local, "file", b"mine")  # takes the link's place
    assert (outside / "secret").read_text() == "secret"
    assert await get(local, "file") == b"mine"


async def test_key_may_not_go_on_after_another_ends(local: LocalObjects) -> None:
    await put(local, "a/b", b"x")
    with pytest.raises(InvalidRequestError, match="folder"):
        await put(local, "a/b/c", b"y")
    with pytest.raises(InvalidRequestError, match="folder"):
        await put(local, "a", b"y")
    assert await keys(local) == ["a/b"]


async def test_nothing_is_left_in_the_work_folder(local: LocalObjects, tmp_path: Path) -> None:
    await put(local, "k", DATA)
    for attempt in (local.write("k", breaking(DATA), expect=Expected()), put(local, "k", DATA, size=1)):
        with pytest.raises((ConnectionResetError, PayloadTooLargeError)):
            await attempt
    await local.compose("all", ["k", "k"])
    await local.delete_prefix("all")
    assert left_in(local, tmp_path) == []


async def test_file_that_the_system_refuses_leaves_nothing(local: LocalObjects, tmp_path: Path) -> None:
    await put(local, "k", b"before")
    with largest_file(CHUNK_BYTES + 100), pytest.raises(UnavailableError, match="no file so large"):
        await put(local, "k", DATA)
    assert await get(local, "k") == b"before"
    assert left_in(local, tmp_path) == []
    await put(local, "k", DATA)
    assert await get(local, "k") == DATA


def test_full_disk_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    folder, script = tmp_path / "disk", tmp_path / "filled.py"
    folder.mkdir()
    script.write_text(FILLED)
    mount = f"mount -t tmpfs -o size=4m tmpfs {folder}"
    if subprocess.run(["unshare", "-rm", "sh", "-c", mount], capture_output=True).returncode:
        pytest.skip("NOT TESTED on a full disk: this machine lets nobody mount one of 4 MB")
    command = f"{mount} && exec {sys.executable} {script} {folder}"
    ran = subprocess.run(["unshare", "-rm", "sh", "-c", command], capture_output=True, text=True)
    assert ran.stdout.splitlines() == [
        "The disk of the object store is full.",
        "The disk of the object store is full.",
        "['before'] []",
        "['before', 'k']",
    ], ran.stderr


async def test_object_that_cannot_fit_is_refused_before_it_is_sent(local: LocalObjects) -> None:
    taken: list[bytes] = []

    async def watched() -> AsyncIterator[bytes]:
        async for piece in pieces(DATA):
            taken.append(piece)
            yield piece

    with pytest.raises(UnavailableError, match="full"):
        await local.write("k", watched(), expect=Expected(size=1 << 60))
    assert taken == []


async def test_store_that_is_gone_is_unavailable_and_not_empty(local: LocalObjects, tmp_path: Path) -> None:
    await put(local, "a/b", b"x")
    shutil.move(tmp_path / "objects", tmp_path / "elsewhere")
    for is_mount_point_left in (False, True):
        if is_mount_point_left:
            (tmp_path / "objects").mkdir()
        for call in (local.find("a/b"), get(local, "a/b"), keys(local), put(local, "c", b"x"), local.delete("a/b")):
            with pytest.raises(UnavailableError, match="not there"):
                await call
    assert list((tmp_path / "objects").iterdir()) == []  # nothing is written below a mount point
    (tmp_path / "objects").rmdir()
    shutil.move(tmp_path / "elsewhere", tmp_path / "objects")
    assert await get(local, "a/b") == b"x"


async def test_what_a_killed_process_leaves_is_swept_after_a_day(local: LocalObjects, tmp_path: Path) -> None:
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    killed = await asyncio.create_subprocess_exec(sys.executable, script, tmp_path / "objects")
    assert await killed.wait() == -9
    assert await keys(local) == []
    (left,) = left_in(local, tmp_path)
    assert await local.sweep(DAY) == 0
    age(tmp_path / "objects" / ".work" / left, DAY + timedelta(minutes=1))
    gone = tmp_path / "objects" / ".work" / "gone-x"  # a folder whose deletion was cut short
    (gone / "inner").mkdir(parents=True)
    age(gone, 2 * DAY)
    assert await local.sweep(DAY) == 2
    assert left_in(local, tmp_path) == []


async def test_reader_keeps_the_version_that_it_began(local: LocalObjects) -> None:
    await put(local, "k", DATA)
    reading = local.read("k")
    first = await anext(reading)
    await put(local, "k", b"new")
    await local.delete("k")
    assert first + b"".join([chunk async for chunk in reading]) == DATA


async def test_no_handle_is_left_open(local: LocalObjects) -> None:
    await put(local, "a/k", DATA)
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - what is open, the folder itself included
    await put(local, "a/k", DATA)
    await keys(local)
    for attempt in (
        put(local, "b", DATA, size=1),
        put(local, "a/k/c", b""),
        get(local, "none"),
        get(local, "a/k", 1 << 40),
    ):
        with pytest.raises((InvalidRequestError, NotFoundError, PayloadTooLargeError)):
            await attempt
    reading = local.read("a/k")
    await anext(reading)
    await reading.aclose()
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


async def test_reader_that_leaves_while_a_file_is_opened_leaves_no_handle(local: LocalObjects) -> None:
    await put(local, "k", DATA)
    num_before = num_handles()
    for num_turns in range(20):
        reading = asyncio.create_task(get(local, "k"))
        for _ in range(num_turns % 4):
            await asyncio.sleep(0)
        reading.cancel()
        await asyncio.wait([reading])
    assert num_handles() <= num_before


def num_handles() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))
