"""What a load proves: a precision that strays from f32, or gives no numbers, is refused with the figures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from embergate.engine.backends.fake import FakeBackend
from embergate.engine.backends.protocol import ComputeOptions
from embergate.engine.loaded_model import LoadedModel
from embergate.engine.loading.loader import SourceOptions
from embergate.engine.loading.spec import Precision
from embergate.engine.self_check import check_model
from embergate.errors import InvalidRequestError, ModelError
from tests.loaded import fake_model
from tests.random_models import JUDGES, RERANKERS, Case, cases_of, write_model

COMPUTE = ComputeOptions()
OFFLINE = SourceOptions(offline=True)


class BrokenBackend(FakeBackend):
    """Gives NaN for every token."""

    def forward(
        self, input_ids: NDArray[np.int32], lengths: NDArray[np.int32], second_starts: NDArray[np.int32] | None = None
    ) -> NDArray[np.float32]:
        return np.full_like(super().forward(input_ids, lengths, second_starts), np.nan)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_model(cases_of("bert")[0], tmp_path / "model", 0)
    return tmp_path / "model"


def test_f32_is_measured_and_not_compared_with_itself(folder: Path) -> None:
    model = LoadedModel.open(folder, precision=Precision.F32, source=OFFLINE)
    check = check_model(model, str(folder), compute=COMPUTE, source=OFFLINE)
    model.close()
    assert (check.min_cosine, check.mean_cosine) == (None, None)
    assert check.tokens_per_s > 0


def test_fewer_bits_are_compared_with_f32(folder: Path) -> None:
    model = LoadedModel.open(folder, precision=Precision.BF16, source=OFFLINE)
    check = check_model(model, str(folder), compute=COMPUTE, source=OFFLINE)
    model.close()
    assert check.min_cosine is not None
    assert check.mean_cosine is not None
    assert 0.999 <= check.min_cosine <= check.mean_cosine <= 1.0001


def test_precision_that_strays_from_f32_is_refused_with_the_figures(folder: Path) -> None:
    stray = FakeBackend(48)
    stray.precision = Precision.INT8
    with pytest.raises(ModelError, match=r"model in int8 has cosine -?0\.\d+ to f32 on the worst of 8 texts"):
        check_model(fake_model(folder, stray), str(folder), compute=COMPUTE, source=OFFLINE)


@pytest.mark.parametrize("case", [RERANKERS[0], JUDGES[1]], ids=lambda case: case.name)
def test_rerankers_scores_are_compared_with_f32(case: Case, tmp_path: Path) -> None:
    write_model(case, tmp_path, 0)
    model = LoadedModel.open(tmp_path, precision=Precision.BF16, source=OFFLINE)
    check = check_model(model, str(tmp_path), compute=COMPUTE, source=OFFLINE)
    model.close()
    assert (check.min_cosine, check.mean_cosine) == (None, None)
    assert check.max_score_difference is not None
    assert 0 <= check.max_score_difference < 0.05
    assert check.tokens_per_s > 0


def test_reranker_whose_scores_stray_from_f32_is_refused_with_the_figures(tmp_path: Path) -> None:
    stray = FakeBackend(48)
    stray.precision = Precision.INT8
    model = fake_model(tmp_path / "model", stray, case=RERANKERS[0])
    with pytest.raises(
        ModelError, match=r"in int8 gives one of 8 pairs of texts a score that is 0\.\d+ off that of f32"
    ):
        check_model(model, str(tmp_path / "model"), compute=COMPUTE, source=OFFLINE)
    broken = fake_model(tmp_path / "model", BrokenBackend(48), case=RERANKERS[0])
    with pytest.raises(ModelError, match="gives scores that are NaN in f32"):
        check_model(broken, str(tmp_path / "model"), compute=COMPUTE, source=OFFLINE)


def test_models_of_either_kind_say_what_they_are_not(tmp_path: Path) -> None:
    reranker, embedder = fake_model(tmp_path / "a", case=RERANKERS[0]), fake_model(tmp_path / "b")
    with pytest.raises(InvalidRequestError, match="embedding is not supported for a: it is a reranker"):
        reranker.encode(["a"])
    with pytest.raises(InvalidRequestError, match="reranking is not supported for b: it is an embedding model"):
        embedder.score("a", ["a"])
    assert reranker.score("a", []).shape == (0,)


def test_vectors_that_are_no_numbers_are_refused(folder: Path) -> None:
    with pytest.raises(ModelError, match="gives NaN or infinite vectors in f32"):
        check_model(fake_model(folder, BrokenBackend(48)), str(folder), compute=COMPUTE, source=OFFLINE)


def test_fingerprint_tells_options_and_weights_apart(folder: Path, tmp_path: Path) -> None:
    write_model(cases_of("bert")[0], tmp_path / "other", 1)
    model, other = fake_model(folder, resizable=True), fake_model(tmp_path / "other")
    fingerprints = {
        model.fingerprint,
        model.fingerprint_of(dimensions=8),
        model.fingerprint_of(prompt="query: "),
        other.fingerprint,
    }
    assert len(fingerprints) == 4
    assert model.fingerprint == fake_model(folder, resizable=True).fingerprint


def test_prompt_that_is_not_the_models_is_refused_with_those_it_has(folder: Path) -> None:
    with pytest.raises(InvalidRequestError, match="has no prompt 'q'; it has: none"):
        fake_model(folder).encode(["a"], prompt_name="q")
    with pytest.raises(InvalidRequestError, match="has no prompt 'q'; it has: query, passage"):
        fake_model(folder, prompts={"query": "", "passage": ""}).encode(["a"], prompt_name="q")


@pytest.mark.parametrize(
    ("changes", "dimensions", "said"),
    [
        ({}, 8, "is not resizable"),
        ({"resizable": True}, 49, "gives 1 to 48"),
        ({"resizable": True, "matryoshka_dimensions": (16, 48)}, 15, "gives 16 to 48"),
    ],
)
def test_length_that_the_model_does_not_give_is_refused(
    folder: Path, changes: dict[str, Any], dimensions: int, said: str
) -> None:
    with pytest.raises(InvalidRequestError, match=said):
        fake_model(folder, **changes).encode(["a"], dimensions=dimensions)


def test_network_that_breaks_raises_in_the_call(folder: Path) -> None:
    with pytest.raises((MemoryError, ValueError)):
        fake_model(folder, FakeBackend(1 << 60)).encode(["a"])
