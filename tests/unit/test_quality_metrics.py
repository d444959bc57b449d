"""The benchmark's nDCG@k and Spearman against examples worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest

from benchmarks.metrics import average_ranks, mean_ndcg, spearman

Floats = npt.NDArray[np.float64]


def row(*scores: float) -> Floats:
    return np.array([scores], dtype=np.float64)


def series(*values: float) -> Floats:
    return np.array(values, dtype=np.float64)


@pytest.mark.parametrize(
    ("scores", "relevant", "expected"),
    [
        pytest.param(row(0.9, 0.5, 0.1), {0}, 1.0, id="the one relevant document is first"),
        pytest.param(row(0.9, 0.5, 0.1), {1}, 1 / math.log2(3), id="it is second"),
        pytest.param(row(0.9, 0.5, 0.1), {2}, 0.5, id="it is third: 1 / log2(4)"),
        pytest.param(row(0.9, 0.5, 0.1), {0, 2}, 1.5 / (1 + 1 / math.log2(3)), id="first and third of two"),
        pytest.param(row(0.1, 0.5, 0.9), {0, 1, 2}, 1.0, id="all are relevant"),
        pytest.param(row(0.5, 0.5, 0.1), {1}, 1 / math.log2(3), id="of equal scores the earlier comes first"),
    ],
)
def test_ndcg_of_one_query(scores: Floats, relevant: set[int], expected: float) -> None:
    assert mean_ndcg(scores, [relevant]) == pytest.approx(expected, abs=1e-12)


def test_ndcg_counts_nothing_below_k() -> None:
    scores = np.arange(12, 0, -1, dtype=np.float64)[np.newaxis]
    assert mean_ndcg(scores, [{9}]) == pytest.approx(1 / math.log2(11), abs=1e-12)
    assert mean_ndcg(scores, [{10}]) == 0.0
    assert mean_ndcg(scores, [{0, 1, 2}], k=2) == 1.0


def test_ndcg_is_the_mean_over_queries() -> None:
    scores = np.array([[0.9, 0.1, 0.0], [0.9, 0.1, 0.0]])
    assert mean_ndcg(scores, [{0}, {2}]) == pytest.approx((1.0 + 0.5) / 2, abs=1e-12)


@pytest.mark.parametrize("relevant", [[set[int]()], [{0}, {1}]], ids=["no relevant document", "a query too many"])
def test_ndcg_refuses_what_is_undefined(relevant: list[set[int]]) -> None:
    with pytest.raises(ValueError, match="every query"):
        mean_ndcg(row(0.9, 0.1), relevant)


def test_equal_values_share_their_mean_rank() -> None:
    assert average_ranks(series(30, 10, 20, 20)).tolist() == [4.0, 1.0, 2.5, 2.5]
    assert average_ranks(series(7, 7, 7)).tolist() == [2.0, 2.0, 2.0]


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        pytest.param(series(1, 2, 3, 4), series(10, 100, 1000, 10000), 1.0, id="any rising function"),
        pytest.param(series(1, 2, 3, 4), series(-1, -2, -3, -4), -1.0, id="any falling function"),
        # 1 - 6 * sum(d^2) / (n * (n^2 - 1)), with d = 1, -1, 1, -1, 0
        pytest.param(series(2, 1, 4, 3, 5), series(1, 2, 3, 4, 5), 1 - 6 * 4 / (5 * 24), id="no ties"),
        # ranks 1, 2.5, 2.5, 4 and 1, 2, 3, 4: covariance 4.5, squared norms 4.5 and 5
        pytest.param(series(1, 2, 2, 3), series(1, 2, 3, 4), 4.5 / math.sqrt(4.5 * 5), id="a tie on the left"),
        # ranks 1.5, 1.5, 3, 4 and 1, 2.5, 2.5, 4: covariance 3.75, squared norms 4.5 and 4.5
        pytest.param(series(5, 5, 6, 7), series(1, 2, 2, 9), 3.75 / 4.5, id="ties on both sides"),
    ],
)
def test_spearman(
    left: Floats,
    right: Floats,
    expected: float,
) -> None:
    assert spearman(left, right) == pytest.approx(expected, abs=1e-12)
    assert spearman(right, left) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("right", "message"), [(series(1, 2), "equal length"), (series(4, 4, 4), "constant")], ids=["lengths", "constant"]
)
def test_spearman_refuses_what_is_undefined(right: Floats, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        spearman(series(1, 2, 3), right)


def test_nan_is_refused() -> None:
    with pytest.raises(ValueError, match="NaN"):
        mean_ndcg(row(0.9, math.nan), [{0}])
    with pytest.raises(ValueError, match="NaN"):
        spearman(series(1, 2, 3), series(1, math.nan, 3))
