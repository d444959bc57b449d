"""BERT's kin with names or positions of their own: distilbert and mpnet."""

from __future__ import annotations

from typing import Any, Final

from tests.random_models.case import Case, Config, DenseLayer, Pooling
from tests.random_models.vocabularies import Vocabulary, mpnet_wordpiece, wordpiece
from tests.random_models.weights import Tensor, embedding, linear, norm

_SHARP: Final = 1.5  # queries and keys: attention that is far from uniform
_POOLER: Final = ("pooler.",)


def distilbert_tensors(config: Config) -> list[Tensor]:
    """DistilBERT's tensors: no token types, no pooler, names of its own."""
    hidden, inner = config["dim"], config["hidden_dim"]
    tensors = [
        embedding("embeddings.word_embeddings", config["vocab_size"], hidden),
        embedding("embeddings.position_embeddings", config["max_position_embeddings"], hidden, 0.5),
        *norm("embeddings.LayerNorm", hidden),
    ]
    for layer in (f"transformer.layer.{index}" for index in range(config["n_layers"])):
        tensors += linear(f"{layer}.attention.q_lin", hidden, hidden, gain=_SHARP)
        tensors += linear(f"{layer}.attention.k_lin", hidden, hidden, gain=_SHARP)
        tensors += linear(f"{layer}.attention.v_lin", hidden, hidden)
        tensors += linear(f"{layer}.attention.out_lin", hidden, hidden)
        tensors += norm(f"{layer}.sa_layer_norm", hidden)
        tensors += linear(f"{layer}.ffn.lin1", inner, hidden)
        tensors += linear(f"{layer}.ffn.lin2", hidden, inner)
        tensors += norm(f"{layer}.output_layer_norm", hidden)
    return tensors


def distilbert_masked_lm_tensors(config: Config) -> list[Tensor]:
    """DistilBERT with its masked-language head."""
    hidden = config["dim"]
    head = linear("vocab_transform", hidden, hidden) + norm("vocab_layer_norm", hidden)
    return [*distilbert_tensors(config), *head, Tensor("vocab_projector.bias", (config["vocab_size"],), 0.2)]


def mpnet_tensors(config: Config) -> list[Tensor]:
    """MPNet's tensors: one table of relative position biases for all layers."""
    hidden, inner, heads = config["hidden_size"], config["intermediate_size"], config["num_attention_heads"]
    tensors = [
        embedding("embeddings.word_embeddings", config["vocab_size"], hidden),
        embedding("embeddings.position_embeddings", config["max_position_embeddings"], hidden, 0.5),
        *norm("embeddings.LayerNorm", hidden),
    ]
    for layer in (f"encoder.layer.{index}" for index in range(config["num_hidden_layers"])):
        tensors += linear(f"{layer}.attention.attn.q", hidden, hidden, gain=_SHARP)
        tensors += linear(f"{layer}.attention.attn.k", hidden, hidden, gain=_SHARP)
        tensors += linear(f"{layer}.attention.attn.v", hidden, hidden)
        tensors += linear(f"{layer}.attention.attn.o", hidden, hidden)
        tensors += norm(f"{layer}.attention.LayerNorm", hidden)
        tensors += linear(f"{layer}.intermediate.dense", inner, hidden)
        tensors += linear(f"{layer}.output.dense", hidden, inner)
        tensors += norm(f"{layer}.output.LayerNorm", hidden)
    tensors.append(embedding("encoder.relative_attention_bias", config["relative_attention_num_buckets"], heads))
    return tensors + linear("pooler.dense", hidden, hidden)


def _distilbert(**changes: Any) -> dict[str, Any]:
    return {
        "activation": "gelu",
        "architectures": ["DistilBertModel"],
        "attention_dropout": 0.1,
        "dim": 48,
        "dropout": 0.1,
        "hidden_dim": 96,
        "initializer_range": 0.02,
        "max_position_embeddings": 512,
        "model_type": "distilbert",
        "n_heads": 4,
        "n_layers": 2,
        "pad_token_id": 0,
        "qa_dropout": 0.1,
        "seq_classif_dropout": 0.2,
        "sinusoidal_pos_embds": False,
        "tie_weights_": True,
        "torch_dtype": "float32",
        "transformers_version": "4.34.0",
    } | changes


def _mpnet(**changes: Any) -> dict[str, Any]:
    return {
        "architectures": ["MPNetForMaskedLM"],
        "attention_probs_dropout_prob": 0.1,
        "bos_token_id": 0,
        "eos_token_id": 2,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "hidden_size": 48,
        "initializer_range": 0.02,
        "intermediate_size": 96,
        "layer_norm_eps": 1e-5,
        "max_position_embeddings": 514,
        "model_type": "mpnet",
        "num_attention_heads": 4,
        "num_hidden_layers": 2,
        "pad_token_id": 1,
        "relative_attention_num_buckets": 32,
        "torch_dtype": "float32",
        "transformers_version": "4.38.2",
    } | changes


def _distilbert_wordpiece() -> Vocabulary:
    return wordpiece(tokenizer_class="DistilBertTokenizer")


DISTILBERT: Final = (
    Case(
        "distilbert-mean",
        "distilbert",
        _distilbert(),
        distilbert_tensors,
        _distilbert_wordpiece,
        Pooling(("mean",), form="flags-2021", release=2, max_seq_length=128),
    ),
    Case(
        "distilbert-three-heads",
        "distilbert",
        _distilbert(dim=39, n_heads=3, hidden_dim=71, n_layers=3, activation="relu", max_position_embeddings=90),
        distilbert_tensors,
        _distilbert_wordpiece,
        Pooling(("cls",), form="compact", release=6),
        unused_rows=5,
        model_max_length=90,
    ),
    Case(
        "distilbert-tied-head",
        "distilbert",
        _distilbert(architectures=["DistilBertForMaskedLM"], sinusoidal_pos_embds=True, n_heads=2),
        distilbert_masked_lm_tensors,
        _distilbert_wordpiece,
        Pooling(("max",), dense=(DenseLayer(64, "torch.nn.modules.linear.Identity"),), normalize=True),
        prefix="distilbert.",
        unprefixed=("vocab_",),
        unread=("vocab_",),
    ),
)

MPNET: Final = (
    Case(
        "mpnet-mean",
        "mpnet",
        _mpnet(),
        mpnet_tensors,
        mpnet_wordpiece,
        Pooling(("mean",), form="flags-2021", release=2, normalize=True, max_seq_length=384),
        unread=_POOLER,
        position_ids=True,
    ),
    Case(
        "mpnet-five-heads",
        "mpnet",
        _mpnet(hidden_size=35, num_attention_heads=5, intermediate_size=81, num_hidden_layers=3, hidden_act="relu"),
        mpnet_tensors,
        mpnet_wordpiece,
        Pooling(("cls",), form="compact", release=6),
        unread=_POOLER,
        unused_rows=2,
        model_max_length=512,
    ),
    Case(
        "mpnet-prefixed",
        "mpnet",
        _mpnet(num_attention_heads=3, layer_norm_eps=1e-12),
        mpnet_tensors,
        mpnet_wordpiece,
        Pooling(("lasttoken", "mean"), form="compact"),
        prefix="mpnet.",
        unread=_POOLER,
        dtype="F16",
        model_max_length=300,
    ),
)
