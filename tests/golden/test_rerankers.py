"""Our scores against those of an independent oracle: tests/oracle/write_golden.py wrote tests/golden/vectors/rerankers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from numpy.typing import NDArray

from embergate.engine.loaded_model import LoadedModel
from embergate.engine.loading.loader import SourceOptions
from embergate.engine.loading.spec import Precision
from tests.random_models import JUDGES, RERANKERS, Case, write_model
from tests.reranking import QUERY, SAME_LOGIT_ATOL, TASK, logits

DATA: Final = Path(__file__).parent / "vectors"
FACTS: Final[dict[str, Any]] = json.loads((DATA / "rerankers.json").read_text(encoding="utf-8"))
# Of scores, which go from 0 to 1.
CLOSE: Final = {Precision.BF16: 0.01, Precision.INT8: 0.05}


@dataclass(frozen=True)
class Opened:
    """One random reranker, loaded."""

    case: Case
    weights: str
    folder: Path
    model: LoadedModel

    @property
    def expected(self) -> NDArray[np.float64]:
        return golden(self.case.name)


def golden(name: str) -> NDArray[np.float64]:
    with np.load(DATA / "rerankers.npz") as arrays:
        scores: NDArray[np.float64] = arrays[name]
        return scores


def load(folder: Path, precision: Precision) -> LoadedModel:
    return LoadedModel.open(folder, precision=precision, source=SourceOptions(offline=True))


@pytest.fixture(scope="module", params=[*RERANKERS, *JUDGES], ids=lambda case: case.name)
def opened(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opened]:
    case: Case = request.param
    folder = tmp_path_factory.mktemp("random") / case.name
    weights = write_model(case, folder, FACTS["seed"])
    model = load(folder, Precision.F32)
    yield Opened(case, weights, folder, model)
    model.close()


def assert_same(some: NDArray[np.float64], others: NDArray[np.float64]) -> None:
    np.testing.assert_allclose(logits(some), logits(others), atol=SAME_LOGIT_ATOL, rtol=0)


def test_the_weights_are_those_of_the_oracles_run(opened: Opened) -> None:
    assert opened.weights == FACTS["weights"][opened.case.name]


def test_scores_equal_the_oracles(opened: Opened) -> None:
    assert_same(opened.model.score(QUERY, FACTS["texts"], truncate=True), opened.expected)


def test_scores_for_another_task_equal_the_oracles(opened: Opened) -> None:
    scores = opened.model.score(QUERY, FACTS["texts"], task=TASK, truncate=True)
    # A cross-encoder is not told of a task.
    assert_same(scores, golden(f"{opened.case.name}@task") if opened.case in JUDGES else opened.expected)


def test_a_document_alone_and_in_another_order_has_the_same_score(opened: Opened) -> None:
    texts = FACTS["texts"]
    alone = [opened.model.score(QUERY, [text], truncate=True)[0] for text in texts]
    assert_same(np.array(alone), opened.expected)
    assert_same(opened.model.score(QUERY, texts[::-1], truncate=True), opened.expected[::-1])


@pytest.mark.parametrize("precision", CLOSE)
def test_fewer_bits_stay_close(opened: Opened, precision: Precision) -> None:
    model = load(opened.folder, precision)
    scores = model.score(QUERY, FACTS["texts"], truncate=True)
    model.close()
    assert np.abs(scores - opened.expected).max() <= CLOSE[precision]
