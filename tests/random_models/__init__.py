"""Tiny models with random weights, written as the real ones are published: what our graphs are held against.

No torch here: numpy, tokenizers and the standard library. `tests/oracle/` computes what the vectors must be.
"""

from __future__ import annotations

from typing import Final

from tests.random_models.case import Case, DenseLayer, Pooling
from tests.random_models.decoders import QWEN2, QWEN3
from tests.random_models.encoder_kin import DISTILBERT, MPNET
from tests.random_models.encoders import BERT, ROBERTA, XLM_ROBERTA
from tests.random_models.folder import write_model
from tests.random_models.rerankers import JUDGES, RERANKERS
from tests.random_models.rotary import MODERNBERT, NOMIC_BERT
from tests.random_models.static import MODEL2VEC, STATIC_EMBEDDING
from tests.random_models.texts import TEXTS

CASES: Final[tuple[Case, ...]] = (
    *BERT,
    *ROBERTA,
    *XLM_ROBERTA,
    *DISTILBERT,
    *MPNET,
    *NOMIC_BERT,
    *MODERNBERT,
    *QWEN2,
    *QWEN3,
    *MODEL2VEC,
    *STATIC_EMBEDDING,
)
ARCHITECTURES: Final = tuple(dict.fromkeys(case.architecture for case in CASES))


def cases_of(architecture: str) -> tuple[Case, ...]:
    """All cases of one architecture."""
    return tuple(case for case in CASES if case.architecture == architecture)


__all__ = [
    "ARCHITECTURES",
    "CASES",
    "JUDGES",
    "RERANKERS",
    "TEXTS",
    "Case",
    "DenseLayer",
    "Pooling",
    "cases_of",
    "write_model",
]
