"""`ModelSpec`: everything about a published model that the engine needs besides its weights."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from embergate.engine.loading.catalog import ModelKind

# Under which names the prompt of each side of a search is published.
# Source: https://github.com/huggingface/sentence-transformers (v6.2), encode_query and encode_document
PROMPT_NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "query": ("query",),
    "document": ("document", "passage", "corpus"),
}


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
class NormStage:
    """A layer norm: the tensor's name, the epsilon, and whether it shifts."""

    tensor: str
    eps: float
    bias: bool


@dataclass(frozen=True, slots=True)
class DenseStage:
    """One dense layer after pooling: `activation(x @ weight.T + bias)`, then the norm where it has one.

    `tensor` is the layer's name in the safetensors of `folder`.
    """

    folder: Path
    in_features: int
    out_features: int
    bias: bool
    activation: str
    tensor: str = "linear"
    norm: NormStage | None = None


@dataclass(frozen=True, slots=True)
class ContrastStage:
    """How much rather a language model would go on with the first of two words than with the second: a difference of logits.

    `tensor` is the language head, a table of `vocab_size` rows, in the safetensors of `folder`.
    """

    folder: Path
    in_features: int
    vocab_size: int
    tensor: str
    words: tuple[str, str]
    out_features: int = 1
    activation: str = "Contrast"


Stage = DenseStage | ContrastStage


@dataclass(frozen=True, slots=True)
class PoolingSpec:
    """What happens to the token states: pooling modes (concatenated), dense layers, L2 normalisation.

    Of a reranker the last layer gives one number, the logit of its score.
    """

    modes: tuple[PoolingMode, ...]
    dense: tuple[Stage, ...] = ()
    normalize: bool = False
    include_prompt: bool = True


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A published model, as read from its files.

    Units: `max_tokens` counts special tokens; `dimensions` is the length of the final vector (of a reranker, of the state that
    its score is read from). `judges` marks a language model that is asked for a verdict, `has_segments` a network that is told
    which of two texts a token belongs to.
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
    kind: ModelKind = ModelKind.EMBEDDING_MODEL
    normalize_default: bool = False
    revision: str | None = None
    resizable: bool = False
    matryoshka_dimensions: tuple[int, ...] = ()
    prompts: Mapping[str, str] = field(default_factory=dict)
    default_prompt_name: str | None = None
    add_special_tokens: bool = True
    drop_unknown: bool = False
    lowercase: bool = False
    judges: bool = False
    has_segments: bool = False
    # Made by a stranger: its tokenizer does only what is known to be harmless.
    is_foreign: bool = False

    def prompt_for(self, input_type: str | None) -> str:
        """Return the prompt for `query` or `document` texts, nothing where the model has none or no type is given."""
        names = PROMPT_NAMES.get(input_type or "", ())
        return next((self.prompts[name] for name in names if name in self.prompts), "")
