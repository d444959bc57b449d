"""Converted weights in a private file instead of on the heap, so that the system can have their memory back.

The runtime keeps the weights that it was given beside its own packed copy, and hardly ever reads them again. Pages of a
file can be dropped and read once more; pages of the heap cannot.
"""

from __future__ import annotations

import mmap
import tempfile
import weakref
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

ALIGNMENT: Final = 64  # what the runtime's vector loads like


class Scratch:
    """A mapped temporary file without a name: it is gone when this object and all arrays over it are."""

    def __init__(self, capacity_bytes: int) -> None:
        """Make room for `capacity_bytes`; the file takes disk space only for what is kept in it."""
        self._end = 0
        self._map: mmap.mmap | None = None
        self._data: NDArray[np.uint8] = np.empty(0, np.uint8)
        try:
            self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - it stays open for `keep`
            weakref.finalize(self, self._file.close)
            self._file.truncate(max(capacity_bytes, 1))
            # NOTE: copy-on-write rather than read-only: runtimes that share the memory insist on a writable array.
            self._map = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_COPY)
        except OSError:  # a system without room for temporary files: everything stays on the heap
            return
        self._data = np.frombuffer(self._map, np.uint8)

    def keep(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return a copy of `values` in the file; `values` itself where the disk or the capacity does not hold it."""
        begin, end = self._end, self._end + values.nbytes
        if end > len(self._data):
            return values
        try:
            self._write(np.ascontiguousarray(values), begin)
        except OSError:  # a full disk costs memory, not the model
            return values
        self._end = -(-end // ALIGNMENT) * ALIGNMENT
        return self._data[begin:end].view(values.dtype).reshape(values.shape)

    def _write(self, values: NDArray[Any], begin: int) -> None:
        self._file.seek(begin)
        rest = values.reshape(-1).view(np.uint8).data
        while rest:
            rest = rest[self._file.write(rest) :]

    def release(self) -> None:
        """Give the pages back to the system; what is touched again is read from the file again."""
        if self._map is not None and hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED)
