"""A safetensors file, read defensively: every offset in the header is checked before a byte of data is touched.

The file is mapped, never read whole. A header that lies (sizes, overlaps, unknown types) is a `ModelError` naming the tensor.

Source: https://github.com/huggingface/safetensors#format (v0.8)
"""

from __future__ import annotations

import json
import mmap
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, Final, TypeGuard

import numpy as np
from numpy.typing import NDArray

from embergate.errors import ModelError

MAX_HEADER_BYTES: Final = 100_000_000
MAX_NUM_DIMENSIONS: Final = 8
# The largest published embedding models have some thousand.
MAX_TENSORS: Final = 100_000
# BF16 has no numpy type: its bit patterns travel as uint16.
STORAGE_TYPES: Final[dict[str, np.dtype[Any]]] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "I16": np.dtype("<i2"),
    "I8": np.dtype("i1"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("u1"),
}


@dataclass(frozen=True, slots=True)
class TensorEntry:
    """Where one tensor lies: its type, shape and byte range in the file."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


class SafetensorsFile:
    """One mapped safetensors file.

    Raises: ModelError if the file cannot be read, or its header is truncated, not JSON, or describes tensors that the
    file cannot hold.
    """

    def __init__(self, path: Path) -> None:
        """Check the header of `path` and map the data behind it."""
        self.path = path
        try:
            self._open()
        except OSError as error:
            raise self._broken(f"it cannot be read: {error.strerror}") from error
        self._data = np.frombuffer(self._map, np.uint8)

    def _open(self) -> None:
        size = self.path.stat().st_size
        with self.path.open("rb") as file:
            head = file.read(8)
            if len(head) < 8:
                raise self._broken(f"it has {size} bytes, too few for a header; fetch the file again")
            header_bytes = int.from_bytes(head, "little")
            if header_bytes > MAX_HEADER_BYTES or 8 + header_bytes > size:
                raise self._broken(
                    f"its header claims {header_bytes} bytes and the file has {size}; it is truncated or not "
                    "safetensors: fetch it again"
                )
            self.entries = self._read_entries(file.read(header_bytes), first=8 + header_bytes, size=size)
            # NOTE: copy-on-write rather than read-only: runtimes that share the memory insist on a writable array.
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)

    def release(self) -> None:
        """Give the pages read so far back to the system; what is touched again is read from the file again."""
        if hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED)

    def _broken(self, why: str) -> ModelError:
        return ModelError(f"{self.path.name}: {why}")

    def _read_entries(self, raw: bytes, *, first: int, size: int) -> dict[str, TensorEntry]:
        try:
            header = json.loads(raw, object_pairs_hook=self._without_repeats)
        except (ValueError, RecursionError) as error:
            raise self._broken(f"its header is not JSON ({error}); fetch the file again") from error
        if not isinstance(header, dict):
            raise self._broken("its header is not a JSON object; fetch the file again")
        header.pop("__metadata__", None)
        entries = {name: self._read_entry(name, entry, first=first, size=size) for name, entry in header.items()}
        position = first
        for name, entry in sorted(entries.items(), key=lambda pair: (pair[1].begin, pair[1].end)):
            if entry.begin < position:
                raise self._broken(f"tensor {name!r} overlaps the one before it; the file is corrupt")
            position = entry.end
        return entries

    def _without_repeats(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        """Refuse an object with a key twice: two readers of the file would see two different tensors."""
        if len(pairs) > MAX_TENSORS:
            raise self._broken(f"its header names more than {MAX_TENSORS} tensors, and no model has so many")
        values: dict[str, Any] = {}
        for name, value in pairs:
            if name in values:
                raise self._broken(f"its header has {name!r} twice; the file is corrupt")
            values[name] = value
        return values

    def _read_entry(self, name: str, entry: object, *, first: int, size: int) -> TensorEntry:
        if not isinstance(entry, dict):
            raise self._broken(f"tensor {name!r} has no description")
        dtype, shape, offsets = entry.get("dtype"), entry.get("shape"), entry.get("data_offsets")
        if not isinstance(dtype, str) or dtype not in STORAGE_TYPES:
            raise self._broken(f"tensor {name!r} has type {dtype!r}; supported: {', '.join(STORAGE_TYPES)}")
        if not _are_sizes(shape) or len(shape) > MAX_NUM_DIMENSIONS:
            raise self._broken(f"tensor {name!r} has shape {str(shape)[:100]}, which is not a list of sizes")
        if not _are_sizes(offsets) or len(offsets) != 2:
            raise self._broken(f"tensor {name!r} has data_offsets {str(offsets)[:100]}, expected [begin, end]")
        begin, end = first + offsets[0], first + offsets[1]
        if end > size or begin > end:
            raise self._broken(
                f"tensor {name!r} ends at byte {end} and the file has {size}; it is truncated: fetch it again"
            )
        need = prod(shape) * STORAGE_TYPES[dtype].itemsize
        if need != end - begin:
            raise self._broken(
                f"tensor {name!r} of shape {shape} and type {dtype} needs {need} bytes, has {end - begin}"
            )
        return TensorEntry(dtype, tuple(shape), begin, end)

    def array(self, name: str) -> NDArray[Any]:
        """Return the mapped data of tensor `name` in its storage type (BF16 as uint16 bit patterns)."""
        entry = self.entries[name]
        data = self._data[entry.begin : entry.end]
        storage = STORAGE_TYPES[entry.dtype]
        if entry.begin % storage.itemsize:  # an odd header length is legal but leaves the data unaligned
            return np.frombuffer(data.tobytes(), storage).reshape(entry.shape)
        return np.asarray(data).view(storage).reshape(entry.shape)


def _are_sizes(value: Any) -> TypeGuard[list[int]]:
    return isinstance(value, list) and all(type(item) is int and 0 <= item < 2**48 for item in value)
