"""Rerankers: an encoder of each architecture with its own classification head, and Qwen3 as a judge."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from tests.random_models.case import Case, Config
from tests.random_models.decoders import QWEN3
from tests.random_models.encoder_kin import DISTILBERT, MPNET
from tests.random_models.encoders import BERT, ROBERTA, XLM_ROBERTA
from tests.random_models.rotary import MODERNBERT
from tests.random_models.vocabularies import qwen_judge_bytes
from tests.random_models.weights import Tensor, linear, norm

# Scores are far from 0 and 1 where a head's last layer is small, and near enough to differ.
_GAIN: Final = 1.5
_TEMPLATE: Final = (
    "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct provided. "
    'Note that the answer can only be "yes" or "no".<|im_end|>\n'
)


def _bert_head(config: Config) -> list[Tensor]:
    hidden = config["hidden_size"]
    return linear("bert.pooler.dense", hidden, hidden, gain=_GAIN) + linear("classifier", 1, hidden, gain=_GAIN)


def _roberta_head(config: Config) -> list[Tensor]:
    hidden = config["hidden_size"]
    inner = linear("classifier.dense", hidden, hidden, gain=_GAIN)
    return inner + linear("classifier.out_proj", 1, hidden, gain=_GAIN)


def _distilbert_head(config: Config) -> list[Tensor]:
    return linear("pre_classifier", config["dim"], config["dim"]) + linear("classifier", 1, config["dim"], gain=_GAIN)


def _modernbert_head(config: Config) -> list[Tensor]:
    hidden = config["hidden_size"]
    tensors = linear("head.dense", hidden, hidden, bias=config.get("classifier_bias", False))
    tensors += norm("head.norm", hidden, bias=config.get("norm_bias", False))
    return tensors + linear("classifier", 1, hidden)


def _classifier(
    of: Case,
    classifier: str,
    head: Callable[[Config], list[Tensor]],
    *,
    prefix: str,
    named: str = "",
    dtype: str = "F32",
    **changes: Any,
) -> Case:
    """Return the encoder of a case as a cross-encoder: without its pooler, under its prefix, with a head."""

    def tensors(config: Config) -> list[Tensor]:
        encoder = [tensor for tensor in of.tensors(config) if not tensor.name.startswith("pooler.")]
        return [replace(tensor, name=prefix + tensor.name) for tensor in encoder] + head(config)

    labels = {"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}
    return replace(
        of,
        name=named or f"{of.architecture}-reranker",
        config={**of.config, "architectures": [classifier], **labels, **changes},
        tensors=tensors,
        pooling=None,
        prefix="",
        unprefixed=(),
        position_ids=False,
        dtype=dtype,
        model_max_length=90,
    )


RERANKERS: Final = (
    _classifier(BERT[0], "BertForSequenceClassification", _bert_head, prefix="bert."),
    _classifier(
        BERT[1], "BertForSequenceClassification", _bert_head, prefix="bert.", named="bert-reranker-f16", dtype="F16"
    ),
    _classifier(ROBERTA[1], "RobertaForSequenceClassification", _roberta_head, prefix="roberta."),
    _classifier(XLM_ROBERTA[1], "XLMRobertaForSequenceClassification", _roberta_head, prefix="roberta."),
    _classifier(DISTILBERT[1], "DistilBertForSequenceClassification", _distilbert_head, prefix="distilbert."),
    _classifier(MPNET[1], "MPNetForSequenceClassification", _roberta_head, prefix="mpnet."),
    _classifier(MODERNBERT[0], "ModernBertForSequenceClassification", _modernbert_head, prefix="model."),
    _classifier(
        MODERNBERT[1],
        "ModernBertForSequenceClassification",
        _modernbert_head,
        prefix="model.",
        named="modernbert-reranker-mean",
        classifier_pooling="mean",
        classifier_bias=True,
    ),
)

JUDGES: Final = (
    replace(
        QWEN3[0],
        name="qwen3-judge",
        vocabulary=qwen_judge_bytes,
        pooling=None,
        prompts={},
        chat_template=_TEMPLATE,
        prefix="model.",
        model_max_length=1200,
        dtype="F32",
    ),
    replace(
        QWEN3[1],
        name="qwen3-judge-untied",
        vocabulary=qwen_judge_bytes,
        pooling=None,
        chat_template=_TEMPLATE,
        model_max_length=1200,
    ),
)
