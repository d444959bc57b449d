"""A batch job's answers as vectors: what its rows must be, and what a chunk of them is kept as.

A row with several inputs gives as many vectors, one behind the other, told apart by `index`.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray

from embergate.errors import InvalidRequestError
from embergate.gateway.batch_jobs.results import Answered, Kept, write_part
from embergate.gateway.batch_jobs.rows import CheckBody
from embergate.storage.objects.protocol import Objects

VECTOR_BYTES: Final = 4


class SameDimensions:
    """Checks bodies one after the other: all vectors of a file have one length."""

    def __init__(self, check: CheckBody) -> None:
        """Have seen none yet; `check` says what else a body must be."""
        self._check = check
        self._is_first = True
        self._asked: Any = None

    def __call__(self, body: Mapping[str, Any]) -> int:
        """Check a body, and return how many inputs it has. Raises: InvalidRequestError."""
        num_inputs = self._check(body)
        asked = body.get("dimensions")
        if self._is_first:
            self._is_first, self._asked = False, asked
        if asked != self._asked:
            raise InvalidRequestError(
                f"dimensions: {_said(asked)}, and rows before have {_said(self._asked)}; all vectors of a file have one "
                "length: leave it out of the rows, and put it into inferenceParameters.extraBody",
                param="dimensions",
            )
        return num_inputs


def _said(dimensions: Any) -> str:
    return "the model's own" if dimensions is None else str(dimensions)


def asked_for_bytes(body: dict[str, Any]) -> dict[str, Any]:
    """Return the request that is answered with every bit of the vectors, whatever the row wants to see them as."""
    return {**body, "encoding_format": "base64"}


async def keep_vectors(objects: Objects, name: str, answered: Answered) -> Kept:
    """Write the vectors of a chunk, and which row and input each is of. Raises: UnavailableError."""
    if not answered:
        return Kept()
    content, ids, dimensions = await asyncio.to_thread(_vectors_and_ids, answered)
    return Kept(
        await write_part(objects, f"{name}-vectors", content), await write_part(objects, f"{name}-ids", ids), dimensions
    )


def _vectors_and_ids(answered: Answered) -> tuple[bytes, bytes, int]:
    vectors, ids = [], []
    for row, answer in answered:
        found = [base64.b64decode(one["embedding"]) for one in orjson.loads(answer.response)["data"]]
        vectors += found
        ids += [{"custom_id": row.custom_id, "index": index} for index in range(len(found))]
    return b"".join(vectors), b"".join(_lines(ids)), len(vectors[0]) // VECTOR_BYTES


def _lines(rows: Sequence[Any]) -> Iterator[bytes]:
    return (orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in rows)


def read_vectors(content: bytes, dimensions: int) -> NDArray[np.float32]:
    """Return the vectors of a chunk. Shapes: (n, dimensions)."""
    return np.frombuffer(content, "<f4").reshape(-1, dimensions)
