"""`ModelSpec`: everything about a published model that the engine needs besides its weights."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


class Precision(enum.StrEnum):
    """What the matrix products are computed in."""

    F32 = "f32"
    BF16 = "bf16"
    INT8 = "int8"
    AUTO = "auto"


class PoolingMode(enum.StrEnum):
    """How the states of a text's tokens become one vector; the names are sentence-transformers' own."""

    CLS = "cls"
    MEAN = "mean"
    MAX = "max"
    LAST_TOKEN = "lasttoken"  # noqa: S105 - a pooling mode, not a secret
    MEAN_SQRT_LEN = "mean_sqrt_len_tokens"
    WEIGHTED_MEAN = "weightedmean"


@dataclass(frozen=True, slots=True)
class DenseStage:
    """One `2_Dense` layer after pooling: `activation(x @ weight.T + bias)`."""

    folder: Path
    in_features: int
    out_features: int
    bias: bool
    activation: str


@dataclass(frozen=True, slots=True)
class PoolingSpec:
    """What happens to the token states: pooling modes (concatenated), dense layers, L2 normalisation."""

    modes: tuple[PoolingMode, ...]
    dense: tuple[DenseStage, ...] = ()
    normalize: bool = False
    include_prompt: bool = True


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A published model, as read from its files.

    Units: `max_tokens` counts special tokens; `dimensions` is the length of the final vector.
    """

    name: str
    folder: Path
    architecture: str
    config: Mapping[str, Any]
    hidden_size: int
    vocab_size: int
    max_tokens: int
    dimensions: int
    pooling: PoolingSpec
    normalize_default: bool = False
    revision: str | None = None
    resizable: bool = False
    matryoshka_dimensions: tuple[int, ...] = ()
    prompts: Mapping[str, str] = field(default_factory=dict)
    default_prompt_name: str | None = None
    add_special_tokens: bool = True
    drop_unknown: bool = False
    lowercase: bool = False
