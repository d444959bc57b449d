"""Random weights that are the same on every machine, and the safetensors files that hold them.

Uniform numbers from numpy's frozen legacy generator: unlike normal ones they pass through no library's `log`, so a
golden vector written on one machine is right on the next.
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor of a checkpoint: numbers around `mean` with standard deviation `std`."""

    name: str
    shape: tuple[int, ...]
    std: float
    mean: float = 0.0


def matrix(name: str, outputs: int, inputs: int, gain: float = 1.0) -> Tensor:
    """A product's weight, scaled so that inputs of unit variance give outputs of variance `gain` squared."""
    return Tensor(name, (outputs, inputs), gain / math.sqrt(inputs))


def linear(name: str, outputs: int, inputs: int, *, bias: bool = True, gain: float = 1.0) -> list[Tensor]:
    """`name`.weight and, if asked for, `name`.bias."""
    weight = matrix(f"{name}.weight", outputs, inputs, gain)
    return [weight, Tensor(f"{name}.bias", (outputs,), 0.2)] if bias else [weight]


def norm(name: str, size: int, *, bias: bool = True) -> list[Tensor]:
    """`name`.weight around 1 and, if asked for, `name`.bias around 0."""
    weight = Tensor(f"{name}.weight", (size,), 0.2, 1.0)
    return [weight, Tensor(f"{name}.bias", (size,), 0.2)] if bias else [weight]


def embedding(name: str, rows: int, size: int, std: float = 1.0) -> Tensor:
    """`name`.weight, a table of `rows` vectors."""
    return Tensor(f"{name}.weight", (rows, size), std)


def draw(tensor: Tensor, *, case: str, seed: int) -> Array:
    """The tensor's numbers, float32: they depend on the names and the seed only, not on the other tensors."""
    digest = hashlib.sha256(f"{seed}/{case}/{tensor.name}".encode()).digest()
    generator = np.random.RandomState(int.from_bytes(digest[:4], "big"))
    uniform = generator.random_sample(tensor.shape) * 2.0 - 1.0
    return (tensor.mean + tensor.std * math.sqrt(3.0) * uniform).astype(np.float32)


def digest_of(tensors: Mapping[str, Array]) -> str:
    """A short fingerprint of all the numbers, to tell other weights from a wrong engine."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(tensors[name]).tobytes())
    return digest.hexdigest()[:16]


def _encode(array: Array, dtype: str) -> tuple[str, bytes]:
    if array.dtype == np.int64:
        return "I64", array.tobytes()
    if dtype == "F16":
        return dtype, array.astype(np.float16).tobytes()
    if dtype == "BF16":  # numpy has no bfloat16: round half up to the upper 16 bits of the float32
        bits = np.ascontiguousarray(array).view(np.uint32)
        return dtype, ((bits + np.uint32(0x8000)) >> np.uint32(16)).astype(np.uint16).tobytes()
    return "F32", array.tobytes()


def write_safetensors(path: Path, tensors: Mapping[str, Array], dtype: str = "F32") -> None:
    """Write `tensors` as one file; floating-point ones are stored as `dtype`.

    Source: https://github.com/huggingface/safetensors/blob/v0.8.0/README.md#format
    """
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    blobs: list[bytes] = []
    offset = 0
    for name, array in tensors.items():
        kind, blob = _encode(array, dtype)
        header[name] = {"dtype": kind, "shape": list(array.shape), "data_offsets": [offset, offset + len(blob)]}
        blobs.append(blob)
        offset += len(blob)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(blobs))


def write_sharded(folder: Path, tensors: Mapping[str, Array], dtype: str, num_files: int) -> None:
    """Write `tensors` over several files with an index, as models above 5 GB are published."""
    names: Sequence[str] = list(tensors)
    weight_map: dict[str, str] = {}
    for number in range(num_files):
        file = f"model-{number + 1:05d}-of-{num_files:05d}.safetensors"
        part = {name: tensors[name] for name in names[number::num_files]}
        write_safetensors(folder / file, part, dtype)
        weight_map |= dict.fromkeys(part, file)
    total = sum(array.nbytes for array in tensors.values())
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2))
