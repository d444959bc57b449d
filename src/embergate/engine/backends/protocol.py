"""The seam between the engine and whatever computes: padded token ids in, token states out."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from embergate.engine.loading.spec import Precision


@dataclass(frozen=True, slots=True)
class ComputeOptions:
    """How much of the machine a backend may use.

    `num_streams` forward passes run side by side, each on `num_threads // num_streams` threads: one stream answers a
    single query soonest, as many streams as threads give the most tokens a second.
    """

    num_threads: int = 0
    num_streams: int = 1

    def resolved_threads(self) -> int:
        """Return the number of threads, all cores this process may use where it is 0."""
        return self.num_threads or len(os.sched_getaffinity(0))


class Backend(Protocol):
    """A loaded network. `forward` may be called from `num_streams` threads at once."""

    @property
    def precision(self) -> Precision:
        """The precision served, never AUTO."""
        ...

    @property
    def computes_in(self) -> str:
        """What the matrix products really run in on this machine, for instance `f32` for bf16 weights on an old CPU."""
        ...

    @property
    def weights_bytes(self) -> int:
        """The size of the network's weights in the types that they are served in."""
        ...

    def forward(
        self, input_ids: NDArray[np.int32], lengths: NDArray[np.int32], second_starts: NDArray[np.int32] | None = None
    ) -> NDArray[np.float32]:
        """Return the token states of one padded batch.

        `second_starts` says where the second text of each row begins, to networks that tell two texts apart.
        Shapes: input_ids (B, S), lengths (B,), second_starts (B,) -> (B, S, H). What stands at padded positions is undefined.
        The result may be a view that the same thread's next call overwrites.
        """
        ...

    def close(self) -> None:
        """Free the network. No `forward` may follow."""
        ...
