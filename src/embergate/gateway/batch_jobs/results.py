"""What a chunk has come to: the lines of its answers and of its errors, each an object of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass
from typing import Any, Self

import orjson

from embergate.errors import EmbergateError
from embergate.gateway.batch_jobs.rows import Row
from embergate.storage.objects.protocol import Expected, Objects
from embergate.web.bulk import BulkAnswer

# What was answered, in the order of the rows.
Answered = Sequence[tuple[Row, BulkAnswer]]


@dataclass(frozen=True, slots=True)
class Kept:
    """Where the answers of a chunk are; of vectors also which row each is of, and their length."""

    answers_key: str = ""
    ids_key: str = ""
    dimensions: int = 0


@dataclass(frozen=True, slots=True)
class Results:
    """JSON in the chunk's result. A key is empty where nothing was written; tokens are those that were run."""

    answers_key: str
    errors_key: str
    num_succeeded: int
    num_failed: int
    num_inputs: int
    num_tokens: int
    ids_key: str = ""
    dimensions: int = 0

    @classmethod
    def of(cls, payload: Any) -> Self:
        """Read it."""
        return cls(**payload)

    def payload(self) -> dict[str, Any]:
        """Write it."""
        return asdict(self)


async def write_results(
    objects: Objects,
    name: str,
    rows: Sequence[Row],
    answers: Sequence[BulkAnswer],
    keep: Callable[[Objects, str, Answered], Awaitable[Kept]],
) -> Results:
    """Write what came of rows under keys that begin with `name`, what was answered by `keep`. Raises: UnavailableError."""
    good = [(row, answer) for row, answer in zip(rows, answers, strict=True) if answer.error is None]
    bad = [(row, answer.error) for row, answer in zip(rows, answers, strict=True) if answer.error is not None]
    kept = await keep(objects, name, good)
    errors = b"".join(error_line(row, error) for row, error in bad)
    return Results(
        answers_key=kept.answers_key,
        errors_key=await write_part(objects, f"{name}-errors", errors),
        num_succeeded=len(good),
        num_failed=len(bad),
        num_inputs=sum(answer.num_inputs for _, answer in good),
        num_tokens=sum(answer.num_tokens for _, answer in good),
        ids_key=kept.ids_key,
        dimensions=kept.dimensions,
    )


async def keep_lines(objects: Objects, name: str, answered: Answered) -> Kept:
    """Write a line for each answer. Raises: UnavailableError."""
    lines = await asyncio.to_thread(lambda: b"".join(answer_line(row, answer) for row, answer in answered))
    return Kept(await write_part(objects, f"{name}-answers", lines))


async def write_part(objects: Objects, key: str, content: bytes) -> str:
    """Write what a chunk has come to; return its key, empty if there is nothing. Raises: UnavailableError."""
    if not content:
        return ""
    await objects.write(key, pieces_of(content), expect=Expected(size=len(content)))
    return key


async def read_part(objects: Objects, key: str) -> bytes:
    """Return what was written. Raises: NotFoundError; UnavailableError."""
    async with aclosing(objects.read(key)) as pieces:
        return b"".join([piece async for piece in pieces])


async def compose_parts(objects: Objects, key: str, parts: Sequence[str]) -> int:
    """Write parts, of which there may be none, one behind the other; return the size. Raises: UnavailableError."""
    if parts:
        return (await objects.compose(key, parts)).size
    return (await objects.write(key, pieces_of(b""), expect=Expected(size=0))).size


async def pieces_of(content: bytes) -> AsyncIterator[bytes]:
    """Yield the bytes in one piece."""
    yield content


def answer_line(row: Row, answer: BulkAnswer) -> bytes:
    """Return the line of a row that was answered. NOTE: `openai/lines.py` finds its parts again by these very bytes."""
    return b'{"custom_id":' + orjson.dumps(row.custom_id) + b',"response":' + answer.response + b"}\n"


def error_line(row: Row, error: EmbergateError) -> bytes:
    """Return the line of a row that cannot be answered."""
    said = {"message": error.message, "param": error.param, "code": error.code, "type": "error"}
    return orjson.dumps({"custom_id": row.custom_id, "error": said}) + b"\n"
