"""Causal decoders that embed: qwen2 and qwen3."""

from __future__ import annotations

from typing import Any, Final

from tests.random_models.case import Case, Config, Pooling
from tests.random_models.vocabularies import qwen_bytes
from tests.random_models.weights import Tensor, embedding, linear, matrix, norm

_SHARP: Final = 1.5  # queries and keys: attention that is far from uniform


def qwen_tensors(config: Config) -> list[Tensor]:
    """Qwen2's and Qwen3's tensors: biases on q, k, v in Qwen2, norms of q and k in Qwen3."""
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    head_dim = config.get("head_dim") or hidden // heads
    is_qwen2 = config["model_type"] == "qwen2"
    bias = is_qwen2 or config.get("attention_bias", False)
    tensors = [embedding("embed_tokens", config["vocab_size"], hidden)]
    for layer in (f"layers.{index}" for index in range(config["num_hidden_layers"])):
        tensors += norm(f"{layer}.input_layernorm", hidden, bias=False)
        tensors += linear(f"{layer}.self_attn.q_proj", heads * head_dim, hidden, bias=bias, gain=_SHARP)
        tensors += linear(f"{layer}.self_attn.k_proj", kv_heads * head_dim, hidden, bias=bias, gain=_SHARP)
        tensors += linear(f"{layer}.self_attn.v_proj", kv_heads * head_dim, hidden, bias=bias)
        tensors += linear(f"{layer}.self_attn.o_proj", hidden, heads * head_dim, bias=bias and not is_qwen2)
        if not is_qwen2:
            tensors += norm(f"{layer}.self_attn.q_norm", head_dim, bias=False)
            tensors += norm(f"{layer}.self_attn.k_norm", head_dim, bias=False)
        tensors += norm(f"{layer}.post_attention_layernorm", hidden, bias=False)
        tensors.append(matrix(f"{layer}.mlp.gate_proj.weight", inner, hidden))
        tensors.append(matrix(f"{layer}.mlp.up_proj.weight", inner, hidden))
        tensors.append(matrix(f"{layer}.mlp.down_proj.weight", hidden, inner))
    return tensors + norm("norm", hidden, bias=False)


def qwen_causal_lm_tensors(config: Config) -> list[Tensor]:
    """Qwen with its language head: a tensor of its own only if it is not tied to the embeddings."""
    tensors = qwen_tensors(config)
    if not config["tie_word_embeddings"]:
        tensors.append(embedding("lm_head", config["vocab_size"], config["hidden_size"]))
    return tensors


def _qwen(model_type: str, **changes: Any) -> dict[str, Any]:
    name = {"qwen2": "Qwen2", "qwen3": "Qwen3"}[model_type]
    return {
        "architectures": [f"{name}ForCausalLM"],
        "attention_dropout": 0.0,
        "bos_token_id": 151643,
        "eos_token_id": 151643,
        "hidden_act": "silu",
        "hidden_size": 48,
        "initializer_range": 0.02,
        "intermediate_size": 96,
        "max_position_embeddings": 32768,
        "max_window_layers": 28,
        "model_type": model_type,
        "num_attention_heads": 4,
        "num_hidden_layers": 2,
        "num_key_value_heads": 2,
        "rms_norm_eps": 1e-06,
        "rope_theta": 1000000,
        "sliding_window": None,
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
        "transformers_version": "4.51.3",
        "use_cache": True,
        "use_sliding_window": False,
    } | changes


QWEN2: Final = (
    Case(
        "qwen2-gqa",
        "qwen2",
        _qwen("qwen2", sliding_window=16, max_window_layers=1),
        qwen_causal_lm_tensors,
        qwen_bytes,
        Pooling(("lasttoken",), normalize=True, max_seq_length=1024),
        unused_rows=3,
        prompts={"query": "Instruct: find the text\nQuery: "},
    ),
    Case(
        "qwen2-untied",
        "qwen2",
        _qwen(
            "qwen2",
            hidden_size=42,
            num_attention_heads=7,
            num_key_value_heads=1,
            intermediate_size=67,
            num_hidden_layers=3,
            tie_word_embeddings=False,
            rope_theta=10000.0,
            rms_norm_eps=1e-5,
        ),
        qwen_causal_lm_tensors,
        qwen_bytes,
        Pooling(("lasttoken",), form="compact", release=6),
        prefix="model.",
        unprefixed=("lm_head",),
        unread=("lm_head",),
        model_max_length=500,
    ),
    Case(
        "qwen2-bidirectional",
        "qwen2",
        _qwen("qwen2", is_causal=False, num_attention_heads=3, num_key_value_heads=3, torch_dtype="float32"),
        qwen_tensors,
        qwen_bytes,
        Pooling(("mean",), normalize=True, max_seq_length=128),
        dtype="BF16",
    ),
)

QWEN3: Final = (
    Case(
        "qwen3-wide-heads",
        "qwen3",
        _qwen("qwen3", attention_bias=False, head_dim=16, num_attention_heads=4),
        qwen_causal_lm_tensors,
        qwen_bytes,
        Pooling(("lasttoken",), normalize=True, form="flags"),
        prompts={"query": "Instruct: find the text that answers\nQuery:", "document": ""},
        model_max_length=131072,
        dtype="BF16",
    ),
    Case(
        "qwen3-untied",
        "qwen3",
        _qwen(
            "qwen3",
            attention_bias=False,
            hidden_size=45,
            head_dim=10,
            num_attention_heads=9,
            num_key_value_heads=3,
            intermediate_size=83,
            num_hidden_layers=3,
            tie_word_embeddings=False,
        ),
        qwen_causal_lm_tensors,
        qwen_bytes,
        Pooling(("lasttoken",), form="compact", release=6),
        prefix="model.",
        unprefixed=("lm_head",),
        unread=("lm_head",),
        unused_rows=9,
        model_max_length=300,
        num_files=3,
    ),
    Case(
        "qwen3-saved-by-transformers-5",
        "qwen3",
        {
            key: value
            for key, value in _qwen(
                "qwen3",
                attention_bias=True,
                dtype="float32",
                head_dim=12,
                num_attention_heads=5,
                num_key_value_heads=5,
                layer_types=["full_attention", "full_attention"],
                rope_parameters={"rope_theta": 50000.0, "rope_type": "default"},
                transformers_version="5.23.0",
            ).items()
            if key not in {"rope_theta", "torch_dtype"}
        },
        qwen_tensors,
        qwen_bytes,
        Pooling(("mean", "lasttoken"), form="compact"),
        model_max_length=200,
    ),
)
