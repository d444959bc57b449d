"""Encoders with rotary positions: nomic_bert and modernbert."""

from __future__ import annotations

from typing import Any, Final

from tests.random_models.case import Case, Config, DenseLayer, Pooling
from tests.random_models.vocabularies import modernbert_bytes, wordpiece
from tests.random_models.weights import Tensor, embedding, linear, norm

_SHARP: Final = 1.5  # queries and keys: attention that is far from uniform


def nomic_tensors(config: Config) -> list[Tensor]:
    """NomicBERT's tensors under the names of its remote code, which published checkpoints keep."""
    hidden, inner = config["n_embd"], config["n_inner"]
    qkv, fc1, fc2 = config["qkv_proj_bias"], config["mlp_fc1_bias"], config["mlp_fc2_bias"]
    tensors = [
        embedding("embeddings.word_embeddings", config["vocab_size"], hidden),
        embedding("embeddings.token_type_embeddings", config["type_vocab_size"], hidden, 0.5),
        *norm("emb_ln", hidden),
    ]
    for layer in (f"encoder.layers.{index}" for index in range(config["n_layer"])):
        tensors += linear(f"{layer}.attn.Wqkv", 3 * hidden, hidden, bias=qkv, gain=_SHARP)
        tensors += linear(f"{layer}.attn.out_proj", hidden, hidden, bias=qkv)
        tensors += linear(f"{layer}.mlp.fc11", inner, hidden, bias=fc1)
        tensors += linear(f"{layer}.mlp.fc12", inner, hidden, bias=fc1)
        tensors += linear(f"{layer}.mlp.fc2", hidden, inner, bias=fc2)
        tensors += norm(f"{layer}.norm1", hidden)
        tensors += norm(f"{layer}.norm2", hidden)
    return tensors


def modernbert_tensors(config: Config) -> list[Tensor]:
    """ModernBERT's tensors: the first layer has no norm before its attention."""
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    attention, mlp, norms = config["attention_bias"], config["mlp_bias"], config["norm_bias"]
    tensors = [embedding("embeddings.tok_embeddings", config["vocab_size"], hidden)]
    tensors += norm("embeddings.norm", hidden, bias=norms)
    for index in range(config["num_hidden_layers"]):
        layer = f"layers.{index}"
        if index > 0:
            tensors += norm(f"{layer}.attn_norm", hidden, bias=norms)
        tensors += linear(f"{layer}.attn.Wqkv", 3 * hidden, hidden, bias=attention, gain=_SHARP)
        tensors += linear(f"{layer}.attn.Wo", hidden, hidden, bias=attention)
        tensors += norm(f"{layer}.mlp_norm", hidden, bias=norms)
        tensors += linear(f"{layer}.mlp.Wi", 2 * inner, hidden, bias=mlp)
        tensors += linear(f"{layer}.mlp.Wo", hidden, inner, bias=mlp)
    return tensors + norm("final_norm", hidden, bias=norms)


def modernbert_masked_lm_tensors(config: Config) -> list[Tensor]:
    """ModernBERT with its masked-language head, as the base models are published."""
    hidden = config["hidden_size"]
    head = linear("head.dense", hidden, hidden, bias=False) + norm("head.norm", hidden, bias=config["norm_bias"])
    return [*modernbert_tensors(config), *head, Tensor("decoder.bias", (config["vocab_size"],), 0.2)]


def _nomic(**changes: Any) -> dict[str, Any]:
    return {
        "activation_function": "swiglu",
        "architectures": ["NomicBertModel"],
        "attn_pdrop": 0.0,
        "auto_map": {
            "AutoConfig": "nomic-ai/nomic-bert-2048--configuration_hf_nomic_bert.NomicBertConfig",
            "AutoModel": "nomic-ai/nomic-bert-2048--modeling_hf_nomic_bert.NomicBertModel",
        },
        "bos_token_id": None,
        "causal": False,
        "dense_seq_output": True,
        "embd_pdrop": 0.0,
        "eos_token_id": None,
        "fused_bias_fc": True,
        "fused_dropout_add_ln": True,
        "initializer_range": 0.02,
        "layer_norm_epsilon": 1e-12,
        "mlp_fc1_bias": False,
        "mlp_fc2_bias": False,
        "model_type": "nomic_bert",
        "n_embd": 48,
        "n_head": 4,
        "n_inner": 256,
        "n_layer": 2,
        "n_positions": 2048,
        "pad_vocab_size_multiple": 64,
        "parallel_block": False,
        "parallel_block_tied_norm": False,
        "prenorm": False,
        "qkv_proj_bias": False,
        "reorder_and_upcast_attn": False,
        "resid_pdrop": 0.0,
        "rotary_emb_base": 1000,
        "rotary_emb_fraction": 1.0,
        "rotary_emb_interleaved": False,
        "rotary_emb_scale_base": None,
        "rotary_scaling_factor": None,
        "scale_attn_by_inverse_layer_idx": False,
        "scale_attn_weights": True,
        "torch_dtype": "float32",
        "transformers_version": "4.37.2",
        "type_vocab_size": 2,
        "use_cache": True,
        "use_flash_attn": True,
        "use_rms_norm": False,
        "use_xentropy": True,
    } | changes


def _modernbert(**changes: Any) -> dict[str, Any]:
    return {
        "architectures": ["ModernBertModel"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": 50281,
        "classifier_activation": "gelu",
        "classifier_bias": False,
        "classifier_dropout": 0.0,
        "classifier_pooling": "mean",
        "cls_token_id": 50281,
        "decoder_bias": True,
        "deterministic_flash_attn": False,
        "embedding_dropout": 0.0,
        "eos_token_id": 50282,
        "global_attn_every_n_layers": 3,
        "global_rope_theta": 160000.0,
        "gradient_checkpointing": False,
        "hidden_activation": "gelu",
        "hidden_size": 48,
        "initializer_cutoff_factor": 2.0,
        "initializer_range": 0.02,
        "intermediate_size": 72,
        "layer_norm_eps": 1e-05,
        "local_attention": 16,
        "local_rope_theta": 10000.0,
        "max_position_embeddings": 8192,
        "mlp_bias": False,
        "mlp_dropout": 0.0,
        "model_type": "modernbert",
        "norm_bias": False,
        "norm_eps": 1e-05,
        "num_attention_heads": 4,
        "num_hidden_layers": 5,
        "pad_token_id": 50283,
        "position_embedding_type": "absolute",
        "sep_token_id": 50282,
        "tie_word_embeddings": True,
        "torch_dtype": "float32",
        "transformers_version": "4.47.0.dev0",
    } | changes


NOMIC_BERT: Final = (
    Case(
        "nomic_bert-published",
        "nomic_bert",
        _nomic(),
        nomic_tensors,
        wordpiece,
        Pooling(("mean",), normalize=True, max_seq_length=512),
        unused_rows=6,
        prompts={"query": "search query: ", "document": "search document: "},
    ),
    Case(
        "nomic_bert-three-heads",
        "nomic_bert",
        _nomic(
            n_embd=42,
            n_head=3,
            n_layer=3,
            n_positions=8192,
            max_trained_positions=2048,
            max_position_embeddings=2048,
            rotary_emb_base=10000,
            rope_parameters={"rope_theta": 10000.0, "rope_type": "default"},
        ),
        nomic_tensors,
        wordpiece,
        Pooling(("cls",), form="compact", release=6),
        model_max_length=400,
    ),
    Case(
        "nomic_bert-biases",
        "nomic_bert",
        _nomic(qkv_proj_bias=True, mlp_fc1_bias=True, mlp_fc2_bias=True, rotary_emb_fraction=0.5, n_head=3),
        nomic_tensors,
        wordpiece,
        Pooling(("mean",), max_seq_length=512),
        num_files=2,
    ),
    Case(
        "nomic_bert-geglu",
        "nomic_bert",
        _nomic(activation_function="geglu", n_head=1, n_embd=32, layer_norm_epsilon=1e-5, type_vocab_size=1),
        nomic_tensors,
        wordpiece,
        Pooling(("lasttoken",), max_seq_length=77),
        dtype="F16",
    ),
)

MODERNBERT: Final = (
    Case(
        "modernbert-mean",
        "modernbert",
        _modernbert(),
        modernbert_tensors,
        modernbert_bytes,
        Pooling(("mean",), normalize=True, max_seq_length=8192),
        unused_rows=5,
    ),
    Case(
        "modernbert-five-heads",
        "modernbert",
        _modernbert(
            hidden_size=50,
            num_attention_heads=5,
            intermediate_size=61,
            num_hidden_layers=4,
            global_attn_every_n_layers=2,
            local_attention=10,
            attention_bias=True,
            mlp_bias=True,
            norm_bias=True,
        ),
        modernbert_tensors,
        modernbert_bytes,
        Pooling(("cls",), form="compact", release=6),
        model_max_length=300,
    ),
    Case(
        "modernbert-tied-head",
        "modernbert",
        _modernbert(
            architectures=["ModernBertForMaskedLM"],
            num_attention_heads=3,
            local_rope_theta=160000.0,
            hidden_activation="silu",
            local_attention=64,
            norm_eps=1e-6,
        ),
        modernbert_masked_lm_tensors,
        modernbert_bytes,
        Pooling(("cls",), dense=(DenseLayer(30),)),
        prefix="model.",
        unprefixed=("head.", "decoder."),
        unread=("head.", "decoder."),
        model_max_length=8192,
    ),
    Case(
        "modernbert-saved-by-transformers-5",
        "modernbert",
        {
            key: value
            for key, value in _modernbert(
                dtype="float32",
                num_hidden_layers=3,
                layer_types=["sliding_attention", "full_attention", "sliding_attention"],
                rope_parameters={
                    "full_attention": {"rope_theta": 80000.0, "rope_type": "default"},
                    "sliding_attention": {"rope_theta": 5000.0, "rope_type": "default"},
                },
                transformers_version="5.23.0",
            ).items()
            if key not in {"global_attn_every_n_layers", "global_rope_theta", "local_rope_theta", "torch_dtype"}
        },
        modernbert_tensors,
        modernbert_bytes,
        Pooling(("mean", "lasttoken"), form="compact", release=6),
        model_max_length=1000,
        dtype="BF16",
    ),
)
