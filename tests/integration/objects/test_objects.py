"""What every object store does: the same tests on a directory and on a bucket behind a real S3 server's HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from hashlib import sha256

import pytest

from embergate.clock import now
from embergate.errors import InvalidRequestError, NotFoundError, PayloadTooLargeError
from embergate.storage.objects.protocol import CHUNK_BYTES, Expected, Objects
from tests.integration.objects.samples import breaking, get, keys, pieces, put, sample

DATA = sample(3 * CHUNK_BYTES + 17)
HOSTILE = [
    "",
    "/",
    "/etc/passwd",
    "a//b",
    "a/",
    "..",
    "../a",
    "a/../../b",
    "a/./b",
    ".work/x",
    "a/.hidden",
    "a\\..\\b",
    "a\0b",
    "a b",
    "a\n",
    "ä",
    "%2e%2e/a",
    "a" * 201,
    "/".join(["a" * 100] * 10),
]


async def test_what_is_written_is_read(objects: Objects) -> None:
    written = await put(objects, "a/b/data.bin", DATA, size=len(DATA))
    found = await objects.find("a/b/data.bin")
    assert found is not None
    assert (found.key, found.size, found.etag) == ("a/b/data.bin", len(DATA), written.etag)
    assert abs(now() - found.modified_at) < timedelta(minutes=1)
    assert await get(objects, "a/b/data.bin") == DATA


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES, 12 * CHUNK_BYTES + 1])
async def test_any_size_is_written_whole(objects: Objects, size: int) -> None:
    data = sample(size)
    assert (await put(objects, "k", data, size=size)).size == size
    assert await get(objects, "k") == data


async def test_object_is_read_in_pieces(objects: Objects) -> None:
    await put(objects, "k", DATA)
    sizes = [len(chunk) async for chunk in objects.read("k")]
    assert len(sizes) > 1
    assert max(sizes) <= 2 * CHUNK_BYTES


@pytest.mark.parametrize("start", [0, 1, CHUNK_BYTES + 5, len(DATA) - 1, len(DATA)])
@pytest.mark.parametrize("length", [None, 0, 1, CHUNK_BYTES + 1, 10 * len(DATA)])
async def test_part_of_an_object_is_read(objects: Objects, start: int, length: int | None) -> None:
    await put(objects, "k", DATA)
    assert await get(objects, "k", start, length) == (DATA[start:] if length is None else DATA[start : start + length])


async def test_reading_beyond_the_end_is_refused(objects: Objects) -> None:
    await put(objects, "k", b"abc")
    with pytest.raises(InvalidRequestError, match="3 bytes"):
        await get(objects, "k", 4)


async def test_reading_what_is_not_there_says_so(objects: Objects) -> None:
    assert await objects.find("a/b") is None
    with pytest.raises(NotFoundError, match="a/b"):
        await get(objects, "a/b")
    await put(objects, "a/b/c", b"x")
    assert await objects.find("a/b") is None
    with pytest.raises(NotFoundError):
        await get(objects, "a/b")


async def test_another_version_than_asked_for_is_not_read(objects: Objects) -> None:
    old = await put(objects, "k", b"old")
    new = await put(objects, "k", b"new")
    assert old.etag != new.etag
    assert await get(objects, "k", etag=new.etag) == b"new"
    with pytest.raises(NotFoundError):
        await get(objects, "k", etag=old.etag)


async def test_second_write_replaces_the_first(objects: Objects) -> None:
    await put(objects, "k", DATA)
    await put(objects, "k", b"short")
    assert await get(objects, "k") == b"short"


@pytest.mark.parametrize("size", [len(DATA) - 1, len(DATA) + 1])
async def test_size_that_lies_leaves_what_was_there(objects: Objects, size: int) -> None:
    await put(objects, "k", b"before")
    with pytest.raises((InvalidRequestError, PayloadTooLargeError), match=str(size)):
        await put(objects, "k", DATA, size=size)
    assert await get(objects, "k") == b"before"
    with pytest.raises((InvalidRequestError, PayloadTooLargeError)):
        await put(objects, "other", DATA, size=size)
    assert await keys(objects) == ["k"]


async def test_size_may_be_bounded_only(objects: Objects) -> None:
    await put(objects, "k", DATA, max_bytes=len(DATA))
    with pytest.raises(PayloadTooLargeError, match=str(len(DATA) - 1)):
        await put(objects, "other", DATA, max_bytes=len(DATA) - 1)
    assert await keys(objects) == ["k"]


async def test_too_large_a_write_ends_at_once(objects: Objects) -> None:
    num_taken = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal num_taken
        while True:
            num_taken += 1
            yield bytes(65_536)

    with pytest.raises(PayloadTooLargeError):
        await objects.write("k", endless(), expect=Expected(max_bytes=1_000_000))
    assert num_taken == 1_000_000 // 65_536 + 1


async def test_sha256_is_checked(objects: Objects) -> None:
    digest = sha256(DATA).hexdigest()
    assert (await put(objects, "k", DATA, sha256=digest)).sha256 == digest
    with pytest.raises(InvalidRequestError, match="sha256"):
        await put(objects, "other", DATA[:-1] + b"!", sha256=digest)
    assert await keys(objects) == ["k"]


async def test_nothing_is_left_of_a_write_that_breaks_off(objects: Objects) -> None:
    with pytest.raises(ConnectionResetError):
        await objects.write("k", breaking(DATA), expect=Expected())
    assert await keys(objects) == []


async def test_nothing_is_left_of_a_write_that_is_cancelled(objects: Objects) -> None:
    began = asyncio.Event()

    async def hanging() -> AsyncIterator[bytes]:
        yield DATA
        began.set()
        await asyncio.Event().wait()

    writing = asyncio.create_task(objects.write("k", hanging(), expect=Expected()))
    await began.wait()
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    assert await keys(objects) == []


async def test_of_writes_of_one_key_at_once_one_is_seen_whole(objects: Objects) -> None:
    versions = [sample(CHUNK_BYTES + number, number) for number in range(6)]
    await asyncio.gather(*(put(objects, "k", data, size=len(data)) for data in versions))
    assert await get(objects, "k") in versions


async def test_writes_show_only_when_they_are_complete(objects: Objects) -> None:
    seen: list[int] = []

    async def watched() -> AsyncIterator[bytes]:
        async for piece in pieces(DATA):
            seen.append(len(await keys(objects)))
            yield piece

    await objects.write("k", watched(), expect=Expected(size=len(DATA)))
    assert set(seen) == {0}
    assert await keys(objects) == ["k"]


async def test_list_is_of_a_whole_folder_and_no_other(objects: Objects) -> None:
    for key in ("a/1", "a/b/2", "a/b/c/3", "ab/4", "a-b/5", "6"):
        await put(objects, key, key.encode())
    assert await keys(objects) == sorted(["a/1", "a/b/2", "a/b/c/3", "ab/4", "a-b/5", "6"])
    assert await keys(objects, "a") == await keys(objects, "a/") == ["a/1", "a/b/2", "a/b/c/3"]
    assert await keys(objects, "a/b/c") == ["a/b/c/3"]
    assert await keys(objects, "a/1") == await keys(objects, "none") == []
    assert [info.size async for info in objects.list("ab")] == [4]


async def test_deleted_object_is_gone(objects: Objects) -> None:
    await put(objects, "a/b/c", b"x")
    await put(objects, "a/d", b"y")
    await objects.delete("a/b/c")
    assert await keys(objects) == ["a/d"]
    await objects.delete("a/b/c")
    await objects.delete("a")
    assert await keys(objects) == ["a/d"]
    await put(objects, "a/b", b"now an object")
    assert await keys(objects) == ["a/b", "a/d"]


async def test_deleted_folder_is_gone_and_no_other(objects: Objects) -> None:
    for key in ("a/1", "a/b/2", "ab/3", "4"):
        await put(objects, key, b"x")
    await objects.delete_prefix("a")
    assert await keys(objects) == ["4", "ab/3"]
    await objects.delete_prefix("a")
    await objects.delete_prefix("4")
    assert await keys(objects) == ["4", "ab/3"]
    with pytest.raises(InvalidRequestError):
        await objects.delete_prefix("")
    assert await keys(objects) == ["4", "ab/3"]


async def test_copy_is_an_object_of_its_own(objects: Objects) -> None:
    await put(objects, "a/source", DATA)
    assert (await objects.copy("a/source", "b/target")).size == len(DATA)
    await put(objects, "a/source", b"new")
    assert await get(objects, "b/target") == DATA
    with pytest.raises(NotFoundError):
        await objects.copy("none", "b/target")
    assert await get(objects, "b/target") == DATA


async def test_moved_object_has_the_other_key_only(objects: Objects) -> None:
    await put(objects, "a/source", DATA)
    await put(objects, "b/target", b"before")
    assert (await objects.move("a/source", "b/target")).key == "b/target"
    assert await keys(objects) == ["b/target"]
    assert await get(objects, "b/target") == DATA
    for source in ("a/source", "b"):
        with pytest.raises(NotFoundError):
            await objects.move(source, "c")
    assert await keys(objects) == ["b/target"]


async def test_parts_are_composed_in_their_order(objects: Objects) -> None:
    parts = [sample(size, size) for size in (CHUNK_BYTES + 1, 0, 7, 2 * CHUNK_BYTES)]
    for number, part in enumerate(parts):
        await put(objects, f"parts/{number}", part)
    composed = await objects.compose("whole", [f"parts/{number}" for number in range(4)])
    assert composed.size == sum(map(len, parts))
    assert await get(objects, "whole") == b"".join(parts)
    assert len(await keys(objects, "parts")) == 4
    with pytest.raises(NotFoundError):
        await objects.compose("whole", ["parts/0", "none"])
    assert await get(objects, "whole") == b"".join(parts)


@pytest.mark.parametrize("key", HOSTILE)
async def test_what_is_no_key_is_refused(objects: Objects, key: str) -> None:
    await put(objects, "a", b"x")
    with pytest.raises(InvalidRequestError):
        await put(objects, key, b"x")
    with pytest.raises(InvalidRequestError):
        await get(objects, key)
    for call in (objects.find, objects.delete, objects.local_path):
        with pytest.raises(InvalidRequestError):
            await call(key)
    for method in (objects.copy, objects.move):
        with pytest.raises(InvalidRequestError):
            await method(key, "b")
        with pytest.raises(InvalidRequestError):
            await method("a", key)
    with pytest.raises(InvalidRequestError):
        await objects.compose("b", ["a", key])
    assert await keys(objects) == ["a"]


@pytest.mark.parametrize("prefix", [key for key in HOSTILE if key not in {"", "a/"}])
async def test_what_is_no_prefix_is_refused(objects: Objects, prefix: str) -> None:
    with pytest.raises(InvalidRequestError):
        await keys(objects, prefix)
    with pytest.raises(InvalidRequestError):
        await objects.delete_prefix(prefix)


async def test_nothing_is_swept_that_is_an_object(objects: Objects) -> None:
    await put(objects, "k", DATA)
    assert await objects.sweep(timedelta(0)) == 0
    assert await get(objects, "k") == DATA
