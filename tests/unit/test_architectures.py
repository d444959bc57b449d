"""Configurations that lie and checkpoints that lack something: each error names the key or the tensor."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from embergate.engine.backends.protocol import ComputeOptions
from embergate.engine.backends.selection import open_backend
from embergate.engine.loading.folder import read_folder
from embergate.engine.loading.spec import PoolingMode, Precision
from embergate.errors import ModelError, UnsupportedArchitectureError
from tests.random_models import CASES, cases_of, write_model

NETWORKS = [
    name for name in dict.fromkeys(case.architecture for case in CASES) if name not in {"model2vec", "static_embedding"}
]
LIES: dict[str, tuple[str, dict[str, Any], str]] = {
    "bert heads do not divide": ("bert", {"num_attention_heads": 7}, "num_attention_heads"),
    "bert negative layers": ("bert", {"num_hidden_layers": -1}, "num_hidden_layers"),
    "bert fractional size": ("bert", {"hidden_size": 48.5}, "hidden_size"),
    "bert size as text": ("bert", {"intermediate_size": "96"}, "intermediate_size"),
    "bert unknown activation": ("bert", {"hidden_act": "mish"}, "hidden_act"),
    "bert relative positions": ("bert", {"position_embedding_type": "relative_key"}, "position_embedding_type"),
    "bert without a vocabulary": ("bert", {"vocab_size": None}, "vocab_size"),
    "roberta without positions": ("roberta", {"max_position_embeddings": 2}, "max_position_embeddings"),
    "distilbert heads do not divide": ("distilbert", {"n_heads": 7}, "n_heads"),
    "mpnet too few buckets": ("mpnet", {"relative_attention_num_buckets": 8}, "relative_attention_num_buckets"),
    "nomic mixture of experts": ("nomic_bert", {"num_experts": 8}, "num_experts"),
    "nomic pre-norm": ("nomic_bert", {"prenorm": True}, "prenorm"),
    "nomic interleaved": ("nomic_bert", {"rotary_emb_interleaved": True}, "rotary_emb_interleaved"),
    "nomic scaled positions": ("nomic_bert", {"rotary_scaling_factor": 2.0}, "rotary_scaling_factor"),
    "modernbert layer types": ("modernbert", {"layer_types": ["full_attention"]}, "layer_types"),
    "modernbert scaling": ("modernbert", {"rope_parameters": {"full_attention": {"rope_type": "yarn"}}}, "rope_type"),
    "qwen kv heads do not divide": ("qwen3", {"num_key_value_heads": 3}, "num_key_value_heads"),
    "qwen sliding window": ("qwen2", {"use_sliding_window": True}, "use_sliding_window"),
    "qwen scaling": ("qwen3", {"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}, "rope_type"),
    "qwen theta": ("qwen3", {"rope_theta": -1}, "rope_theta"),
    "no model type": ("bert", {"model_type": None}, "model_type"),
}


def edit(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text())
    change(config)
    path.write_text(json.dumps(config))


@pytest.mark.parametrize(("architecture", "lie", "named"), LIES.values(), ids=LIES.keys())
def test_config_that_lies_is_refused_by_key(tmp_path: Path, architecture: str, lie: dict[str, Any], named: str) -> None:
    write_model(cases_of(architecture)[0], tmp_path, 0)
    edit(tmp_path, lambda config: config.update(lie))
    with pytest.raises(ModelError) as caught:
        read_folder(tmp_path)
    assert named in caught.value.message


@pytest.mark.parametrize("architecture", NETWORKS)
def test_every_tensor_that_is_missing_is_named(tmp_path: Path, architecture: str) -> None:
    write_model(cases_of(architecture)[0], tmp_path, 0)
    published = json.loads((tmp_path / "config.json").read_text())
    key = next(key for key in ("num_hidden_layers", "n_layers", "n_layer") if key in published)
    edit(tmp_path, lambda config: config.update({key: published[key] + 1, "layer_types": None}))
    found = read_folder(tmp_path)
    with pytest.raises(ModelError) as caught:
        open_backend(found, Precision.F32, ComputeOptions())
    assert caught.value.message.count(f".{published[key]}.") >= 4
    assert "is missing, expected shape" in caught.value.message


def test_unsupported_architecture_names_itself_and_the_extra(tmp_path: Path) -> None:
    write_model(cases_of("bert")[0], tmp_path, 0)
    edit(tmp_path, lambda config: config.update(model_type="electra"))
    with pytest.raises(UnsupportedArchitectureError) as caught:
        open_backend(read_folder(tmp_path), Precision.F32, ComputeOptions())
    assert "'electra'" in caught.value.message
    assert "embergate[torch]" in caught.value.message


def test_pooling_that_no_file_states_is_never_guessed(tmp_path: Path) -> None:
    write_model(cases_of("bert")[0], tmp_path, 0)
    (tmp_path / "modules.json").unlink()
    with pytest.raises(ModelError, match="never guessed"):
        read_folder(tmp_path)
    assert read_folder(tmp_path, pooling=PoolingMode.CLS).spec.pooling.modes == (PoolingMode.CLS,)


def test_module_outside_the_folder_is_refused(tmp_path: Path) -> None:
    write_model(cases_of("bert")[0], tmp_path, 0)
    modules = json.loads((tmp_path / "modules.json").read_text())
    modules[1]["path"] = "../../elsewhere"
    (tmp_path / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(ModelError, match="inside the model"):
        read_folder(tmp_path)
