"""What one random model is: its config.json, its tokenizer, how it pools, and in which form it is published."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.random_models.vocabularies import Vocabulary
from tests.random_models.weights import Tensor

Config = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class DenseLayer:
    """One dense layer after pooling; `activation` is torch's class."""

    out_features: int
    activation: str = "torch.nn.modules.activation.Tanh"
    bias: bool = True


@dataclass(frozen=True, slots=True)
class Pooling:
    """The sentence-transformers part of a folder.

    `form` is how it is written: "flags" (one boolean a mode, in 2021's five keys or today's), or "compact" (the
    mode's name). `release` 6 also writes the module types and the maximal length as sentence-transformers 6 does.
    """

    modes: tuple[str, ...] = ("mean",)
    form: str = "flags"
    release: int = 3
    dense: tuple[DenseLayer, ...] = ()
    normalize: bool = False
    include_prompt: bool = True
    max_seq_length: int | None = None
    lowercase: bool = False
    subfolder: str = ""


@dataclass(frozen=True, slots=True)
class Case:
    """One random model. `config` lacks vocab_size: it is the tokenizer's size plus `unused_rows`."""

    name: str
    architecture: str
    config: Config
    tensors: Callable[[Config], list[Tensor]]
    vocabulary: Callable[[], Vocabulary]
    pooling: Pooling | None = field(default_factory=Pooling)
    unused_rows: int = 0
    prefix: str = ""
    unprefixed: tuple[str, ...] = ()
    gamma_beta: bool = False
    position_ids: bool = False
    dtype: str = "F32"
    num_files: int = 1
    prompts: Mapping[str, str] = field(default_factory=dict)
    default_prompt_name: str | None = None
    model_max_length: int | None = None
    chat_template: str = ""
    # Tensors of the file that an embedding model has no use for: a masked or causal language model's head, a pooler.
    unread: tuple[str, ...] = ()
