"""Our vectors against those of an independent oracle: tests/oracle/write_golden.py wrote tests/golden/vectors."""

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
from embergate.engine.loading.spec import PoolingMode, Precision
from tests.random_models import CASES, Case, write_model

Vectors = NDArray[np.float32]

DATA: Final = Path(__file__).parent / "vectors"
MINILM: Final = "sentence-transformers/all-MiniLM-L6-v2"
# The promise is 1e-4; but the wrong one of two GELUs moves a normalised vector by no more than 4e-5.
SAME_MODEL_ATOL: Final = 2e-5
SAME_VECTOR_ATOL: Final = 1e-5


@dataclass(frozen=True)
class Golden:
    """What the oracle wrote for one architecture."""

    facts: dict[str, Any]
    vectors: dict[str, Vectors]

    @classmethod
    def read(cls, name: str) -> Golden:
        facts = json.loads((DATA / f"{name}.json").read_text(encoding="utf-8"))
        with np.load(DATA / f"{name}.npz") as arrays:
            return cls(facts, dict(arrays))

    @property
    def texts(self) -> list[str]:
        return list(self.facts["texts"])


@dataclass(frozen=True)
class Opened:
    """One random model, loaded, beside what the oracle says of it."""

    case: Case
    golden: Golden
    weights: str
    model: LoadedModel


@pytest.fixture(scope="module", params=CASES, ids=lambda case: case.name)
def opened(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opened]:
    case: Case = request.param
    golden = Golden.read(case.architecture)
    folder = tmp_path_factory.mktemp("random") / case.name
    weights = write_model(case, folder, golden.facts["seed"])
    # A bare transformers folder does not say its pooling; sentence-transformers takes the mean.
    source = SourceOptions(offline=True, pooling=PoolingMode.MEAN if case.pooling is None else None)
    model = LoadedModel.open(folder, precision=Precision.F32, source=source)
    yield Opened(case, golden, weights, model)
    model.close()


def _largest_difference(one: Vectors, other: Vectors) -> float:
    assert one.shape == other.shape
    return float(np.abs(one - other).max())


def test_the_weights_are_those_of_the_oracles_run(opened: Opened) -> None:
    assert opened.weights == opened.golden.facts["weights"][opened.case.name]


def test_vectors_equal_the_oracles(opened: Opened) -> None:
    vectors = opened.model.encode(opened.golden.texts, truncate=True)
    assert vectors.dtype == np.float32
    assert _largest_difference(vectors, opened.golden.vectors[opened.case.name]) <= SAME_MODEL_ATOL


def test_vectors_with_a_prompt_equal_the_oracles(opened: Opened) -> None:
    for prompt_name in opened.case.prompts:
        vectors = opened.model.encode(opened.golden.texts, prompt_name=prompt_name, truncate=True)
        expected = opened.golden.vectors[f"{opened.case.name}@{prompt_name}"]
        assert _largest_difference(vectors, expected) <= SAME_MODEL_ATOL, prompt_name


def test_a_text_alone_and_in_another_order_gives_the_same_vector(opened: Opened) -> None:
    texts = opened.golden.texts
    together = opened.model.encode(texts, truncate=True)
    alone = np.concatenate([opened.model.encode([text], truncate=True) for text in texts])
    order = np.random.RandomState(5).permutation(len(texts))
    permuted = opened.model.encode([texts[index] for index in order], truncate=True)
    assert _largest_difference(together, alone) <= SAME_VECTOR_ATOL
    assert _largest_difference(together[order], permuted) <= SAME_VECTOR_ATOL


def test_padding_changes_nothing(opened: Opened) -> None:
    rows = opened.model.tokenizer.encode_texts(opened.golden.texts, truncate=True)
    longest = max(rows, key=lambda row: len(row.input_ids))
    for row in rows:
        padded = opened.model.run([row, longest])[0]
        assert _largest_difference(padded, opened.model.run([row])[0]) <= SAME_VECTOR_ATOL


@pytest.fixture(scope="module")
def minilm_golden() -> Golden:
    return Golden.read("all-minilm-l6-v2")


@pytest.fixture(scope="module")
def minilm() -> Iterator[LoadedModel]:
    model = LoadedModel.open(MINILM, precision=Precision.F32, source=SourceOptions(offline=True))
    yield model
    model.close()


def test_minilm_f32_equals_sentence_transformers(minilm: LoadedModel, minilm_golden: Golden) -> None:
    vectors = minilm.encode(minilm_golden.texts, truncate=True)
    assert _largest_difference(vectors, minilm_golden.vectors["vectors"]) <= SAME_VECTOR_ATOL


def test_minilm_alone_in_a_batch_and_permuted_is_the_same(minilm: LoadedModel, minilm_golden: Golden) -> None:
    texts = minilm_golden.texts
    together = minilm.encode(texts, truncate=True)
    alone = np.concatenate([minilm.encode([text], truncate=True) for text in texts])
    assert _largest_difference(together, alone) <= SAME_VECTOR_ATOL
    assert _largest_difference(together[::-1], minilm.encode(texts[::-1], truncate=True)) <= SAME_VECTOR_ATOL


@pytest.mark.parametrize(("precision", "least_cosine"), [(Precision.BF16, 0.9998), (Precision.INT8, 0.995)])
def test_minilm_in_fewer_bits_stays_close(precision: Precision, least_cosine: float, minilm_golden: Golden) -> None:
    model = LoadedModel.open(MINILM, precision=precision, source=SourceOptions(offline=True))
    vectors = model.encode(minilm_golden.texts, truncate=True)
    model.close()
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-3)
    cosines = (vectors * minilm_golden.vectors["vectors"]).sum(axis=1)
    assert cosines.min() >= least_cosine
