"""The two figures of the quality benchmark: nDCG@k of a ranking and Spearman's rank correlation."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.floating]


def mean_ndcg(scores: FloatArray, relevant: Sequence[Collection[int]], k: int = 10) -> float:
    """Average over the queries the nDCG of their `k` best documents, with gain 1 for a relevant document, else 0.

    Shapes: `scores` is (queries, documents); `relevant` holds, per query, the columns of its relevant documents.
    Documents of equal score keep their order in the corpus.
    Raises: ValueError when a score is not finite, or a query has no relevant document and so no nDCG.
    """
    _check_finite(scores)
    if len(scores) != len(relevant) or not all(relevant):
        raise ValueError("every query needs a row of scores and at least one relevant document")
    best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    discounts = 1.0 / np.log2(np.arange(2, k + 2))
    total = 0.0
    for ranking, wanted in zip(best, relevant, strict=True):
        gains = np.isin(ranking, list(wanted))
        total += float(gains @ discounts[: len(ranking)]) / float(discounts[: len(wanted)].sum())
    return total / len(relevant)


def average_ranks(values: FloatArray) -> npt.NDArray[np.float64]:
    """Rank from 1 upwards; equal values share the mean of the ranks they take up."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last: npt.NDArray[np.float64] = np.cumsum(counts).astype(np.float64)
    ranks: npt.NDArray[np.float64] = (last - (counts - 1) / 2)[inverse]
    return ranks


def spearman(left: FloatArray, right: FloatArray) -> float:
    """Correlate the ranks of two series of equal length: Pearson's r of their average ranks.

    Raises: ValueError when a value is not finite, the lengths differ, or a series is constant and so has no r.
    """
    _check_finite(left)
    _check_finite(right)
    if left.shape != right.shape or left.ndim != 1:
        raise ValueError("two series of equal length are needed")
    centred = [ranks - ranks.mean() for ranks in (average_ranks(left), average_ranks(right))]
    norm = float(np.linalg.norm(centred[0]) * np.linalg.norm(centred[1]))
    if norm == 0:
        raise ValueError("a constant series has no rank correlation")
    return float(centred[0] @ centred[1]) / norm


def _check_finite(values: FloatArray) -> None:
    # NOTE: NaN would sort last and score like a bad ranking, or tie with itself, instead of being seen.
    if not np.isfinite(values).all():
        raise ValueError("there are NaN or infinite values")
