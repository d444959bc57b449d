"""What a model's weights will take in memory once they are served, told from its files before anything is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Final

from embergate.engine.architectures import ARCHITECTURES
from embergate.engine.architectures.static import MODEL2VEC
from embergate.engine.backends.openvino import resolve_precision
from embergate.engine.loading.config_reader import ConfigReader
from embergate.engine.loading.modules import read_modules
from embergate.engine.loading.safetensors_file import STORAGE_TYPES, TensorEntry
from embergate.engine.loading.spec import Precision
from embergate.engine.loading.weights import Weights

VALUE_BYTES: Final[Mapping[Precision, int]] = {Precision.F32: 4, Precision.BF16: 2, Precision.INT8: 1}
VECTOR_BYTES: Final = 4
# What of a name says that a tensor is a table, which is looked up and not multiplied with; and which of them is never widened.
TABLES: Final = "embed"
WORD_TABLES: Final = ("word_embeddings", "tok_embeddings", "embed_tokens")
FLOATS: Final = frozenset({"F64", "F32", "F16", "BF16"})


def served_bytes(folder: Path, precision: Precision) -> int:
    """Return how many bytes a model's weights take in a precision; more rather than less. Reads headers alone; blocks.

    A checkpoint in bfloat16 that is served in float32 takes twice what its files have. Word embeddings, which are looked up in
    the file itself, count as they are stored.
    Raises: ModelError if the files cannot be read.
    """
    modules = read_modules(folder)
    stages = modules.pooling.dense if modules.pooling is not None else ()
    dense = sum(VECTOR_BYTES * Weights(stage.folder).num_values for stage in stages)
    entries = {name: entry for file in Weights(modules.encoder).files for name, entry in file.entries.items()}
    model_type = (
        "" if modules.is_static else ConfigReader.from_file(modules.encoder / "config.json").string("model_type")
    )
    if modules.is_static or model_type == MODEL2VEC:
        return dense + sum(entry.end - entry.begin for entry in entries.values())
    if model_type not in ARCHITECTURES and precision is Precision.AUTO:
        precision = Precision.F32
    value_bytes = VALUE_BYTES[resolve_precision(precision)]
    return dense + sum(_bytes_of(name, entry, value_bytes) for name, entry in entries.items() if entry.dtype in FLOATS)


def _bytes_of(name: str, entry: TensorEntry, value_bytes: int) -> int:
    num_values = prod(entry.shape)
    if len(entry.shape) < 2:
        return num_values * VECTOR_BYTES
    if any(table in name for table in WORD_TABLES):  # as it is stored
        return num_values * max(value_bytes, STORAGE_TYPES[entry.dtype].itemsize)
    if TABLES in name:
        return num_values * max(value_bytes, VALUE_BYTES[Precision.BF16 if entry.dtype == "BF16" else Precision.F32])
    scales = VECTOR_BYTES * entry.shape[0] if value_bytes == 1 else 0
    return num_values * value_bytes + scales
