"""What a load proves before it serves: the served precision against f32 on the same texts, and how fast it is here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from embergate.clock import monotonic_s
from embergate.engine.backends.protocol import ComputeOptions
from embergate.engine.loaded_model import LoadedModel
from embergate.engine.loading.catalog import ModelKind
from embergate.engine.loading.loader import SourceOptions
from embergate.engine.loading.spec import Precision
from embergate.errors import ModelError

# Under these a precision changes results in a way that a search would show.
# Of scores, which go from 0 to 1.
MAX_SCORE_DIFFERENCE: Final = {Precision.F32: 0.001, Precision.BF16: 0.05, Precision.INT8: 0.15}
MIN_COSINE: Final = {Precision.F32: 0.99999, Precision.BF16: 0.999, Precision.INT8: 0.98}
NUM_SPEED_TEXTS: Final = 4
CHECK_TEXTS: Final = (
    "What is the capital of France?",
    "Paris is the capital and largest city of France, on the river Seine.",
    "The mitochondrion is the organelle in which a cell makes most of its ATP.",
    "def add(a: int, b: int) -> int:\n    return a + b",
    "Der schnelle braune Fuchs springt über den faulen Hund.",
    "In 1969 two people walked on the Moon for the first time; six missions landed there until 1972.",
    "refund not received order #48213 please help",
    "ok",
)


@dataclass(frozen=True, slots=True)
class SelfCheck:
    """The figures of one load. Compared with f32, unless that itself is served: cosines of vectors, or scores of a reranker."""

    min_cosine: float | None
    mean_cosine: float | None
    tokens_per_s: float
    max_score_difference: float | None = None


class SelfCheckError(ModelError):
    """A precision is too far from f32."""

    def __init__(self, message: str, check: SelfCheck) -> None:
        """Store the figures besides."""
        super().__init__(message)
        self.check = check


@dataclass(frozen=True, slots=True)
class Measured:
    """What a model makes of the texts. Shapes: vectors (n, dimensions), each of length 1; or scores (n,)."""

    vectors: NDArray[np.float32]
    tokens_per_s: float


def check_model(
    model: LoadedModel, reference: str, *, compute: ComputeOptions, source: SourceOptions | None = None
) -> SelfCheck:
    """Run a few texts through `model`, and through f32 where it serves another precision.

    Raises: ModelError with the figures if a vector is not finite or too far from f32's.
    """
    measured = measure(model)
    if model.backend.precision is Precision.F32:
        return SelfCheck(None, None, measured.tokens_per_s)
    exact = LoadedModel.open(reference, precision=Precision.F32, compute=compute, source=source)
    expected = exact.try_out(CHECK_TEXTS).vectors
    exact.close()
    return judge(model, measured, expected)


def measure(model: LoadedModel) -> Measured:
    """Run the texts. Raises: ModelError if a number is not finite."""
    made = model.try_out(CHECK_TEXTS).vectors
    if not np.isfinite(made).all():
        what = "scores that are NaN" if model.spec.kind is ModelKind.RERANKER else "NaN or infinite vectors"
        raise ModelError(f"{model.spec.name} gives {what} in {model.backend.precision}")
    return Measured(made, _measure_speed(model))


def judge(model: LoadedModel, measured: Measured, expected: NDArray[np.float32]) -> SelfCheck:
    """Compare what a model makes with f32's. Raises: SelfCheckError with the figures if it is too far from it."""
    if model.spec.kind is ModelKind.RERANKER:
        return _compare_scores(model, float(np.abs(measured.vectors - expected).max()), measured.tokens_per_s)
    cosines = (measured.vectors * expected).sum(axis=1)
    check = SelfCheck(float(cosines.min()), float(cosines.mean()), measured.tokens_per_s)
    threshold = MIN_COSINE[model.backend.precision]
    if cosines.min() < threshold:
        raise SelfCheckError(
            f"{model.spec.name} in {model.backend.precision} has cosine {check.min_cosine:.5f} to f32 on the worst of "
            f"{len(CHECK_TEXTS)} texts, {check.mean_cosine:.5f} on average; at least {threshold} is needed. Serve it in "
            "f32 or bf16",
            check,
        )
    return check


def _compare_scores(model: LoadedModel, difference: float, tokens_per_s: float) -> SelfCheck:
    threshold = MAX_SCORE_DIFFERENCE[model.backend.precision]
    check = SelfCheck(None, None, tokens_per_s, difference)
    if difference > threshold:
        raise SelfCheckError(
            f"{model.spec.name} in {model.backend.precision} gives one of {len(CHECK_TEXTS)} pairs of texts a score that is "
            f"{difference:.4f} off that of f32; at most {threshold} is allowed. Serve it in f32 or bf16",
            check,
        )
    return check


def _measure_speed(model: LoadedModel) -> float:
    texts = [" ".join(CHECK_TEXTS)] * NUM_SPEED_TEXTS
    model.try_out(texts)  # the first run of a shape also prepares it
    started_at_s = monotonic_s()
    encoded = model.try_out(texts)
    return sum(encoded.num_tokens) / max(monotonic_s() - started_at_s, 1e-9)
