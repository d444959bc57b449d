"""Model folders that are damaged or made to harm: each is refused by one clear error, never by a raw one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from embergate.engine.loaded_model import LoadedModel
from embergate.engine.loading.loader import SourceOptions
from embergate.engine.loading.spec import Precision
from embergate.errors import InvalidRequestError, ModelError
from tests.random_models import cases_of, write_model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A whole BERT with a modules.json, to be damaged."""
    folder = tmp_path / "model"
    write_model(cases_of("bert")[0], folder, 0)
    return folder


def open_model(folder: Path) -> LoadedModel:
    return LoadedModel.open(folder, precision=Precision.F32, source=SourceOptions(offline=True))


def refusal_of(folder: Path) -> str:
    """Return why a folder is refused."""
    with pytest.raises(ModelError) as caught:
        open_model(folder)
    assert "\n" not in caught.value.message
    return caught.value.message


def edit(path: Path, change: Callable[[Any], object]) -> None:
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


JSON_FILES = [
    "config.json",
    "modules.json",
    "1_Pooling/config.json",
    "config_sentence_transformers.json",
    "sentence_bert_config.json",
    "tokenizer.json",
    "model.safetensors.index.json",
]
BROKEN_JSON: dict[str, bytes] = {
    "empty": b"",
    "binary": b"\x00\x01",
    "not UTF-8": b'{"a": "\xff"}',
    "cut off": b'{"a": [1, 2',
    "a list of nothing": b"[]",
    "null": b"null",
    "100,000 brackets": b"[" * 100_000,
    "a lone surrogate": b'{"a": "\\ud800"}',
    "a number beyond all": b'{"a": 1e999}',
}


@pytest.mark.parametrize("content", BROKEN_JSON.values(), ids=BROKEN_JSON.keys())
@pytest.mark.parametrize("name", JSON_FILES)
def test_json_that_is_broken_is_refused_by_the_files_name(folder: Path, name: str, content: bytes) -> None:
    if name == "model.safetensors.index.json":
        (folder / "model.safetensors").unlink()
    (folder / name).write_bytes(content)
    assert Path(name).name in refusal_of(folder)


@pytest.mark.parametrize("name", [*JSON_FILES[:-1], "model.safetensors"])
def test_file_that_cannot_be_read_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    (folder / name).symlink_to("/proc/self/mem")  # a file that every read of fails, for root too
    message = refusal_of(folder)
    assert Path(name).name in message
    assert "Input/output error" in message


@pytest.mark.parametrize("name", [name for name in JSON_FILES if name != "tokenizer.json"])
def test_json_of_fifty_megabytes_is_refused_unread(folder: Path, name: str) -> None:
    if name == "model.safetensors.index.json":
        (folder / "model.safetensors").unlink()
    with (folder / name).open("wb") as file:
        file.truncate(50_000_000)
    assert f"{Path(name).name} is larger than" in refusal_of(folder)


def test_tokenizer_beyond_its_limit_is_refused_unread(folder: Path) -> None:
    with (folder / "tokenizer.json").open("wb") as file:
        file.truncate((256 << 20) + 1)
    assert "tokenizer.json is larger than" in refusal_of(folder)


def test_nesting_that_the_fingerprint_could_not_take_is_refused(folder: Path) -> None:
    nested: list[Any] = []
    for _ in range(300):
        nested = [nested]
    edit(folder / "config.json", lambda config: config.update(unused=nested))
    assert "config.json is nested too deeply" in refusal_of(folder)


@pytest.mark.parametrize("index", [0, 1], ids=["encoder", "pooling"])
@pytest.mark.parametrize(
    "path",
    ["../../etc", "/etc", "..", "1_Pooling/../..", "link", "loop", "a\0b", "x" * 5000, "x/" * 3000],
    ids=["up", "absolute", "parent", "in and out", "link", "loop", "null byte", "long name", "long path"],
)
def test_module_that_leads_out_of_the_folder_is_refused(folder: Path, path: str, index: int) -> None:
    (folder / "link").symlink_to("/etc")
    (folder / "loop").symlink_to("loop")
    edit(folder / "modules.json", lambda modules: modules[index].update(path=path))
    assert f"modules.json: module {index}: path is" in refusal_of(folder)


@pytest.mark.parametrize(
    ("modules", "said"),
    [
        ([], "must list 1 to 16"),
        ([{"type": "x.Transformer"}] * 17, "must list 1 to 16"),
        ([5], "module 0 must be a JSON object"),
        ([{}], "type is missing"),
        ([{"type": "x.CLIPModel"}], "the first module is CLIPModel"),
        ([{"type": "x.Transformer"}, {"type": "x.LayerNorm"}], "type LayerNorm are not supported"),
        ([{"type": "x.Transformer"}, {"type": "x.Normalize"}, {"type": "x.Dense"}], "a Dense after Normalize"),
        ([{"type": "x.Transformer"}, {"type": "x.Pooling", "path": "nowhere"}], "nowhere has no config.json"),
        ([{"type": "x.Transformer", "path": 5}], "path is 5"),
    ],
)
def test_list_of_modules_that_cannot_be_is_refused(folder: Path, modules: list[Any], said: str) -> None:
    (folder / "modules.json").write_text(json.dumps(modules))
    assert said in refusal_of(folder)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"pooling_mode_mean_tokens": "yes"}, "pooling_mode_mean_tokens is 'yes'"),
        ({"pooling_mode_mean_tokens": False}, "no pooling mode is true"),
        ({"pooling_mode": "median"}, "pooling_mode is 'median'"),
        ({"pooling_mode": []}, "pooling_mode is []"),
        ({"pooling_mode": ["mean", 5]}, "pooling_mode is ['mean', 5]"),
    ],
)
def test_pooling_that_is_none_is_refused(folder: Path, config: dict[str, Any], said: str) -> None:
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(config))
    assert said in refusal_of(folder)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"in_features": 5, "out_features": 4}, "in_features is 5, it is given 48"),
        ({"in_features": 48, "out_features": 10**9}, "out_features is 1000000000"),
        ({"in_features": 48, "out_features": 4, "use_residual": True}, "use_residual is True"),
        ({"in_features": 48, "out_features": 4, "activation_function": "os.system"}, "activation_function is"),
        ({"in_features": 48, "out_features": 4}, "linear.weight is missing"),
        ({"in_features": 48, "out_features": 1 << 20, "bias": False}, "linear.weight is missing"),
    ],
)
def test_dense_layer_that_cannot_be_is_refused(folder: Path, config: dict[str, Any], said: str) -> None:
    dense = folder / "2_Dense"
    dense.mkdir()
    (dense / "config.json").write_text(json.dumps(config))
    save_file({"other": np.zeros(1, np.float32)}, dense / "model.safetensors")
    edit(folder / "modules.json", lambda modules: modules.insert(2, {"type": "x.Dense", "path": "2_Dense"}))
    assert said in refusal_of(folder)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"prompts": {"query": 5}}, "prompts is {'query': 5}"),
        ({"prompts": {"query": "x" * 2049}}, "prompts is {'query': 'xxx"),
        ({"prompts": ["query"]}, "prompts is ['query']"),
        ({"prompts": {}, "default_prompt_name": "query"}, "default_prompt_name is 'query'"),
    ],
)
def test_prompts_that_are_none_are_refused(folder: Path, settings: dict[str, Any], said: str) -> None:
    (folder / "config_sentence_transformers.json").write_text(json.dumps(settings))
    assert said in refusal_of(folder)


@pytest.mark.parametrize("length", [1, 2])
def test_limit_that_leaves_no_room_between_the_special_tokens_is_refused(folder: Path, length: int) -> None:
    edit(folder / "sentence_bert_config.json", lambda config: config.update(max_seq_length=length))
    assert f"takes {length} tokens at most" in refusal_of(folder)


def test_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert refusal_of(tmp_path / "empty") == "empty has no config.json; fetch the model's files again"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_weights_that_are_not_finite_are_named(folder: Path, dtype: type[np.floating[Any]], value: float) -> None:
    name = "encoder.layer.1.output.dense.bias"
    tensors = load_file(folder / "model.safetensors")
    tensors[name] = tensors[name].astype(dtype)
    tensors[name][3] = value
    save_file(tensors, folder / "model.safetensors")
    assert f"{name} holds NaN or infinite values" in refusal_of(folder)


def test_weights_too_large_for_float32_are_named(folder: Path) -> None:
    name = "embeddings.LayerNorm.weight"
    tensors = load_file(folder / "model.safetensors")
    save_file(tensors | {name: tensors[name].astype(np.float64) * 1e300}, folder / "model.safetensors")
    assert f"{name} holds NaN or infinite values" in refusal_of(folder)


def test_every_tensor_that_is_missing_or_misshaped_is_named(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    gone = ["embeddings.position_embeddings.weight", "encoder.layer.0.attention.output.dense.bias"]
    turned = "encoder.layer.1.intermediate.dense.weight"
    tensors[turned] = np.ascontiguousarray(tensors[turned].T)
    save_file({name: values for name, values in tensors.items() if name not in gone}, folder / "model.safetensors")
    said = refusal_of(folder)
    for name in gone:
        assert f"{name} is missing, expected shape (" in said
    assert f"{turned} has shape (48, 96), config.json asks for (96, 48)" in said


# --- tokenizer.json ----------------------------------------------------------------------------------------------------


def _template(special_tokens: dict[str, Any], pieces: list[Any]) -> dict[str, Any]:
    return {"type": "TemplateProcessing", "single": pieces, "pair": [], "special_tokens": special_tokens}


BAD_TOKENIZERS: dict[str, tuple[dict[str, Any], str]] = {
    "a vocabulary beyond the table": (
        {"model": {"vocab": {"[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "a": 2**32 - 1}}},
        "token id 4294967295",
    ),
    "a special token beyond the table": (
        {"post_processor": {"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 10**9]}},
        "token id 1000000000",
    ),
    "negative ids": ({"model": {"vocab": {"a": -1}}}, "cannot be used: invalid value"),
    "ids beyond 32 bits": ({"model": {"vocab": {"a": 2**40}}}, "cannot be used: invalid value"),
    "no unknown token": ({"model": {"unk_token": "[NONE]", "vocab": {"a": 0}}}, "Missing [UNK] token"),
    "no vocabulary": ({"model": {"vocab": {}}}, "Missing [UNK] token"),
    "a template without its tokens": (
        {"post_processor": _template({}, [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}])},
        "cannot be used: ",
    ),
    "a template of a second text": (
        {"post_processor": _template({}, [{"Sequence": {"id": "B", "type_id": 0}}])},
        "cannot be used: ",
    ),
    "a broken normalizer": (
        {"normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAAA"}},
        "cannot be used: ",
    ),
    "a broken pattern": (
        {"normalizer": {"type": "Replace", "pattern": {"Regex": "((("}, "content": "x"}},
        "cannot be used: ",
    ),
    "an unknown model": ({"model": {"type": "Magic"}}, "cannot be used: "),
}


@pytest.mark.parametrize(("changes", "said"), BAD_TOKENIZERS.values(), ids=BAD_TOKENIZERS.keys())
def test_tokenizer_that_cannot_work_is_refused_at_load(folder: Path, changes: dict[str, Any], said: str) -> None:
    def change(tokenizer: dict[str, Any]) -> None:
        for key, value in changes.items():
            tokenizer[key] = {**tokenizer[key], **value} if key == "model" else value

    edit(folder / "tokenizer.json", change)
    message = refusal_of(folder)
    assert message.startswith("tokenizer.json ")
    assert said in message


def test_added_token_without_a_row_is_refused_in_the_text_that_holds_it(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    token = {"id": config["vocab_size"], "content": "<extra>", "special": True, **flags}
    edit(folder / "tokenizer.json", lambda tokenizer: tokenizer["added_tokens"].append(token))
    model = open_model(folder)
    assert model.encode(["the text"]).shape == (1, 48)
    with pytest.raises(InvalidRequestError) as caught:
        model.encode(["the text", "an <extra> token"])
    model.close()
    assert caught.value.param == "input[1]"
    assert f"id {config['vocab_size']}" in caught.value.message
