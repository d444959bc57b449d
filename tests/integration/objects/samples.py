"""Bytes to write, and short ways to write and read them."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator

from embergate.storage.objects.protocol import Expected, ObjectInfo, Objects


def sample(num_bytes: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(num_bytes)


async def pieces(data: bytes, size: int = 65_536) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def breaking(data: bytes) -> AsyncIterator[bytes]:
    """Yield the data, and then break off as a client does that is gone."""
    async for piece in pieces(data):
        yield piece
    raise ConnectionResetError("the other side is gone")


async def put(objects: Objects, key: str, data: bytes, **expected: int | str) -> ObjectInfo:
    return await objects.write(key, pieces(data), expect=Expected(**expected))  # type: ignore[arg-type]


async def get(
    objects: Objects, key: str, start: int = 0, length: int | None = None, *, etag: str | None = None
) -> bytes:
    return b"".join([chunk async for chunk in objects.read(key, start, length, etag=etag)])


async def keys(objects: Objects, prefix: str = "") -> list[str]:
    return sorted([info.key async for info in objects.list(prefix)])
