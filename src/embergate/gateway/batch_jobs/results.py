"""What a chunk has come to: the lines of its answers and of its errors, each an object of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import orjson

from embergate.errors import EmbergateError
from embergate.gateway.batch_jobs.rows import Row
from embergate.storage.objects.protocol import Expected, Objects
from embergate.web.bulk import BulkAnswer


@dataclass(frozen=True, slots=True)
class Results:
    """JSON in the chunk's result. A key is empty where nothing was written; tokens are those that were run."""

    answers_key: str
    errors_key: str
    num_succeeded: int
    num_failed: int
    num_inputs: int
    num_tokens: int

    @classmethod
    def of(cls, payload: Any) -> Self:
        """Read it."""
        return cls(**payload)

    def payload(self) -> dict[str, Any]:
        """Write it."""
        return asdict(self)


async def write_results(objects: Objects, name: str, rows: Sequence[Row], answers: Sequence[BulkAnswer]) -> Results:
    """Write what came of rows under keys that begin with `name`. Raises: UnavailableError."""
    good = [(row, answer) for row, answer in zip(rows, answers, strict=True) if answer.error is None]
    bad = [(row, answer.error) for row, answer in zip(rows, answers, strict=True) if answer.error is not None]
    lines = await asyncio.to_thread(lambda: b"".join(answer_line(row, answer) for row, answer in good))
    errors = b"".join(error_line(row, error) for row, error in bad)
    return Results(
        answers_key=await _write(objects, f"{name}-answers", lines),
        errors_key=await _write(objects, f"{name}-errors", errors),
        num_succeeded=len(good),
        num_failed=len(bad),
        num_inputs=sum(answer.num_inputs for _, answer in good),
        num_tokens=sum(answer.num_tokens for _, answer in good),
    )


async def _write(objects: Objects, key: str, content: bytes) -> str:
    if not content:
        return ""
    await objects.write(key, pieces_of(content), expect=Expected(size=len(content)))
    return key


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
