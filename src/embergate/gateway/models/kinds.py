"""Which kind of model in the Fireworks API one is that embeds texts, and one that reranks documents.

There is no kind of rerankers there; theirs are base models like any other.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from embergate.engine.loading.catalog import ModelKind
from embergate.gateway.models.schemas import Kind

KIND_OF: Final[Mapping[ModelKind, Kind]] = {
    ModelKind.EMBEDDING_MODEL: Kind.EMBEDDING_MODEL,
    ModelKind.RERANKER: Kind.HF_BASE_MODEL,
}
USE_OF: Final[Mapping[str, ModelKind]] = {kind.value: use for use, kind in KIND_OF.items()}
