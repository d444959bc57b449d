"""Rounding of linear weights to int8: symmetric, one scale an output channel."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def quantize_per_channel(weight: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Return int8 values and scales with `values * scales` as near to `weight` as rounding allows.

    Shapes: (out, in) -> (out, in), (out, 1).
    """
    largest = np.abs(weight).max(axis=1, keepdims=True)
    # A channel of zeros keeps scale 1: 0 / 0 would make it NaN.
    scales = np.where(largest > 0, largest / np.float32(127), np.float32(1)).astype(np.float32)
    values = np.rint(weight / scales).astype(np.int8)
    return values, scales
