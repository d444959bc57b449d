"""Static embeddings: model2vec's folder and sentence-transformers' StaticEmbedding."""

from __future__ import annotations

from typing import Any, Final

from tests.random_models.case import Case, Config, Pooling
from tests.random_models.vocabularies import wordpiece, xlm_roberta_pieces
from tests.random_models.weights import Tensor

MODEL2VEC_DIMENSIONS: Final = 24


def model2vec_tensors(config: Config) -> list[Tensor]:
    """One row a token; with a quantised vocabulary fewer rows, a map of ids to rows and a weight a token."""
    rows = config.get("vocabulary_quantization", config["vocab_size"])
    tensors = [Tensor("embeddings", (rows, config["hidden_dim"]), 1.0)]
    if "vocabulary_quantization" in config:
        tensors.append(Tensor("weights", (config["vocab_size"],), 0.3, 1.0))
        tensors.append(Tensor("mapping", (config["vocab_size"],), rows / 12**0.5, rows / 2))
    return tensors


def static_embedding_tensors(config: Config) -> list[Tensor]:
    """sentence-transformers' EmbeddingBag."""
    return [Tensor("embedding.weight", (config["vocab_size"], config["hidden_dim"]), 1.0)]


def _model2vec(**changes: Any) -> dict[str, Any]:
    return {
        "model_type": "model2vec",
        "architectures": ["StaticModel"],
        "tokenizer_name": "baai/bge-base-en-v1.5",
        "apply_pca": MODEL2VEC_DIMENSIONS,
        "apply_zipf": True,
        "hidden_dim": MODEL2VEC_DIMENSIONS,
        "seq_length": 1000000,
        "normalize": True,
    } | changes


MODEL2VEC: Final = (
    Case("model2vec-normalized", "model2vec", _model2vec(), model2vec_tensors, wordpiece, Pooling((), normalize=True)),
    Case(
        "model2vec-plain",
        "model2vec",
        _model2vec(normalize=False, hidden_dim=31),
        model2vec_tensors,
        wordpiece,
        None,
        dtype="F16",
    ),
    Case(
        "model2vec-quantized-vocabulary",
        "model2vec",
        _model2vec(normalize=False, vocabulary_quantization=50, embedding_dtype="float32"),
        model2vec_tensors,
        xlm_roberta_pieces,
        None,
    ),
)

STATIC_EMBEDDING: Final = (
    Case(
        "static-embedding-at-root",
        "static_embedding",
        {"hidden_dim": 24},
        static_embedding_tensors,
        wordpiece,
        Pooling((), normalize=True),
    ),
    Case(
        "static-embedding-in-folder",
        "static_embedding",
        {"hidden_dim": 33},
        static_embedding_tensors,
        wordpiece,
        Pooling((), subfolder="0_StaticEmbedding"),
        prompts={"query": "search text: "},
    ),
    Case(
        "static-embedding-release-6",
        "static_embedding",
        {"hidden_dim": 17},
        static_embedding_tensors,
        xlm_roberta_pieces,
        Pooling((), release=6, normalize=True),
        dtype="F16",
    ),
)
