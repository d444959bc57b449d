"""What a reranker's scores must be: sentence-transformers' CrossEncoder, and Qwen3-Reranker's card on transformers.

Nothing here imports Embergate's engine.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import CrossEncoder
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from tests.random_models import JUDGES, Case

Scores = NDArray[np.float64]

_MODEL = {"dtype": torch.float32, "attn_implementation": "eager"}
_BATCH_SIZE = 5  # not all pairs at once, so that rows are padded to different lengths
_TASK = "Given a web search query, retrieve relevant passages that answer the query"
_PREFIX = (
    "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct provided. "
    'Note that the answer can only be "yes" or "no".<|im_end|>\n<|im_start|>user\n'
)
_SUFFIX = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"


def _assert_all_weights_read(kind: type, folder: Path) -> None:
    """Fail if transformers would fill in a weight by chance, or leave one of ours out: the oracle would lie."""
    _, info = kind.from_pretrained(folder, output_loading_info=True, **_MODEL)  # type: ignore[attr-defined]
    assert not info["missing_keys"], f"{folder}: transformers found no {info['missing_keys']}"
    assert not info["unexpected_keys"], f"{folder}: transformers left out {info['unexpected_keys']}"
    assert not info["mismatched_keys"], info


def scores(case: Case, folder: Path, query: str, documents: Sequence[str], task: str | None = None) -> Scores:
    """The score of each document, cut where it is too long, as the case's own library computes it."""
    result = _judged(folder, query, documents, task or _TASK) if case in JUDGES else _crossed(folder, query, documents)
    assert np.isfinite(result).all(), f"{case.name}: not finite"
    return result


def _crossed(folder: Path, query: str, documents: Sequence[str]) -> Scores:
    _assert_all_weights_read(AutoModelForSequenceClassification, folder)
    model = CrossEncoder(str(folder), device="cpu", model_kwargs=_MODEL, local_files_only=True)
    pairs = [(query, document) for document in documents]
    logits = model.predict(pairs, batch_size=_BATCH_SIZE, activation_fn=torch.nn.Identity())
    return 1 / (1 + np.exp(-np.asarray(logits, np.float64)))


@torch.no_grad()
def _judged(folder: Path, query: str, documents: Sequence[str], task: str) -> Scores:
    """As on the card, in the prompt's form that this project uses; Source: https://huggingface.co/Qwen/Qwen3-Reranker-0.6B"""
    _assert_all_weights_read(AutoModelForCausalLM, folder)
    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
    model = AutoModelForCausalLM.from_pretrained(folder, **_MODEL).eval()
    prefix = tokenizer.encode(_PREFIX, add_special_tokens=False)
    suffix = tokenizer.encode(_SUFFIX, add_special_tokens=False)
    room = tokenizer.model_max_length - len(prefix) - len(suffix)
    found: list[float] = []
    for start in range(0, len(documents), _BATCH_SIZE):
        part = documents[start : start + _BATCH_SIZE]
        texts = [f"<Instruct>: {task}\n<Query>: {query}\n<Document>: {document}" for document in part]
        inputs = tokenizer(
            texts, padding=False, truncation="longest_first", return_attention_mask=False, max_length=room
        )
        inputs["input_ids"] = [prefix + ids + suffix for ids in inputs["input_ids"]]
        padded = tokenizer.pad(inputs, padding=True, return_tensors="pt")
        last = model(**padded).logits[:, -1, :]
        no, yes = (tokenizer.convert_tokens_to_ids(word) for word in ("no", "yes"))
        both = torch.stack([last[:, no], last[:, yes]], dim=1).double()
        found += torch.nn.functional.softmax(both, dim=1)[:, 1].tolist()
    return np.array(found)
