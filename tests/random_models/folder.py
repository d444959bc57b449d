"""Write a case to a folder exactly as such models are published."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from tests.random_models.case import Case, Config, DenseLayer, Pooling
from tests.random_models.vocabularies import Vocabulary
from tests.random_models.weights import (
    Array,
    digest_of,
    draw,
    linear,
    write_safetensors,
    write_sharded,
)

_FLAGS: Final = {
    "cls": "pooling_mode_cls_token",
    "mean": "pooling_mode_mean_tokens",
    "max": "pooling_mode_max_tokens",
    "mean_sqrt_len_tokens": "pooling_mode_mean_sqrt_len_tokens",
    "weightedmean": "pooling_mode_weightedmean_tokens",
    "lasttoken": "pooling_mode_lasttoken",
}
_FLAGS_2021: Final = ("cls", "mean", "max", "mean_sqrt_len_tokens")
_MODULES: Final = {
    "Transformer": "sentence_transformers.base.modules.transformer.Transformer",
    "Pooling": "sentence_transformers.sentence_transformer.modules.pooling.Pooling",
    "Dense": "sentence_transformers.base.modules.dense.Dense",
    "Normalize": "sentence_transformers.base.modules.normalize.Normalize",
    "StaticEmbedding": "sentence_transformers.sentence_transformer.modules.static_embedding.StaticEmbedding",
}
_SPECIAL_IDS: Final = ("pad_token_id", "bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id")
_INT_TENSORS: Final = ("mapping",)


def _write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False), encoding="utf-8")


def full_config(case: Case, vocabulary: Vocabulary) -> dict[str, Any]:
    """The case's config.json with what depends on its tokenizer: the table's size and the special tokens' ids."""
    config = dict(case.config)
    config["vocab_size"] = vocabulary.size + case.unused_rows
    for key in _SPECIAL_IDS:
        token = vocabulary.config.get(key.removesuffix("_id")) or vocabulary.config.get("pad_token")
        if config.get(key) is not None and token is not None:
            config[key] = vocabulary.id_of(token)
    return config


def _published_name(case: Case, name: str) -> str:
    if not name.startswith(case.unprefixed or ("\0",)):
        name = case.prefix + name
    if case.gamma_beta:  # BERT of 2018, as google-bert/bert-base-uncased still has it
        name = name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
    return name


def draw_tensors(case: Case, config: Config, seed: int) -> dict[str, Array]:
    """Every tensor of the main safetensors file, under its published name."""
    drawn = {}
    for tensor in case.tensors(config):
        array = draw(tensor, case=case.name, seed=seed)
        drawn[_published_name(case, tensor.name)] = array.astype(np.int64) if tensor.name in _INT_TENSORS else array
    if case.position_ids:  # a buffer that transformers wrote until 4.31
        positions = np.arange(config["max_position_embeddings"], dtype=np.int64)[None, :]
        drawn[_published_name(case, "embeddings.position_ids")] = positions
    return drawn


def _write_tokenizer(case: Case, vocabulary: Vocabulary, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = vocabulary.tokenizer
    if case.pooling is not None and case.pooling.release == 2:
        # NOTE: all-MiniLM-L6-v2's own file asks for 128 tokens, always padded; sentence-transformers overrides both.
        tokenizer.enable_truncation(max_length=16)
        pad = vocabulary.config["pad_token"]
        tokenizer.enable_padding(length=16, pad_id=vocabulary.id_of(pad), pad_token=pad)
    tokenizer.save(str(folder / "tokenizer.json"))
    if case.chat_template:
        (folder / "chat_template.jinja").write_text(case.chat_template, encoding="utf-8")
    longest = case.model_max_length or (case.pooling and case.pooling.max_seq_length) or 512
    if case.architecture not in {"model2vec", "static_embedding"}:
        _write_json(folder / "tokenizer_config.json", vocabulary.config | {"model_max_length": longest})


def _pooling_config(pooling: Pooling, size: int) -> dict[str, Any]:
    if pooling.form == "compact":
        modes: Any = pooling.modes[0] if len(pooling.modes) == 1 else list(pooling.modes)
        return {"embedding_dimension": size, "pooling_mode": modes, "include_prompt": pooling.include_prompt}
    written = _FLAGS_2021 if pooling.form == "flags-2021" else tuple(_FLAGS)
    flags = {_FLAGS[mode]: mode in pooling.modes for mode in written}
    modern = {} if pooling.form == "flags-2021" else {"include_prompt": pooling.include_prompt}
    return {"word_embedding_dimension": size, **flags, **modern}


def _write_dense(case: Case, dense: DenseLayer, folder: Path, size: int, seed: int) -> None:
    config = {
        "in_features": size,
        "out_features": dense.out_features,
        "bias": dense.bias,
        "activation_function": dense.activation,
    }
    _write_json(folder / "config.json", config)
    layer = linear(f"{folder.name}.linear", dense.out_features, size, bias=dense.bias)
    tensors = {tensor.name.removeprefix(f"{folder.name}."): draw(tensor, case=case.name, seed=seed) for tensor in layer}
    write_safetensors(folder / "model.safetensors", tensors)


def _write_modules(case: Case, pooling: Pooling, folder: Path, hidden_size: int, seed: int) -> None:
    """modules.json, the folders it names, the prompts and the maximal length."""
    is_static = case.architecture == "static_embedding"
    modules = [("StaticEmbedding" if is_static else "Transformer", pooling.subfolder)]
    if pooling.modes:
        modules.append(("Pooling", "1_Pooling"))
        _write_json(folder / "1_Pooling" / "config.json", _pooling_config(pooling, hidden_size))
    size = hidden_size * len(pooling.modes)
    for dense in pooling.dense:
        name = f"{len(modules)}_Dense"
        _write_dense(case, dense, folder / name, size, seed)
        modules.append(("Dense", name))
        size = dense.out_features
    if pooling.normalize:
        modules.append(("Normalize", f"{len(modules)}_Normalize"))
        (folder / modules[-1][1]).mkdir()
    entries = [
        {
            "idx": index,
            "name": str(index),
            "path": path,
            "type": _MODULES[kind] if pooling.release >= 6 else f"sentence_transformers.models.{kind}",
        }
        for index, (kind, path) in enumerate(modules)
    ]
    _write_json(folder / "modules.json", entries)
    _write_json(folder / "config_sentence_transformers.json", _settings(case, pooling))
    if not is_static:
        _write_json(folder / pooling.subfolder / "sentence_bert_config.json", _transformer_settings(pooling))


def _write_model2vec_modules(pooling: Pooling, folder: Path) -> None:
    """modules.json as model2vec itself writes it: no folder of its own for any module."""
    types = ["StaticEmbedding", "Normalize"] if pooling.normalize else ["StaticEmbedding"]
    paths = {"StaticEmbedding": ".", "Normalize": "1_Normalize"}
    entries = [
        {"idx": index, "name": str(index), "path": paths[kind], "type": f"sentence_transformers.models.{kind}"}
        for index, kind in enumerate(types)
    ]
    _write_json(folder / "modules.json", entries)


def _settings(case: Case, pooling: Pooling) -> dict[str, Any]:
    versions = {"sentence_transformers": f"{pooling.release}.2.0", "transformers": "4.47.0", "pytorch": "2.5.0"}
    if pooling.release == 2 and not case.prompts:
        return {"__version__": versions}
    settings: dict[str, Any] = {"__version__": versions, "prompts": dict(case.prompts)}
    settings |= {"default_prompt_name": case.default_prompt_name, "similarity_fn_name": "cosine"}
    return settings | ({"model_type": "SentenceTransformer"} if pooling.release >= 6 else {})


def _transformer_settings(pooling: Pooling) -> dict[str, Any]:
    if pooling.release >= 6:  # the maximal length is in tokenizer_config.json now
        modality = {"text": {"method": "forward", "method_output_name": "last_hidden_state"}}
        return {
            "transformer_task": "feature-extraction",
            "modality_config": modality,
            "module_output_name": "token_embeddings",
        }
    return {"max_seq_length": pooling.max_seq_length, "do_lower_case": pooling.lowercase}


def _hidden_size(config: Mapping[str, Any]) -> int:
    keys = ("hidden_size", "dim", "n_embd", "hidden_dim")
    return int(next(config[key] for key in keys if key in config))


def write_model(case: Case, folder: Path, seed: int) -> str:
    """Write the case with the weights of `seed` to `folder`; return the weights' digest."""
    vocabulary = case.vocabulary()
    config = full_config(case, vocabulary)
    pooling = case.pooling
    inner = folder / pooling.subfolder if pooling else folder
    _write_tokenizer(case, vocabulary, inner)
    if case.architecture != "static_embedding":
        unpublished = "vocab_size" if case.architecture == "model2vec" else None
        _write_json(inner / "config.json", {key: value for key, value in config.items() if key != unpublished})
    tensors = draw_tensors(case, config, seed)
    if case.num_files > 1:
        write_sharded(inner, tensors, case.dtype, case.num_files)
    else:
        write_safetensors(inner / "model.safetensors", tensors, case.dtype)
    if case.architecture == "model2vec" and pooling is not None:
        _write_model2vec_modules(pooling, folder)
    elif pooling is not None:
        _write_modules(case, pooling, folder, _hidden_size(config), seed)
    return digest_of(tensors)
