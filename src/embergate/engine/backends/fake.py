"""A backend without weights: each token's state depends on its id alone. For tests of everything above a backend."""

from __future__ import annotations

import threading

import numpy as np
from numpy.typing import NDArray

from embergate.engine.loading.spec import Precision


class FakeBackend:
    """Deterministic token states; `gate` holds forward passes back until it is set."""

    def __init__(self, hidden_size: int = 8) -> None:
        """Make a backend of `hidden_size` with an open gate."""
        self.precision = Precision.F32
        self.computes_in = "f32"
        self.weights_bytes = 0
        self.hidden_size = hidden_size
        self.gate = threading.Event()
        self.gate.set()
        self.shapes: list[tuple[int, int]] = []

    def forward(
        self,
        input_ids: NDArray[np.int32],
        lengths: NDArray[np.int32],
        second_starts: NDArray[np.int32] | None = None,  # noqa: ARG002
    ) -> NDArray[np.float32]:
        """Return sin(id * (h + 1)) for every token; padding holds NaN, so that reading it cannot go unseen."""
        self.gate.wait()
        self.shapes.append((input_ids.shape[0], input_ids.shape[1]))
        frequencies = np.arange(1, self.hidden_size + 1, dtype=np.float32)
        states: NDArray[np.float32] = np.sin(input_ids[:, :, None].astype(np.float32) * frequencies)
        padding = np.arange(input_ids.shape[1]) >= lengths[:, None]
        states[padding] = np.nan
        return states

    def close(self) -> None:
        """Do nothing: there is nothing to free."""
