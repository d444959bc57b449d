"""Uploads that break off and go on."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import timedelta
from hashlib import sha256
from pathlib import Path

import pytest

from embergate.errors import (
    InvalidRequestError,
    OverloadedError,
    PayloadTooLargeError,
    RangeNotSatisfiableError,
    UnavailableError,
)
from embergate.storage.objects.local import LocalObjects
from embergate.storage.objects.protocol import CHUNK_BYTES
from embergate.storage.objects.resumable import Upload
from tests.integration.objects.samples import breaking, get, keys, pieces, sample
from tests.integration.objects.test_local import age, largest_file, left_in

DATA = sample(3 * CHUNK_BYTES + 5)
HALF = 2 * CHUNK_BYTES - 77
UPLOAD = Upload("a/k", len(DATA), "u1", sha256(DATA).hexdigest())
UNCHECKED = Upload("a/k", len(DATA), "u1")


async def append(store: LocalObjects, data: bytes, start: int = 0, upload: Upload = UPLOAD) -> int:
    """Send a piece; return how many bytes are held then."""
    progress = await store.uploads.append(upload, start, pieces(data))
    assert (progress.info is not None) == (progress.num_bytes == upload.size)
    return progress.num_bytes


async def held(store: LocalObjects, upload: Upload = UPLOAD) -> int:
    return (await store.uploads.progress(upload)).num_bytes


async def test_pieces_become_the_object(local: LocalObjects) -> None:
    assert await held(local) == 0
    assert await append(local, DATA[:HALF]) == HALF
    assert await keys(local) == []
    assert await held(local) == HALF
    done = await local.uploads.append(UPLOAD, HALF, pieces(DATA[HALF:]))
    assert done.info is not None
    assert (done.info.size, done.info.sha256) == (len(DATA), UPLOAD.sha256)
    assert await get(local, "a/k") == DATA


async def test_upload_goes_on_in_another_process(local: LocalObjects, tmp_path: Path) -> None:
    with pytest.raises(ConnectionResetError):
        await local.uploads.append(UPLOAD, 0, breaking(DATA[:HALF]))
    await local.close()
    other = LocalObjects(tmp_path / "objects")
    assert await held(other) == HALF  # everything that came, though the client was cut off
    assert await append(other, DATA[HALF:], HALF) == len(DATA)
    assert await get(other, "a/k") == DATA
    await other.close()


async def test_piece_that_was_sent_twice_counts_once(local: LocalObjects) -> None:
    await append(local, DATA[:HALF])
    assert await append(local, DATA[100:HALF], 100) == HALF
    assert await append(local, DATA[HALF - 9 :], HALF - 9) == len(DATA)
    assert await get(local, "a/k") == DATA


async def test_upload_that_begins_again_is_of_the_new_bytes_only(local: LocalObjects) -> None:
    await append(local, sample(HALF, seed=9), upload=UNCHECKED)
    assert await append(local, DATA[:100], upload=UNCHECKED) == 100
    assert await append(local, DATA[100:], 100, upload=UNCHECKED) == len(DATA)
    assert await get(local, "a/k") == DATA


async def test_gap_is_refused(local: LocalObjects, tmp_path: Path) -> None:
    with pytest.raises(RangeNotSatisfiableError, match="holds 0 bytes"):
        await append(local, DATA[5:], 5)
    assert left_in(local, tmp_path) == []
    await append(local, DATA[:HALF])
    with pytest.raises(RangeNotSatisfiableError, match=f"holds {HALF} bytes"):
        await append(local, DATA[HALF + 1 :], HALF + 1)
    assert await held(local) == HALF


async def test_more_than_announced_is_refused(local: LocalObjects) -> None:
    with pytest.raises(PayloadTooLargeError):
        await append(local, DATA + b"!")
    assert await keys(local) == []


async def test_last_piece_may_be_sent_again_once_the_upload_is_done(local: LocalObjects) -> None:
    await append(local, DATA[:HALF])
    await append(local, DATA[HALF:], HALF)
    assert await held(local) == len(DATA)
    assert await append(local, DATA[HALF:], HALF) == len(DATA)
    assert await append(local, DATA) == len(DATA)
    assert await get(local, "a/k") == DATA


async def test_done_upload_counts_for_nothing_once_its_object_is_another(local: LocalObjects) -> None:
    await append(local, DATA)
    await local.delete("a/k")
    assert await held(local) == 0


async def test_wrong_sha256_drops_the_upload(local: LocalObjects, tmp_path: Path) -> None:
    await append(local, DATA[:HALF])
    with pytest.raises(InvalidRequestError, match="sha256"):
        await append(local, bytes(len(DATA) - HALF), HALF)
    assert await keys(local) == left_in(local, tmp_path) == []
    assert await append(local, DATA) == len(DATA)


async def test_uploads_of_one_key_do_not_mix(local: LocalObjects) -> None:
    first, second = (Upload("k", len(DATA), id_) for id_ in ("u1", "u2"))
    other = sample(len(DATA), seed=1)
    await append(local, DATA[:HALF], upload=first)
    await append(local, other[:100], upload=second)
    assert await append(local, DATA[HALF:], HALF, upload=first) == len(DATA)
    assert await get(local, "k") == DATA
    assert await held(local, second) == 100
    assert await append(local, other[100:], 100, upload=second) == len(DATA)
    assert await get(local, "k") == other


async def test_two_requests_do_not_write_to_one_upload_at_once(local: LocalObjects, tmp_path: Path) -> None:
    began, go_on = asyncio.Event(), asyncio.Event()

    async def waiting() -> AsyncIterator[bytes]:
        yield DATA[: CHUNK_BYTES + 1]
        began.set()
        await go_on.wait()
        yield DATA[CHUNK_BYTES + 1 :]

    sending = asyncio.create_task(local.uploads.append(UPLOAD, 0, waiting()))
    await began.wait()
    other = LocalObjects(tmp_path / "objects")  # as of another process
    for store in (local, other):
        with pytest.raises(OverloadedError, match="another request"):
            await append(store, DATA)
    await other.close()
    assert await held(local) <= CHUNK_BYTES + 1
    go_on.set()
    assert (await sending).info is not None
    assert await get(local, "a/k") == DATA


async def test_full_disk_keeps_what_fits(local: LocalObjects) -> None:
    with largest_file(HALF), pytest.raises(UnavailableError):
        await append(local, DATA)
    assert await held(local) == HALF
    assert await append(local, DATA[HALF:], HALF) == len(DATA)
    assert await get(local, "a/k") == DATA


async def test_upload_whose_bytes_are_all_there_is_completed_when_asked_for(
    local: LocalObjects, tmp_path: Path
) -> None:
    await append(local, DATA[:-1])
    (name,) = left_in(local, tmp_path)
    path = tmp_path / "objects" / ".work" / name
    path.write_bytes(DATA)  # as if the process had been killed before the last step
    progress = await local.uploads.progress(UPLOAD)
    assert progress.info is not None
    assert await get(local, "a/k") == DATA


async def test_empty_object_is_uploaded(local: LocalObjects) -> None:
    upload = Upload("empty", 0, "u")
    assert await append(local, b"", upload=upload) == 0
    assert await get(local, "empty") == b""
    assert await held(local, upload) == 0


async def test_forgotten_upload_is_swept_and_one_under_way_is_not(local: LocalObjects, tmp_path: Path) -> None:
    await append(local, DATA[:HALF])
    (name,) = left_in(local, tmp_path)
    path = tmp_path / "objects" / ".work" / name
    began, go_on = asyncio.Event(), asyncio.Event()

    async def waiting() -> AsyncIterator[bytes]:
        began.set()
        await go_on.wait()
        yield b"x"

    sending = asyncio.create_task(local.uploads.append(UPLOAD, HALF, waiting()))
    await began.wait()
    age(path, timedelta(days=2))
    assert await local.sweep(timedelta(days=1)) == 0
    go_on.set()
    await sending
    age(path, timedelta(days=2))
    assert await local.sweep(timedelta(days=1)) == 1
    assert await held(local) == 0


@pytest.mark.parametrize("seed", range(10))
async def test_any_order_of_pieces_and_breaks_ends_with_the_object(local: LocalObjects, seed: int) -> None:
    rng = random.Random(seed)
    while (at := await held(local)) < len(DATA):
        start = rng.randint(0, at)
        end = rng.choice([rng.randint(start, len(DATA)), len(DATA)])
        chunks = breaking(DATA[start:end]) if rng.random() < 0.5 else pieces(DATA[start:end])
        with suppress(ConnectionResetError):
            await local.uploads.append(UPLOAD, start, chunks)
    assert await get(local, "a/k") == DATA
