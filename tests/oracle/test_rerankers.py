"""Our scores beside the oracle's, in one process, on the same folders with fresh random weights."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from embergate.engine.loaded_model import LoadedModel
from embergate.engine.loading.loader import SourceOptions
from embergate.engine.loading.spec import Precision
from tests.oracle import rerank_reference, write_golden
from tests.random_models import JUDGES, RERANKERS, TEXTS, Case, write_model
from tests.reranking import LONG_QUERY, QUERY, SAME_LOGIT_ATOL, TASK, logits


@pytest.mark.parametrize("case", [*RERANKERS, *JUDGES], ids=lambda case: case.name)
def test_scores_equal_the_oracles(case: Case, seed: int, tmp_path: Path) -> None:
    write_model(case, tmp_path / "model", seed)
    model = LoadedModel.open(tmp_path / "model", precision=Precision.F32, source=SourceOptions(offline=True))
    for query, task in [(QUERY, None), (LONG_QUERY, None), *([(QUERY, TASK)] if case in JUDGES else [])]:
        expected = rerank_reference.scores(case, tmp_path / "model", query, TEXTS, task)
        scores = model.score(query, TEXTS, task=task, truncate=True)
        difference = np.abs(logits(scores) - logits(expected))
        assert difference.max() <= SAME_LOGIT_ATOL, f"seed {seed}, {query[:20]!r}: {difference}"
    model.close()


def test_the_golden_scores_are_still_the_oracles() -> None:
    scores, weights = write_golden.golden_scores()
    facts = json.loads((write_golden.DATA / "rerankers.json").read_text(encoding="utf-8"))
    assert (facts["seed"], facts["weights"], facts["texts"]) == (write_golden.SEED, weights, list(TEXTS))
    with np.load(write_golden.DATA / "rerankers.npz") as written:
        assert set(written) == set(scores)
        for name, expected in scores.items():
            np.testing.assert_allclose(logits(written[name]), logits(expected), atol=SAME_LOGIT_ATOL, err_msg=name)
