"""What a folder's vectors must be: sentence-transformers, transformers, model2vec, or a compact reference in torch.

Nothing here imports Embergate's engine: an oracle that shares code with what it judges proves nothing.
"""

from __future__ import annotations

import importlib.metadata
import json
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from model2vec import StaticModel
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Dense, Normalize
from sentence_transformers.sentence_transformer.modules import Pooling
from tokenizers import Tokenizer
from transformers import AutoModel, AutoTokenizer
from transformers.utils import logging

from tests.oracle.nomic import NomicReference
from tests.random_models import Case

Vectors = NDArray[np.float32]

# Eager attention: torch's fused kernels take other paths with and without padding, this one takes one.
_MODEL = {"dtype": torch.float32, "attn_implementation": "eager"}
_MAX_TOKENS = 80  # for token_states: within every case's positions
STATIC = ("model2vec", "static_embedding")
_BATCH_SIZE = 5  # not all texts at once, so that rows are padded to different lengths
logging.disable_progress_bar()
logging.set_verbosity_error()  # its reports of unread weights: we assert on them
_PACKAGES = ("torch", "transformers", "sentence-transformers", "model2vec", "tokenizers", "numpy")


@dataclass(frozen=True)
class TokenStates:
    """One padded batch. Shapes: input_ids and mask (B, S), states (B, S, H); padding's states mean nothing."""

    input_ids: NDArray[np.int32]
    mask: NDArray[np.int32]
    states: Vectors


def versions() -> dict[str, str]:
    """The versions of everything that the numbers come from."""
    found = {package: importlib.metadata.version(package) for package in _PACKAGES}
    return {"python": platform.python_version(), **found}


def _assert_all_weights_read(folder: Path, unread: tuple[str, ...]) -> None:
    """Fail if transformers would fill in a weight by chance, or leave one of ours out: the oracle would lie."""
    _, info = AutoModel.from_pretrained(folder, output_loading_info=True, **_MODEL)
    missing = [key for key in info["missing_keys"] if not key.startswith("pooler.")]
    unexpected = [key for key in info["unexpected_keys"] if not key.startswith(unread) and "position_ids" not in key]
    assert not missing, f"{folder}: transformers found no {missing}"
    assert not unexpected, f"{folder}: transformers left out {unexpected}"
    assert not info["mismatched_keys"], info


def _assert_same_tokens(folder: Path, texts: Sequence[str], max_tokens: int) -> None:
    """Fail if transformers' tokenizer is not the one in tokenizer.json: it rebuilds some from their vocabulary."""
    ours = Tokenizer.from_file(str(folder / "tokenizer.json"))
    ours.no_padding()
    ours.enable_truncation(max_tokens)
    theirs = AutoTokenizer.from_pretrained(folder)(list(texts), truncation=True, max_length=max_tokens)["input_ids"]
    for text, encoding, ids in zip(texts, ours.encode_batch(list(texts)), theirs, strict=True):
        assert encoding.ids == ids, f"{folder}: {text!r} is {encoding.ids} by tokenizer.json, {ids} by transformers"


def _transformer_vectors(case: Case, folder: Path, texts: Sequence[str], prompt_name: str | None) -> Vectors:
    inner = folder / (case.pooling.subfolder if case.pooling else "")
    _assert_all_weights_read(inner, case.unread)
    model = SentenceTransformer(str(folder), device="cpu", model_kwargs=_MODEL, local_files_only=True)
    lowers = case.pooling is not None and case.pooling.lowercase
    plain = [text.lower() if lowers else text for text in texts]
    _assert_same_tokens(inner, plain, model.max_seq_length)
    return _encode(model, texts, prompt_name)


def _encode(model: SentenceTransformer, texts: Sequence[str], prompt_name: str | None) -> Vectors:
    """Embed with the named prompt, or with none: not even with the model's default one."""
    prompt = model.prompts[prompt_name] if prompt_name else ""
    return model.encode(list(texts), prompt=prompt, batch_size=_BATCH_SIZE, convert_to_numpy=True)


@torch.no_grad()
def token_states(case: Case, folder: Path, texts: Sequence[str]) -> TokenStates:
    """The network alone: one batch of all texts, padded on the right, without pooling."""
    assert case.architecture not in STATIC
    inner = folder / (case.pooling.subfolder if case.pooling else "")
    tokenizer = AutoTokenizer.from_pretrained(inner, padding_side="right")
    tokens = tokenizer(list(texts), padding=True, truncation=True, max_length=_MAX_TOKENS, return_tensors="pt")
    ids, mask = tokens["input_ids"], tokens["attention_mask"]
    if case.architecture == "nomic_bert":
        states = NomicReference(inner).hidden_states(ids, mask)
    else:
        model = AutoModel.from_pretrained(inner, **_MODEL).eval()
        states = model(input_ids=ids, attention_mask=mask).last_hidden_state
    return TokenStates(ids.numpy().astype(np.int32), mask.numpy().astype(np.int32), states.numpy())


def _later_modules(folder: Path) -> list[torch.nn.Module]:
    """The modules after the first, as sentence-transformers loads them."""
    kinds = {"Pooling": Pooling, "Dense": Dense, "Normalize": Normalize}
    entries = json.loads((folder / "modules.json").read_text())[1:]
    loaded = []
    for entry in entries:
        kind = kinds[entry["type"].rsplit(".", 1)[1]]
        loaded.append(kind() if kind is Normalize else kind.load(str(folder), subfolder=entry["path"]))
    return loaded


def _nomic_vectors(folder: Path, texts: Sequence[str], prompt_name: str | None) -> Vectors:
    """NomicBERT: the token states by our compact reference, pooled by sentence-transformers' modules."""
    settings = json.loads((folder / "config_sentence_transformers.json").read_text())
    prompt = settings["prompts"][prompt_name] if prompt_name else ""
    written = json.loads((folder / "sentence_bert_config.json").read_text()).get("max_seq_length")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    max_tokens = written or tokenizer.model_max_length
    _assert_same_tokens(folder, texts, max_tokens)
    reference = NomicReference(folder)
    native = reference.native()
    modules = _later_modules(folder)
    rows = []
    for start in range(0, len(texts), _BATCH_SIZE):
        batch = [prompt + text for text in texts[start : start + _BATCH_SIZE]]
        tokens = tokenizer(batch, padding=True, truncation=True, max_length=max_tokens, return_tensors="pt")
        ids, mask = tokens["input_ids"], tokens["attention_mask"]
        states = reference.hidden_states(ids, mask)
        if native is not None:
            with torch.no_grad():
                theirs = native(input_ids=ids, attention_mask=mask).last_hidden_state
            torch.testing.assert_close(states[mask.bool()], theirs[mask.bool()], atol=2e-5, rtol=0)
        features: dict[str, Any] = {"token_embeddings": states, "attention_mask": mask}
        for module in modules:
            features = module(features)
        rows.append(features["sentence_embedding"].detach().numpy())
    return np.concatenate(rows)


def _model2vec_vectors(folder: Path, texts: Sequence[str]) -> Vectors:
    model = StaticModel.from_pretrained(folder)
    model.embedding = model.embedding.astype(np.float32)  # else float16 rows are averaged in float16
    return model.encode(list(texts)).astype(np.float32)


def _static_vectors(folder: Path, texts: Sequence[str], prompt_name: str | None) -> Vectors:
    model = SentenceTransformer(str(folder), device="cpu", local_files_only=True).float()
    return _encode(model, texts, prompt_name)


def folder_vectors(folder: Path, texts: Sequence[str]) -> Vectors:
    """The vectors of a sentence-transformers folder with real weights."""
    _assert_all_weights_read(folder, ())
    return _encode(SentenceTransformer(str(folder), device="cpu", model_kwargs=_MODEL), texts, None)


def vectors(case: Case, folder: Path, texts: Sequence[str], prompt_name: str | None = None) -> Vectors:
    """The vectors of `texts`, float32, as the case's own library computes them."""
    if case.architecture == "nomic_bert":
        result = _nomic_vectors(folder, texts, prompt_name)
    elif case.architecture == "model2vec":
        result = _model2vec_vectors(folder, texts)
    elif case.architecture == "static_embedding":
        result = _static_vectors(folder, texts, prompt_name)
    else:
        result = _transformer_vectors(case, folder, texts, prompt_name)
    assert result.dtype == np.float32, result.dtype
    assert np.isfinite(result).all(), f"{case.name}: not finite"
    return result
