"""Configurations that lie and checkpoints that lack something: each error names the key or the tensor."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save_file

from embergate.engine.architectures import ARCHITECTURES
from embergate.engine.architectures.static import StaticTable
from embergate.engine.backends.protocol import ComputeOptions
from embergate.engine.backends.selection import open_backend
from embergate.engine.loading.config_reader import ConfigReader
from embergate.engine.loading.folder import read_folder
from embergate.engine.loading.spec import PoolingMode, Precision
from embergate.engine.loading.use import Asked
from embergate.engine.loading.weights import Weights
from embergate.errors import ModelError, UnsupportedArchitectureError
from tests.random_models import CASES, cases_of, write_model
from tests.random_models.folder import full_config

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
    "nomic turns more than there is": ("nomic_bert", {"rotary_emb_fraction": 2.0}, "rotary_emb_fraction"),
    "matryoshka longer than the vector": ("bert", {"matryoshka_dimensions": [64]}, "matryoshka_dimensions"),
    "qwen layer types": ("qwen3", {"layer_types": ["full_attention", "sliding_attention"]}, "layer_types"),
    "qwen layer types that are no list": ("qwen3", {"layer_types": "full_attention"}, "layer_types"),
    "epsilon as text": ("bert", {"layer_norm_eps": "1e-12"}, "layer_norm_eps"),
    "epsilon that is a truth value": ("bert", {"layer_norm_eps": True}, "layer_norm_eps"),
}
SIZES: dict[str, tuple[str, ...]] = {
    "bert": (
        "vocab_size",
        "hidden_size",
        "num_hidden_layers",
        "num_attention_heads",
        "intermediate_size",
        "max_position_embeddings",
        "type_vocab_size",
    ),
    "distilbert": ("vocab_size", "dim", "n_layers", "n_heads", "hidden_dim", "max_position_embeddings"),
    "mpnet": ("relative_attention_num_buckets",),
    "modernbert": ("vocab_size", "hidden_size", "num_hidden_layers", "intermediate_size", "max_position_embeddings"),
    "nomic_bert": ("vocab_size", "n_embd", "n_layer", "n_head", "n_inner", "n_positions"),
    "qwen3": ("vocab_size", "hidden_size", "num_key_value_heads", "head_dim", "max_position_embeddings"),
}
ABSURD: dict[str, object] = {
    "a billion": 10**9,
    "a trillion": 10**12,
    "more than 64 bits": 10**30,
    "a billion, with a point": 1e9,
    "negative": -1,
    "fractional": 48.5,
    "a truth value": True,
    "text": "48",
    "a list": [48],
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


@pytest.mark.parametrize("value", ABSURD.values(), ids=ABSURD.keys())
@pytest.mark.parametrize(("architecture", "key"), [(name, key) for name, keys in SIZES.items() for key in keys])
def test_absurd_size_is_refused_with_the_range_allowed(architecture: str, key: str, value: object) -> None:
    kind = ARCHITECTURES[architecture]
    config = {**full_config(cases_of(architecture)[0], cases_of(architecture)[0].vocabulary()), key: value}
    with pytest.raises(ModelError, match=rf"^config\.json: {key} is .+, expected an integer from \d+ to \d+$"):
        kind.read(ConfigReader(config, source="config.json"))


def test_largest_sizes_of_published_networks_are_accepted() -> None:
    largest: dict[str, Any] = {
        "vocab_size": 262_208,
        "hidden_size": 16_384,
        "intermediate_size": 53_248,
        "num_attention_heads": 128,
    }
    largest |= {"num_hidden_layers": 126, "max_position_embeddings": 1 << 20, "hidden_act": "silu"}
    assert ARCHITECTURES["qwen3"].read(ConfigReader(largest, source="config.json")).hidden_size == 16_384


def peak_bytes_of(work: Callable[[], object]) -> int:
    """Return how much Python and numpy held at once while `work` ran."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


HUGE: dict[str, tuple[str, dict[str, Any], str]] = {
    "bert": ("bert", {"hidden_size": 1 << 16, "vocab_size": 1 << 24}, "embeddings.word_embeddings.weight has shape"),
    "bert wide": ("bert", {"intermediate_size": 1 << 20}, "encoder.layer.1.output.dense.weight has shape"),
    "mpnet": ("mpnet", {"max_position_embeddings": 1 << 20}, "embeddings.position_embeddings.weight has shape"),
    "qwen3": ("qwen3", {"max_position_embeddings": 1 << 20, "head_dim": 1 << 12}, "1048576 positions"),
}


@pytest.mark.parametrize("precision", [Precision.F32, Precision.BF16, Precision.INT8])
@pytest.mark.parametrize(("architecture", "sizes", "said"), HUGE.values(), ids=HUGE.keys())
def test_sizes_that_the_checkpoint_does_not_have_are_refused_before_they_are_allocated(
    tmp_path: Path, architecture: str, sizes: dict[str, Any], said: str, precision: Precision
) -> None:
    write_model(cases_of(architecture)[0], tmp_path, 0)
    edit(tmp_path, lambda config: config.update(sizes))
    found = read_folder(tmp_path)

    def load() -> None:
        with pytest.raises(ModelError) as caught:
            open_backend(found, precision, ComputeOptions())
        assert said in caught.value.message

    assert peak_bytes_of(load) < 100 << 20


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
    assert read_folder(tmp_path, asked=Asked(PoolingMode.CLS)).spec.pooling.modes == (PoolingMode.CLS,)


def test_pooling_that_is_not_the_files_is_refused(tmp_path: Path) -> None:
    write_model(cases_of("bert")[0], tmp_path, 0)
    stated = read_folder(tmp_path).spec.pooling
    assert stated.modes == (PoolingMode.MEAN,)
    assert read_folder(tmp_path, asked=Asked(PoolingMode.MEAN)).spec.pooling == stated
    with pytest.raises(ModelError, match="is pooled by mean, as its files say, not by cls"):
        read_folder(tmp_path, asked=Asked(PoolingMode.CLS))


def test_module_outside_the_folder_is_refused(tmp_path: Path) -> None:
    write_model(cases_of("bert")[0], tmp_path, 0)
    modules = json.loads((tmp_path / "modules.json").read_text())
    modules[1]["path"] = "../../elsewhere"
    (tmp_path / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(ModelError, match="inside the model"):
        read_folder(tmp_path)


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        ({"other": np.ones((4, 2), np.float32)}, "has no tensor embedding.weight or embeddings"),
        ({"embeddings": np.ones(4, np.float32)}, r"embeddings has shape \(4,\), expected \(rows, dimensions\)"),
        ({"embeddings": np.ones((0, 2), np.float32)}, "expected .rows, dimensions"),
        ({"embeddings": np.ones((4, 2), np.int32)}, "embeddings has type I32, expected a float type"),
        ({"mapping": np.array([0, 4])}, "mapping points outside the 4 rows"),
        ({"mapping": np.array([-1, 0])}, "mapping points outside the 4 rows"),
        ({"mapping": np.array([0.0, 1.0])}, "mapping has type F64 .*, expected a list of integers"),
        ({"mapping": np.array([[0, 1]])}, "mapping has type I64 .*, expected a list of integers"),
        ({"weights": np.ones(3, np.float32)}, r"weights has shape \(3,\), config\.json asks for \(4,\)"),
        ({"weights": np.full(4, np.nan, np.float32)}, "weights holds NaN"),
    ],
)
def test_static_table_that_does_not_fit_is_refused_by_tensor(
    tmp_path: Path, tensors: dict[str, NDArray[Any]], said: str
) -> None:
    table = {} if "other" in tensors else {"embeddings": np.ones((4, 2), np.float32)}
    save_file({**table, **tensors}, tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match=said):
        StaticTable.read(Weights(tmp_path))


def test_positions_turn_pairs_of_dimensions(tmp_path: Path) -> None:
    write_model(cases_of("qwen3")[0], tmp_path, 0)
    edit(tmp_path, lambda config: config.update(head_dim=7))
    with pytest.raises(ModelError, match="pairs of dimensions, and 7 is odd"):
        open_backend(read_folder(tmp_path), Precision.F32, ComputeOptions())


def test_file_in_the_place_of_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model").write_text("")
    with pytest.raises(ModelError, match="is not a folder"):
        read_folder(tmp_path / "model")
