"""Bytes that blocking code writes of parts that are fetched meanwhile: in order, never far ahead, and to an end in any case."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import aclosing
from typing import IO

import pytest

from embergate.storage.objects.protocol import CHUNK_BYTES
from embergate.storage.objects.threaded import written_in_thread

PART_BYTES = 1 << 20
DEADLINE_S = 30.0


class Parts:
    """Parts of a MiB each, which are counted as they are fetched."""

    def __init__(self, *, broken_at: int | None = None) -> None:
        self.num_fetched = 0
        self._broken_at = broken_at

    async def fetch(self, number: int) -> bytes:
        await asyncio.sleep(0)
        if number == self._broken_at:
            raise LookupError(f"part {number} is away")
        self.num_fetched += 1
        return bytes([number]) * PART_BYTES


def copy(parts: Iterator[bytes], stream: IO[bytes]) -> None:
    for part in parts:
        stream.write(part)


def writers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("object-writer")]


async def wait_for_writers() -> None:
    for thread in writers():
        await asyncio.to_thread(thread.join, DEADLINE_S)
    assert writers() == []


async def test_all_is_written_in_order_and_only_a_few_parts_are_ever_ahead() -> None:
    parts, content, ahead = Parts(), b"", []
    async with aclosing(written_in_thread(range(20), parts.fetch, copy)) as pieces:
        async for piece in pieces:
            content += piece
            ahead.append(parts.num_fetched * PART_BYTES - len(content))
    assert content == b"".join(bytes([number]) * PART_BYTES for number in range(20))
    assert max(ahead) <= 3 * PART_BYTES + CHUNK_BYTES
    await wait_for_writers()


async def test_what_cannot_be_fetched_is_raised_as_it_is() -> None:
    def convert(parts: Iterator[bytes], stream: IO[bytes]) -> None:
        try:
            copy(parts, stream)
        except Exception as error:  # as a library in another language does
            raise RuntimeError("external error") from error

    async with aclosing(written_in_thread(range(20), Parts(broken_at=7).fetch, convert)) as pieces:
        with pytest.raises(LookupError, match="part 7 is away"):
            async for _ in pieces:
                pass
    await wait_for_writers()


async def test_what_the_writer_raises_is_raised() -> None:
    def refuse(parts: Iterator[bytes], stream: IO[bytes]) -> None:
        stream.write(next(parts))
        raise ValueError("no such format")

    async with aclosing(written_in_thread(range(3), Parts().fetch, refuse)) as pieces:
        with pytest.raises(ValueError, match="no such format"):
            async for _ in pieces:
                pass
    await wait_for_writers()


async def test_thread_ends_when_nobody_reads_any_more() -> None:
    parts = Parts()
    async with aclosing(written_in_thread(range(200), parts.fetch, copy)) as pieces:
        assert await anext(pieces)
    assert parts.num_fetched < 10
    await wait_for_writers()


async def test_thread_ends_when_the_reader_is_cancelled() -> None:
    parts, has_begun = Parts(), asyncio.Event()

    async def read() -> None:
        async with aclosing(written_in_thread(range(200), parts.fetch, copy)) as pieces:
            await anext(pieces)
            has_begun.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(read())
    await has_begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert parts.num_fetched < 10
    await wait_for_writers()
