"""Our engine beside the oracle, in one process, on the same folders with fresh random weights."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from embergate.engine.loaded_model import LoadedModel
from embergate.engine.loading.loader import SourceOptions
from embergate.engine.loading.spec import PoolingMode, Precision
from tests.oracle import reference, write_golden
from tests.random_models import ARCHITECTURES, CASES, TEXTS, Case, write_model

# The promise is 1e-4; but the wrong one of two GELUs moves a normalised vector by no more than 4e-5.
SAME_MODEL_ATOL = 2e-5
SAME_VECTOR_ATOL = 1e-5


@pytest.fixture(scope="module", params=CASES, ids=lambda case: case.name)
def case(request: pytest.FixtureRequest) -> Case:
    return request.param


@pytest.fixture(scope="module")
def folder(case: Case, seed: int, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("live") / case.name
    write_model(case, folder, seed)
    return folder


@pytest.fixture(scope="module")
def model(case: Case, folder: Path) -> Iterator[LoadedModel]:
    # A bare transformers folder does not say its pooling; sentence-transformers takes the mean.
    source = SourceOptions(offline=True, pooling=PoolingMode.MEAN if case.pooling is None else None)
    model = LoadedModel.open(folder, precision=Precision.F32, source=source)
    yield model
    model.close()


def test_vectors_equal_the_oracles(case: Case, folder: Path, model: LoadedModel, seed: int) -> None:
    for prompt_name in [None, *case.prompts]:
        expected = reference.vectors(case, folder, TEXTS, prompt_name)
        vectors = model.encode(TEXTS, prompt_name=prompt_name, truncate=True)
        assert vectors.shape == expected.shape
        difference = np.abs(vectors - expected).max(axis=1)
        assert difference.max() <= SAME_MODEL_ATOL, f"seed {seed}, prompt {prompt_name}: {difference}"


def test_token_states_of_a_padded_batch_equal_the_oracles(
    case: Case, folder: Path, model: LoadedModel, seed: int
) -> None:
    if case.architecture in reference.STATIC:
        pytest.skip("one look-up a token: there is no network")
    expected = reference.token_states(case, folder, TEXTS)
    lengths = expected.mask.sum(axis=1, dtype=np.int32)
    assert (lengths < expected.input_ids.shape[1]).any(), "no row is padded"
    states = model.backend.forward(expected.input_ids, lengths)
    real = expected.mask.astype(bool)
    assert np.abs(states[real] - expected.states[real]).max() <= SAME_MODEL_ATOL, f"seed {seed}"


def test_minilm_equals_sentence_transformers() -> None:
    texts = write_golden.minilm_texts.TEXTS
    model = LoadedModel.open("sentence-transformers/all-MiniLM-L6-v2", precision=Precision.F32)
    vectors = model.encode(texts, truncate=True)
    model.close()
    expected = reference.folder_vectors(write_golden.minilm_folder(), texts)
    assert np.abs(vectors - expected).max() <= SAME_VECTOR_ATOL


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_golden_vectors_are_still_the_oracles(architecture: str) -> None:
    vectors, weights = write_golden.golden_vectors(architecture)
    facts = json.loads((write_golden.DATA / f"{architecture}.json").read_text(encoding="utf-8"))
    assert facts["seed"] == write_golden.SEED
    assert facts["weights"] == weights
    assert facts["texts"] == list(TEXTS)
    with np.load(write_golden.DATA / f"{architecture}.npz") as written:
        assert set(written) == set(vectors)
        for name, expected in vectors.items():
            np.testing.assert_allclose(written[name], expected, atol=SAME_VECTOR_ATOL, rtol=0, err_msg=name)


def test_the_golden_vectors_of_minilm_are_still_the_oracles() -> None:
    facts = json.loads((write_golden.DATA / f"{write_golden.MINILM}.json").read_text(encoding="utf-8"))
    assert facts["weights_sha256"] == write_golden.minilm_sha256()
    assert facts["texts"] == list(write_golden.minilm_texts.TEXTS)
    with np.load(write_golden.DATA / f"{write_golden.MINILM}.npz") as written:
        expected = reference.folder_vectors(write_golden.minilm_folder(), facts["texts"])
        np.testing.assert_allclose(written["vectors"], expected, atol=SAME_VECTOR_ATOL, rtol=0)
