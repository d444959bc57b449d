"""Pooling against formulas written out, and the order of cut and normalisation."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from embergate.engine.backends.fake import FakeBackend
from embergate.engine.loading.modules import ACTIVATION_NAMES
from embergate.engine.loading.spec import PoolingMode, PoolingSpec
from embergate.engine.pooling import DENSE_ACTIVATIONS, Pooler, finish

IDS = np.array([[3, 1, 4, 1], [5, 9, 0, 0]], np.int32)
LENGTHS = np.array([4, 2], np.int32)
NO_PROMPT = np.zeros(2, np.int32)


@pytest.fixture
def states() -> NDArray[np.float32]:
    return FakeBackend().forward(IDS, LENGTHS)  # NaN at padding


@pytest.mark.parametrize("mode", PoolingMode)
def test_mode_equals_its_formula_and_never_reads_padding(mode: PoolingMode, states: NDArray[np.float32]) -> None:
    vectors = Pooler(PoolingSpec((mode,)))(states, LENGTHS, NO_PROMPT)
    for vector, row, length in zip(vectors, states, LENGTHS, strict=True):
        tokens = row[:length].astype(np.float64)
        weights = np.arange(1, length + 1)[:, None]
        expected = {
            PoolingMode.CLS: tokens[0],
            PoolingMode.LAST_TOKEN: tokens[-1],
            PoolingMode.MEAN: tokens.sum(0) / length,
            PoolingMode.MAX: tokens.max(0),
            PoolingMode.MEAN_SQRT_LEN: tokens.sum(0) / length**0.5,
            PoolingMode.WEIGHTED_MEAN: (tokens * weights).sum(0) / weights.sum(),
        }[mode]
        np.testing.assert_allclose(vector, expected, atol=1e-6)


def test_several_modes_are_concatenated_in_order(states: NDArray[np.float32]) -> None:
    both = Pooler(PoolingSpec((PoolingMode.LAST_TOKEN, PoolingMode.CLS)))(states, LENGTHS, NO_PROMPT)
    np.testing.assert_array_equal(both[0], np.concatenate([states[0, 3], states[0, 0]]))


def test_prompt_tokens_are_left_out_where_the_model_says_so(states: NDArray[np.float32]) -> None:
    pooler = Pooler(PoolingSpec((PoolingMode.MEAN,), include_prompt=False))
    vectors = pooler(states, LENGTHS, np.array([1, 1], np.int32))
    np.testing.assert_allclose(vectors[0], states[0, 1:4].mean(0), atol=1e-6)


def test_row_without_tokens_is_zero(states: NDArray[np.float32]) -> None:
    vectors = Pooler(PoolingSpec((PoolingMode.MEAN,)))(states, np.array([4, 0], np.int32), NO_PROMPT)
    assert not vectors[1].any()
    assert not finish(vectors, dimensions=None, normalize=True)[1].any()


def test_vectors_are_cut_before_they_are_normalised() -> None:
    cut = finish(np.array([[3.0, 4.0, 12.0]], np.float32), dimensions=2, normalize=True)
    np.testing.assert_allclose(cut, [[0.6, 0.8]], atol=1e-7)
    plain = finish(np.array([[3.0, 4.0, 12.0]], np.float32), dimensions=2, normalize=False)
    assert plain.tolist() == [[3.0, 4.0]]
    assert plain.flags.c_contiguous


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Identity", [-1.0, 0.0, 2.0]),
        ("Tanh", [-0.76159416, 0.0, 0.96402758]),
        ("ReLU", [0.0, 0.0, 2.0]),
        ("Sigmoid", [0.26894142, 0.5, 0.88079708]),
        ("GELU", [-0.15865525, 0.0, 1.95449974]),
    ],
)
def test_activation_of_a_dense_layer_has_its_published_values(name: str, expected: list[float]) -> None:
    values = DENSE_ACTIVATIONS[name](np.array([[-1.0, 0.0, 2.0]], np.float32))
    np.testing.assert_allclose(values, [expected], atol=1e-6)


def test_every_activation_that_a_folder_may_name_is_there() -> None:
    assert set(DENSE_ACTIVATIONS) == set(ACTIVATION_NAMES)
