"""Vectors to JSON: float lists straight from numpy, or base64 of little-endian float32."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
from numpy.typing import NDArray


def encode_vectors(vectors: NDArray[np.float32], encoding_format: str) -> list[dict[str, Any]]:
    """Return the `data` list of an embeddings answer; orjson serialises the arrays in it.

    Shapes: vectors (n, D), C-contiguous float32.
    """
    if encoding_format == "base64":
        rows = vectors.astype("<f4", copy=False)
        return [_item(index, base64.b64encode(row.tobytes()).decode("ascii")) for index, row in enumerate(rows)]
    return [_item(index, row) for index, row in enumerate(vectors)]


def _item(index: int, embedding: object) -> dict[str, Any]:
    return {"object": "embedding", "index": index, "embedding": embedding}
