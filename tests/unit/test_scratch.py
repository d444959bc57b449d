"""Converted weights in a private file: the same numbers after their pages were given back, the heap where there is no room."""

from __future__ import annotations

import resource
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from embergate.engine.layers.graph import Graph
from embergate.engine.loading.scratch import Scratch
from embergate.engine.loading.spec import Precision
from embergate.engine.loading.weights import Weights

VALUES = np.arange(6 * 5000, dtype=np.float32).reshape(6, 5000)


@contextmanager
def files_of_at_most(num_bytes: int) -> Iterator[None]:
    """A disk that is full, as this process sees it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_kept_arrays_read_back_after_their_pages_were_given_back() -> None:
    scratch = Scratch(2 * VALUES.nbytes)
    small, large = scratch.keep(VALUES[0, :7].astype(np.int8)), scratch.keep(VALUES)
    scratch.release()
    np.testing.assert_array_equal(small, VALUES[0, :7])
    np.testing.assert_array_equal(large, VALUES)
    assert not np.shares_memory(large, VALUES)


def test_kept_arrays_outlive_their_scratch() -> None:
    kept = Scratch(VALUES.nbytes).keep(VALUES)
    np.testing.assert_array_equal(kept, VALUES)


def test_what_the_capacity_does_not_hold_stays_on_the_heap() -> None:
    scratch = Scratch(VALUES.nbytes - 1)
    assert scratch.keep(VALUES) is VALUES
    assert scratch.keep(VALUES[0]) is not VALUES[0]


def test_full_disk_leaves_weights_on_the_heap() -> None:
    scratch = Scratch(VALUES.nbytes)
    with files_of_at_most(4096):
        assert scratch.keep(VALUES) is VALUES


def test_system_without_temporary_files_leaves_weights_on_the_heap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "absent"))
    scratch = Scratch(VALUES.nbytes)
    assert scratch.keep(VALUES) is VALUES
    scratch.release()


@pytest.mark.parametrize(("precision", "expected"), [("f32", 4 * 6 * 5000), ("bf16", 2 * 6 * 5000)])
def test_matrix_is_counted_in_the_type_it_is_served_in(tmp_path: Path, precision: str, expected: int) -> None:
    save_file({"a.weight": VALUES}, tmp_path / "model.safetensors")
    graph = Graph(Weights(tmp_path), Precision(precision))
    constant = graph.matrix("a.weight", 6, 5000)
    graph.release()
    assert graph.weights_bytes == expected
    # bfloat16 keeps 8 bits of the value
    np.testing.assert_allclose(constant.get_data(), VALUES, rtol=0 if precision == "f32" else 2**-8)


def test_int8_matrix_is_counted_with_its_scales(tmp_path: Path) -> None:
    save_file({"a.weight": VALUES}, tmp_path / "model.safetensors")
    graph = Graph(Weights(tmp_path), Precision.INT8)
    graph.matrix("a.weight", 6, 5000)
    assert graph.weights_bytes == 6 * 5000 + 4 * 6
