"""Answers of strangers: no larger than a bound."""

from __future__ import annotations

import gzip
from collections.abc import AsyncIterator

import httpx2
import pytest

from embergate.gateway.sessions.bounded_http import MAX_BYTES, BoundedTransport

CHUNK = b"x" * 1024


def client_of(answer: httpx2.Response) -> httpx2.AsyncClient:
    async def respond(request: httpx2.Request) -> httpx2.Response:
        assert request.headers["accept-encoding"] == "identity"
        return answer

    return httpx2.AsyncClient(transport=BoundedTransport(httpx2.MockTransport(respond)))


async def test_answer_of_the_largest_size_passes_whole() -> None:
    largest = httpx2.Response(201, stream=httpx2.ByteStream(b"y" * MAX_BYTES), headers={"x-more": "z"})
    async with client_of(largest) as client:
        answer = await client.get("http://provider/")
    assert (answer.status_code, answer.headers["x-more"], len(answer.content)) == (201, "z", MAX_BYTES)


async def test_answer_is_broken_off_where_it_is_too_large_whatever_it_says_of_its_length() -> None:
    num_sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal num_sent
        while True:
            num_sent += len(CHUNK)
            yield CHUNK

    async with client_of(httpx2.Response(200, content=endless(), headers={"content-length": "5"})) as client:
        with pytest.raises(httpx2.ReadError):
            await client.get("http://provider/")
    assert num_sent == MAX_BYTES + len(CHUNK)


async def test_compressed_answer_is_refused() -> None:
    bomb = httpx2.Response(200, stream=httpx2.ByteStream(gzip.compress(b"{}")), headers={"content-encoding": "gzip"})
    async with client_of(bomb) as client:
        with pytest.raises(httpx2.ReadError):
            await client.get("http://provider/")
