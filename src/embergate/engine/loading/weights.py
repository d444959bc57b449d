"""A checkpoint's tensors by name: shards joined, prefixes stripped, shapes and values checked.

An architecture asks for every tensor it needs; what is missing or misshaped is collected, so that one error names all of it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from embergate.engine.loading.config_reader import read_json
from embergate.engine.loading.safetensors_file import MAX_TENSORS, SafetensorsFile
from embergate.errors import ModelError

MAX_NAMED_TENSORS: Final = 20
MAX_INDEX_BYTES: Final = 16 << 20  # 100,000 tensors need 9 MB
PICKLES: Final = ("pytorch_model.bin", "pytorch_model.bin.index.json", "model.bin", "pytorch_model.pt")
# No separators, no control characters, and within what file systems take.
SHARD_NAME: Final = re.compile(r"[^/\\\x00-\x1f]{1,200}\.safetensors")
# Checkpoints converted from TensorFlow still carry the old names of a LayerNorm's two vectors.
OLD_NAMES: Final = (("LayerNorm.weight", "LayerNorm.gamma"), ("LayerNorm.bias", "LayerNorm.beta"))


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor in its storage type; `dtype` tells BF16 (held as uint16 bit patterns) from U16."""

    array: NDArray[Any]
    dtype: str
    # Stands in for a tensor that is missing or does not fit, until every problem is known; takes no memory.
    is_placeholder: bool = False

    @classmethod
    def placeholder(cls, shape: Sequence[int]) -> Tensor:
        """Return zeros of `shape` that are one zero in memory."""
        return cls(np.broadcast_to(np.float32(0), tuple(shape)), "F32", is_placeholder=True)

    def float32(self) -> NDArray[np.float32]:
        """Return the values as float32; without a copy where they are stored so."""
        if self.dtype == "BF16":
            wide = self.array.astype(np.uint32)
            wide <<= 16
            return wide.view(np.float32)
        return self.array.astype(np.float32, copy=False)

    def rows(self, indices: NDArray[np.integer[Any]]) -> NDArray[np.float32]:
        """Look up rows of a table, as float32, freshly allocated. Shapes: (V, H) at (B, S) -> (B, S, H)."""
        return Tensor(self.array.take(indices, axis=0), self.dtype).float32()

    def is_finite(self) -> bool:
        """Tell whether no value is NaN or infinite, nor would be as float32."""
        flat = self.array.reshape(-1)
        for start in range(0, flat.size, 1 << 20):  # in slices: a mask of a whole embedding table would double it
            part = flat[start : start + (1 << 20)]
            if self.dtype == "BF16":
                if ((part & 0x7F80) == 0x7F80).any():
                    return False
            elif part.dtype.kind == "f":
                with np.errstate(over="ignore"):  # a float64 too large for float32 becomes infinite, which is found
                    if not np.isfinite(part.astype(np.float32, copy=False)).all():
                        return False
        return True


class Weights:
    """The tensors of one checkpoint folder.

    Raises: ModelError if there are no safetensors, a shard is missing, or two shards hold one name.
    """

    def __init__(self, folder: Path) -> None:
        """Map every safetensors file of `folder` that makes up the checkpoint."""
        self.folder = folder
        self.files: list[SafetensorsFile] = []
        self._homes: dict[str, SafetensorsFile] = {}
        for path in weight_paths(folder):
            file = SafetensorsFile(path)
            self.files.append(file)
            if len(self._homes) + len(file.entries) > MAX_TENSORS:
                raise ModelError(f"{path.name}: with it the shards name more than {MAX_TENSORS} tensors")
            for name in file.entries:
                if name in self._homes:
                    raise ModelError(f"{file.path.name}: tensor {name!r} is also in {self._homes[name].path.name}")
                self._homes[name] = file
        self._prefix = ""
        self._problems: list[str] = []

    def __contains__(self, name: str) -> bool:
        """Tell whether the checkpoint holds `name`, behind the prefix found."""
        return self._find(name) is not None

    def names(self) -> list[str]:
        """Return every name as the files spell it."""
        return sorted(self._homes)

    @property
    def num_values(self) -> int:
        """The number of values of all tensors."""
        return sum(prod(entry.shape) for file in self.files for entry in file.entries.values())

    def strip_prefix(self, anchor: str) -> None:
        """Find under which prefix (`bert.`, `model.`, none) this checkpoint keeps the tensor `anchor`.

        Raises: ModelError if no tensor's name ends with `anchor`.
        """
        matches = [name for name in self._homes if name == anchor or name.endswith("." + anchor)]
        if not matches:
            known = ", ".join(self.names()[:3])
            raise ModelError(
                f"the checkpoint in {self.folder.name} has no tensor named {anchor!r} (it begins with {known}); "
                "its weights do not belong to the architecture that config.json names"
            )
        self._prefix = min(matches, key=len)[: -len(anchor)]

    def get(self, name: str, shape: Sequence[int]) -> Tensor:
        """Return tensor `name`, or zeros of `shape` after noting what is wrong for `raise_problems`."""
        found = self._find(name)
        if found is None:
            self._problems.append(f"{self._prefix}{name} is missing, expected shape {tuple(shape)}")
            return Tensor.placeholder(shape)
        file, full_name = found
        entry = file.entries[full_name]
        tensor = Tensor(file.array(full_name), entry.dtype)
        if entry.shape != tuple(shape):
            self._problems.append(f"{full_name} has shape {entry.shape}, config.json asks for {tuple(shape)}")
        elif entry.dtype not in {"F64", "F32", "F16", "BF16"}:
            self._problems.append(f"{full_name} has type {entry.dtype}, expected a float type")
        elif not tensor.is_finite():
            self._problems.append(f"{full_name} holds NaN or infinite values")
        else:
            return tensor
        return Tensor.placeholder(shape)

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a tensor that is there."""
        found = self._find(name)
        assert found is not None, "asked for the shape of an absent tensor. This is a bug."
        file, full_name = found
        return file.entries[full_name].shape

    def integers(self, name: str) -> NDArray[np.int64]:
        """Return a one-dimensional integer tensor that is there. Raises: ModelError if it is of another kind."""
        found = self._find(name)
        assert found is not None, "asked for an absent tensor. This is a bug."
        file, full_name = found
        entry = file.entries[full_name]
        if len(entry.shape) != 1 or entry.dtype not in {"I64", "I32", "I16", "I8", "U8"}:
            raise ModelError(f"{full_name} has type {entry.dtype} and shape {entry.shape}, expected a list of integers")
        return file.array(full_name).astype(np.int64)

    def raise_problems(self) -> None:
        """Raise one ModelError that names every tensor found missing, misshaped or not finite."""
        if not self._problems:
            return
        named = "; ".join(self._problems[:MAX_NAMED_TENSORS])
        more = len(self._problems) - MAX_NAMED_TENSORS
        rest = f"; and {more} more" if more > 0 else ""
        raise ModelError(f"the weights in {self.folder.name} do not fit: {named}{rest}")

    def release(self) -> None:
        """Give the files' pages back to the system once a network has its own copy of what it computes with."""
        for file in self.files:
            file.release()

    def _find(self, name: str) -> tuple[SafetensorsFile, str] | None:
        candidates = [name] + [name.replace(new, old) for new, old in OLD_NAMES if name.endswith(new)]
        for candidate in candidates:
            full_name = self._prefix + candidate
            if full_name in self._homes:
                return self._homes[full_name], full_name
        return None


def weight_paths(folder: Path) -> list[Path]:
    """Return the safetensors files of a checkpoint folder, one or the shards of an index, in a stable order.

    Raises: ModelError if there are none (naming the mend where only a pickle is there) or a shard is missing.
    """
    single, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if single.is_file():
        return [single]
    if index.is_file():
        return _shard_paths(index)
    pickles = [name for name in PICKLES if (folder / name).is_file()]
    if pickles:
        raise ModelError(
            f"{folder.name} has only {pickles[0]}, a pickle, which can run code when it is read and is refused. "
            "Convert it where you trust it: load it with transformers and call save_pretrained(), which writes "
            "model.safetensors"
        )
    raise ModelError(f"{folder.name} has no model.safetensors and no model.safetensors.index.json; fetch the weights")


def _shard_paths(index: Path) -> list[Path]:
    values = read_json(index, max_bytes=MAX_INDEX_BYTES)
    weight_map = values.get("weight_map") if isinstance(values, dict) else None
    if not isinstance(weight_map, dict) or not weight_map:
        raise ModelError(f"{index.name} is not a weight index: it needs an object 'weight_map' that names shards")
    paths = {}
    for name in weight_map.values():
        if not isinstance(name, str) or not SHARD_NAME.fullmatch(name):
            shown = repr(name)[:80]
            raise ModelError(f"{index.name} names a shard {shown}; a shard is a .safetensors file beside the index")
        if name not in paths and not (index.parent / name).is_file():
            raise ModelError(f"{index.name} names {name}, which is missing; fetch it")
        paths[name] = index.parent / name
    return [paths[name] for name in sorted(paths)]
