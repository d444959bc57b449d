"""Safetensors files and checkpoints: what is broken is refused by name, what is whole reads back bit for bit."""

from __future__ import annotations

import contextlib
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from embergate.engine.loading.safetensors_file import SafetensorsFile
from embergate.engine.loading.weights import Tensor, Weights
from embergate.errors import ModelError


def raw_file(path: Path, header: object, data: bytes = b"", *, claimed: int | None = None) -> Path:
    encoded = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(encoded) if claimed is None else claimed) + encoded + data)
    return path


def entry(dtype: str = "F32", shape: Any = (1,), offsets: Any = (0, 4)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


BROKEN: dict[str, tuple[object, bytes, str]] = {
    "not JSON": (b"{oops", b"", "not JSON"),
    "not an object": ([1], b"", "not a JSON object"),
    "deep nesting": (b'{"a":' + b"[" * 5000, b"", "not JSON"),
    "no description": ({"a": 3}, b"", "no description"),
    "unknown type": ({"a": entry("F8")}, b"1234", "type 'F8'"),
    "negative size": ({"a": entry(shape=[-1])}, b"1234", "not a list of sizes"),
    "huge size": ({"a": entry(shape=[2**60])}, b"1234", "not a list of sizes"),
    "sizes that do not match": ({"a": entry(shape=[2])}, b"1234", "needs 8 bytes, has 4"),
    "offset past the end": ({"a": entry(offsets=[0, 8], shape=[2])}, b"1234", "truncated"),
    "offsets reversed": ({"a": entry(offsets=[4, 0])}, b"1234", "truncated"),
    "three offsets": ({"a": entry(offsets=[0, 4, 8])}, b"1234", "expected [begin, end]"),
    "overlap": ({"a": entry(), "b": entry(offsets=[2, 6])}, b"123456", "overlaps"),
    "one range for two": ({"a": entry(), "b": entry()}, b"1234", "overlaps"),
    "a tensor twice": (b'{"a": %(e)s, "a": %(e)s}' % {b"e": json.dumps(entry()).encode()}, b"1234", "has 'a' twice"),
    "a shape twice": (
        b'{"a": {"dtype": "F32", "shape": [9], "shape": [1], "data_offsets": [0, 4]}}',
        b"1234",
        "'shape'",
    ),
    "negative offset": ({"a": entry(offsets=[-4, 0])}, b"1234", "expected [begin, end]"),
    "fractional size": ({"a": entry(shape=[1.0])}, b"1234", "not a list of sizes"),
    "size that is a truth value": ({"a": entry(shape=[True])}, b"1234", "not a list of sizes"),
    "nine dimensions": ({"a": entry(shape=[1] * 9)}, b"1234", "not a list of sizes"),
    "type that is a list": ({"a": entry(dtype=[])}, b"1234", "type []"),  # type: ignore[arg-type]
    "offset beyond 64 bits": ({"a": entry(offsets=[0, 2**70])}, b"1234", "expected [begin, end]"),
}


@pytest.mark.parametrize(("header", "data", "said"), BROKEN.values(), ids=BROKEN.keys())
def test_broken_header_is_refused_by_name(tmp_path: Path, header: object, data: bytes, said: str) -> None:
    with pytest.raises(ModelError) as caught:
        SafetensorsFile(raw_file(tmp_path / "model.safetensors", header, data))
    assert said in caught.value.message


def many(first: int, number: int) -> str:
    """Return descriptions of so many empty tensors."""
    empty = json.dumps(entry(shape=[0], offsets=[0, 0]))
    return ", ".join(f'"t{index}": {empty}' for index in range(first, first + number))


@pytest.mark.parametrize(
    ("header", "said"),
    [
        (f"{{{many(0, 99_999)}, {many(99_998, 1)}}}", "has 't99998' twice"),
        (f"{{{many(0, 100_001)}}}", "more than 100000 tensors"),
    ],
    ids=["the last twice", "one too many"],
)
def test_header_of_a_hundred_thousand_tensors_is_read_once(tmp_path: Path, header: str, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        SafetensorsFile(raw_file(tmp_path / "model.safetensors", header.encode()))


def test_shards_of_too_many_tensors_together_are_refused(tmp_path: Path) -> None:
    for shard in range(2):
        raw_file(tmp_path / f"{shard}.safetensors", f"{{{many(60_000 * shard, 60_000)}}}".encode())
    weight_map = {f"t{60_000 * shard}": f"{shard}.safetensors" for shard in range(2)}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    with pytest.raises(ModelError, match=r"1\.safetensors: with it the shards name more than 100000 tensors"):
        Weights(tmp_path)


@pytest.mark.parametrize("claimed", [2**63, 2**40, 500])
def test_header_length_that_lies_is_refused(tmp_path: Path, claimed: int) -> None:
    with pytest.raises(ModelError, match="truncated"):
        SafetensorsFile(raw_file(tmp_path / "model.safetensors", {}, claimed=claimed))


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file({"a": np.arange(3, dtype=np.float32), "b": np.ones((2, 2), np.float16)}, path)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(ModelError):
            SafetensorsFile(path)


@given(st.binary(max_size=200))
def test_random_bytes_never_crash(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "model.safetensors"
    path.write_bytes(content)
    with contextlib.suppress(ModelError):
        assert SafetensorsFile(path).entries == {}


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, np.int64, np.int32, np.int8, np.uint8])
def test_values_read_back_bit_for_bit(tmp_path: Path, dtype: type[np.generic]) -> None:
    values: np.ndarray[Any, Any] = np.random.default_rng(0).integers(-100, 100, (3, 5)).astype(dtype)
    save_file({"a": values}, tmp_path / "model.safetensors")
    np.testing.assert_array_equal(SafetensorsFile(tmp_path / "model.safetensors").array("a"), values)


def test_unaligned_data_reads_back(tmp_path: Path) -> None:
    data = np.array([1.5, -2.5], np.float32)
    header = json.dumps({"a": entry(shape=[2], offsets=[0, 8])}).encode()
    header += b" " * ((1 - len(header)) % 4)  # data begins at an odd place
    file = SafetensorsFile(raw_file(tmp_path / "model.safetensors", header, data.tobytes()))
    np.testing.assert_array_equal(file.array("a"), data)


def test_released_pages_read_the_same(tmp_path: Path) -> None:
    values = np.arange(100_000, dtype=np.float32)
    save_file({"a": values}, tmp_path / "model.safetensors")
    file = SafetensorsFile(tmp_path / "model.safetensors")
    array = file.array("a")
    file.release()
    np.testing.assert_array_equal(array, values)


def checkpoint(folder: Path, **tensors: np.ndarray[Any, Any]) -> Weights:
    save_file({name: values.astype(np.float32) for name, values in tensors.items()}, folder / "model.safetensors")
    return Weights(folder)


def test_one_error_names_everything_that_is_wrong(tmp_path: Path) -> None:
    weights = checkpoint(tmp_path, bad=np.array([1.0, np.nan]), wide=np.ones((2, 3)), good=np.ones(2))
    for name in ("bad", "wide", "good", "gone"):
        weights.get(name, (2,))
    with pytest.raises(ModelError) as caught:
        weights.raise_problems()
    for said in ("bad holds NaN", "wide has shape (2, 3)", "gone is missing"):
        assert said in caught.value.message
    assert "good" not in caught.value.message


def test_many_problems_are_counted(tmp_path: Path) -> None:
    weights = checkpoint(tmp_path, a=np.ones(1))
    for index in range(25):
        weights.get(f"t{index}", (1,))
    with pytest.raises(ModelError, match="and 5 more"):
        weights.raise_problems()


def test_prefix_is_found_by_its_anchor(tmp_path: Path) -> None:
    weights = checkpoint(tmp_path, **{"bert.emb.weight": np.ones(2), "bert.LayerNorm.gamma": np.full(2, 3.0)})
    weights.strip_prefix("emb.weight")
    assert "emb.weight" in weights
    assert weights.get("LayerNorm.weight", (2,)).float32().tolist() == [3.0, 3.0]  # under its old name
    with pytest.raises(ModelError, match="do not belong to the architecture"):
        weights.strip_prefix("other.weight")


def test_pickle_alone_is_refused_with_the_mend(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(ModelError, match=r"pickle.*save_pretrained"):
        Weights(tmp_path)


@pytest.mark.parametrize(
    "shard",
    [
        "../evil.safetensors",
        "/etc/evil.safetensors",
        "sub/a.safetensors",
        "back\\slash.safetensors",
        "a\0b.safetensors",
        "x" * 5000 + ".safetensors",
        ".safetensors",
        "a.bin",
        "",
        5,
        None,
        ["a.safetensors"],
    ],
    ids=lambda shard: str(shard)[:30].replace("\0", "null"),
)
def test_index_may_only_name_safetensors_beside_it(tmp_path: Path, shard: object) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": shard}}))
    with pytest.raises(ModelError, match="beside the index"):
        Weights(tmp_path)


@pytest.mark.parametrize("index", [[], {}, {"weight_map": []}, {"weight_map": {}}, {"weight_map": None}], ids=str)
def test_index_without_shards_is_refused(tmp_path: Path, index: object) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ModelError, match="needs an object 'weight_map'"):
        Weights(tmp_path)


def test_tensor_in_two_shards_is_refused(tmp_path: Path) -> None:
    for shard in ("one", "two"):
        save_file({"a": np.ones(1, np.float32)}, tmp_path / f"{shard}.safetensors")
    index = {"weight_map": {"a": "one.safetensors", "b": "two.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ModelError, match=r"two\.safetensors: tensor 'a' is also in one\.safetensors"):
        Weights(tmp_path)


def test_folder_without_weights_names_the_mend(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="fetch the weights"):
        Weights(tmp_path)


def test_integers_where_floats_belong_are_named(tmp_path: Path) -> None:
    save_file({"a": np.ones(2, np.int32)}, tmp_path / "model.safetensors")
    weights = Weights(tmp_path)
    weights.get("a", (2,))
    with pytest.raises(ModelError, match="a has type I32, expected a float type"):
        weights.raise_problems()


def test_missing_shard_is_named(tmp_path: Path) -> None:
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ModelError, match="model-00001-of-00002"):
        Weights(tmp_path)


def test_bfloat16_widens_exactly() -> None:
    values = np.array([1.0, -2.5, 3.140625, 0.0], np.float32)
    bits = (values.view(np.uint32) >> 16).astype(np.uint16)
    tensor = Tensor(bits, "BF16")
    np.testing.assert_array_equal(tensor.float32(), values)
    assert tensor.is_finite()
    assert not Tensor(np.array([0x7F80], np.uint16), "BF16").is_finite()
