"""BERT and its closest kin: bert, roberta, xlm-roberta."""

from __future__ import annotations

from typing import Any, Final

from tests.random_models.case import Case, Config, DenseLayer, Pooling
from tests.random_models.vocabularies import Vocabulary, roberta_bytes, wordpiece, xlm_roberta_pieces
from tests.random_models.weights import Tensor, embedding, linear, norm

_SHARP: Final = 1.5  # queries and keys: attention that is far from uniform


def bert_tensors(config: Config) -> list[Tensor]:
    """BERT's and RoBERTa's tensors, the pooler and the masked-language head included, as they are published."""
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    tensors = [
        embedding("embeddings.word_embeddings", config["vocab_size"], hidden),
        embedding("embeddings.position_embeddings", config["max_position_embeddings"], hidden, 0.5),
        embedding("embeddings.token_type_embeddings", config["type_vocab_size"], hidden, 0.5),
        *norm("embeddings.LayerNorm", hidden),
    ]
    for layer in (f"encoder.layer.{index}" for index in range(config["num_hidden_layers"])):
        tensors += linear(f"{layer}.attention.self.query", hidden, hidden, gain=_SHARP)
        tensors += linear(f"{layer}.attention.self.key", hidden, hidden, gain=_SHARP)
        tensors += linear(f"{layer}.attention.self.value", hidden, hidden)
        tensors += linear(f"{layer}.attention.output.dense", hidden, hidden)
        tensors += norm(f"{layer}.attention.output.LayerNorm", hidden)
        tensors += linear(f"{layer}.intermediate.dense", inner, hidden)
        tensors += linear(f"{layer}.output.dense", hidden, inner)
        tensors += norm(f"{layer}.output.LayerNorm", hidden)
    return tensors + linear("pooler.dense", hidden, hidden)


def bert_masked_lm_tensors(config: Config) -> list[Tensor]:
    """BERT with its masked-language head and no pooler; an untied one brings its own decoder."""
    hidden = config["hidden_size"]
    tensors = [tensor for tensor in bert_tensors(config) if not tensor.name.startswith("pooler")]
    tensors += linear("cls.predictions.transform.dense", hidden, hidden)
    tensors += norm("cls.predictions.transform.LayerNorm", hidden)
    tensors.append(Tensor("cls.predictions.bias", (config["vocab_size"],), 0.2))
    if not config.get("tie_word_embeddings", True):
        tensors.append(embedding("cls.predictions.decoder", config["vocab_size"], hidden))
    return tensors


def roberta_masked_lm_tensors(config: Config) -> list[Tensor]:
    """RoBERTa with its masked-language head and no pooler."""
    hidden = config["hidden_size"]
    tensors = [tensor for tensor in bert_tensors(config) if not tensor.name.startswith("pooler")]
    tensors += linear("lm_head.dense", hidden, hidden) + norm("lm_head.layer_norm", hidden)
    return [*tensors, Tensor("lm_head.bias", (config["vocab_size"],), 0.2)]


def _bert(**changes: Any) -> dict[str, Any]:
    return {
        "architectures": ["BertModel"],
        "attention_probs_dropout_prob": 0.1,
        "classifier_dropout": None,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "hidden_size": 48,
        "initializer_range": 0.02,
        "intermediate_size": 96,
        "layer_norm_eps": 1e-12,
        "max_position_embeddings": 320,
        "model_type": "bert",
        "num_attention_heads": 4,
        "num_hidden_layers": 2,
        "pad_token_id": 0,
        "position_embedding_type": "absolute",
        "torch_dtype": "float32",
        "transformers_version": "4.38.2",
        "type_vocab_size": 2,
        "use_cache": True,
    } | changes


def _roberta(**changes: Any) -> dict[str, Any]:
    base = _bert(
        architectures=["RobertaModel"],
        bos_token_id=0,
        eos_token_id=2,
        layer_norm_eps=1e-5,
        max_position_embeddings=514,
        model_type="roberta",
        pad_token_id=1,
        type_vocab_size=1,
    )
    return base | changes


def _cased() -> Vocabulary:
    return wordpiece(lowercase=False)


_POOLER: Final = ("pooler.",)
_HEAD: Final = ("cls.",)
_GELU_TANH: Final = "gelu_new"

BERT: Final = (
    Case(
        "bert-mean",
        "bert",
        _bert(),
        bert_tensors,
        wordpiece,
        Pooling(("mean",), form="flags-2021", release=2, normalize=True, max_seq_length=64),
        unread=_POOLER,
        position_ids=True,
    ),
    Case(
        "bert-three-heads",
        "bert",
        _bert(hidden_size=33, num_attention_heads=3, intermediate_size=77, num_hidden_layers=3, hidden_act="relu"),
        bert_tensors,
        wordpiece,
        Pooling(("cls",), form="compact", release=6),
        unused_rows=7,
        unread=_POOLER,
        model_max_length=300,
    ),
    Case(
        "bert-tied-head",
        "bert",
        _bert(architectures=["BertForMaskedLM"], num_attention_heads=1, hidden_act=_GELU_TANH, layer_norm_eps=1e-5),
        bert_masked_lm_tensors,
        _cased,
        Pooling(
            ("cls", "mean"), dense=(DenseLayer(40), DenseLayer(24, "torch.nn.modules.linear.Identity", bias=False))
        ),
        prefix="bert.",
        unprefixed=_HEAD,
        gamma_beta=True,
        unread=_HEAD,
    ),
    Case(
        "bert-untied-head",
        "bert",
        _bert(
            architectures=["BertForMaskedLM"],
            tie_word_embeddings=False,
            num_attention_heads=6,
            hidden_act="gelu_pytorch_tanh",
            type_vocab_size=1,
            max_position_embeddings=100,
        ),
        bert_masked_lm_tensors,
        wordpiece,
        Pooling(("max",), normalize=False, subfolder="0_Transformer"),
        prefix="bert.",
        unprefixed=_HEAD,
        unread=_HEAD,
        dtype="F16",
        prompts={"query": "search text: ", "document": ""},
    ),
    Case(
        "bert-no-modules",
        "bert",
        _bert(hidden_act="silu"),
        bert_tensors,
        wordpiece,
        None,
        unread=_POOLER,
        model_max_length=200,
    ),
    Case(
        "bert-all-poolings",
        "bert",
        _bert(hidden_size=40, num_attention_heads=5),
        bert_tensors,
        wordpiece,
        Pooling(("cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken"), max_seq_length=128),
        unread=_POOLER,
    ),
    Case(
        "bert-prompt-left-out",
        "bert",
        _bert(),
        bert_tensors,
        _cased,
        Pooling(("weightedmean", "mean"), form="compact", include_prompt=False, normalize=True, lowercase=True),
        unread=_POOLER,
        prompts={"query": "Find the TEXT: ", "passage": "text: "},
        default_prompt_name="passage",
    ),
)

ROBERTA: Final = (
    Case(
        "roberta-mean",
        "roberta",
        _roberta(),
        bert_tensors,
        roberta_bytes,
        Pooling(("mean",), form="flags-2021", release=2, normalize=True, max_seq_length=128),
        unread=_POOLER,
        position_ids=True,
    ),
    Case(
        "roberta-seven-heads",
        "roberta",
        _roberta(hidden_size=63, num_attention_heads=7, intermediate_size=101, num_hidden_layers=3),
        bert_tensors,
        roberta_bytes,
        Pooling(("lasttoken",), form="compact", release=6),
        unused_rows=3,
        unread=_POOLER,
        model_max_length=512,
    ),
    Case(
        "roberta-tied-head",
        "roberta",
        _roberta(architectures=["RobertaForMaskedLM"], hidden_act="relu", num_attention_heads=3),
        roberta_masked_lm_tensors,
        roberta_bytes,
        Pooling(("cls",), dense=(DenseLayer(20, bias=False),)),
        prefix="roberta.",
        unprefixed=("lm_head.",),
        unread=("lm_head.",),
        model_max_length=512,
        prompts={"query": "query: ", "passage": "passage: "},
    ),
)

XLM_ROBERTA: Final = (
    Case(
        "xlm-roberta-mean",
        "xlm-roberta",
        _roberta(model_type="xlm-roberta", architectures=["XLMRobertaModel"], output_past=True),
        bert_tensors,
        xlm_roberta_pieces,
        Pooling(("mean",), normalize=True, max_seq_length=512),
        unread=_POOLER,
    ),
    Case(
        "xlm-roberta-five-heads",
        "xlm-roberta",
        _roberta(
            model_type="xlm-roberta",
            architectures=["XLMRobertaModel"],
            hidden_size=45,
            num_attention_heads=5,
            intermediate_size=59,
            num_hidden_layers=1,
            max_position_embeddings=130,
        ),
        bert_tensors,
        xlm_roberta_pieces,
        Pooling(("cls",), release=6, form="compact"),
        unread=_POOLER,
        unused_rows=11,
        model_max_length=128,
        num_files=2,
    ),
    Case(
        "xlm-roberta-tied-head",
        "xlm-roberta",
        _roberta(model_type="xlm-roberta", architectures=["XLMRobertaForMaskedLM"], hidden_act=_GELU_TANH),
        roberta_masked_lm_tensors,
        xlm_roberta_pieces,
        Pooling(("mean_sqrt_len_tokens",), max_seq_length=90),
        prefix="roberta.",
        unprefixed=("lm_head.",),
        unread=("lm_head.",),
        dtype="BF16",
    ),
)
