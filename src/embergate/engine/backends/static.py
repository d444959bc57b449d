"""The backend of static models: a lookup. Precision is the table's own, as there is nothing to compute."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from embergate.engine.architectures.static import StaticTable
from embergate.engine.loading.spec import Precision


class StaticBackend:
    """Token rows as token states."""

    def __init__(self, table: StaticTable) -> None:
        """Serve `table`."""
        self.precision = Precision.F32
        self.computes_in = "f32"
        self.weights_bytes = table.table.array.nbytes
        self._table = table

    def forward(
        self,
        input_ids: NDArray[np.int32],
        lengths: NDArray[np.int32],  # noqa: ARG002
        second_starts: NDArray[np.int32] | None = None,  # noqa: ARG002
    ) -> NDArray[np.float32]:
        """Look up one padded batch; see `Backend.forward`."""
        return self._table.rows(input_ids)

    def close(self) -> None:
        """Do nothing: the table is a mapped file."""
