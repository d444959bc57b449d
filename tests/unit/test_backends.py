"""The backend contract over every backend that needs no extra, and what each has of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from embergate.engine.backends.fake import FakeBackend
from embergate.engine.backends.openvino import OpenVinoBackend, computes_bf16, resolve_precision
from embergate.engine.backends.selection import open_backend
from embergate.engine.backends.static import StaticBackend
from embergate.engine.loading.spec import Precision
from tests.backend_contract import COMPUTE, BackendContract, OpenedBackend
from tests.loaded import found_model
from tests.random_models import Case, cases_of


def _fake(_folder: Path) -> OpenedBackend:
    return OpenedBackend(FakeBackend(), 8, 100, atol=0)


def _real(case: Case, precision: Precision, atol: float) -> Callable[[Path], OpenedBackend]:
    def open_real(folder: Path) -> OpenedBackend:
        found = found_model(folder, case)
        backend = open_backend(found.folder_model, precision, COMPUTE)
        return OpenedBackend(backend, found.spec.hidden_size, found.spec.vocab_size, atol)

    return open_real


OPENERS: dict[str, Callable[[Path], OpenedBackend]] = {
    "fake": _fake,
    "openvino-f32": _real(cases_of("bert")[0], Precision.F32, 1e-5),
    "openvino-bf16": _real(cases_of("bert")[0], Precision.BF16, 0.1),
    "openvino-int8": _real(cases_of("bert")[0], Precision.INT8, 0.1),
    "openvino-causal": _real(cases_of("qwen3")[0], Precision.F32, 1e-4),
    "static": _real(cases_of("static_embedding")[0], Precision.F32, 0),
    "static-quantized": _real(cases_of("model2vec")[2], Precision.F32, 0),
}


@pytest.fixture(scope="module", params=list(OPENERS.values()), ids=list(OPENERS))
def opened(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenedBackend]:
    found: OpenedBackend = request.param(tmp_path_factory.mktemp("backend") / "model")
    yield found
    found.backend.close()


class TestBackend(BackendContract):
    """The contract, over `opened`."""


def test_architecture_decides_the_backend(tmp_path: Path) -> None:
    kinds = {"bert": OpenVinoBackend, "model2vec": StaticBackend, "static_embedding": StaticBackend}
    for name, kind in kinds.items():
        backend = open_backend(found_model(tmp_path / name, cases_of(name)[0]).folder_model, Precision.F32, COMPUTE)
        assert isinstance(backend, kind)
        backend.close()


def test_automatic_precision_is_what_the_cpu_multiplies() -> None:
    assert resolve_precision(Precision.AUTO) is (Precision.BF16 if computes_bf16() else Precision.F32)
    assert resolve_precision(Precision.INT8) is Precision.INT8


def test_bfloat16_checkpoint_is_served_exactly_in_f32(tmp_path: Path) -> None:
    case = next(case for case in cases_of("qwen3") if case.dtype == "BF16")
    opened = _real(case, Precision.F32, 1e-4)(tmp_path / "model")
    assert opened.backend.precision is Precision.F32
    (state,) = opened.forward(opened.rows(5))
    assert np.isfinite(state).all()
    opened.backend.close()


def test_static_states_are_the_tables_rows(tmp_path: Path) -> None:
    found = found_model(tmp_path / "model", cases_of("static_embedding")[0])
    backend = open_backend(found.folder_model, Precision.F32, COMPUTE)
    one = backend.forward(np.array([[3, 5]], np.int32), np.array([2], np.int32))
    other = backend.forward(np.array([[5, 3]], np.int32), np.array([2], np.int32))
    np.testing.assert_array_equal(one[0], other[0, ::-1])


def test_fake_notes_the_shapes_that_it_ran() -> None:
    backend = FakeBackend()
    backend.forward(np.array([[3, 5]], np.int32), np.array([1], np.int32))
    assert backend.shapes == [(1, 2)]
