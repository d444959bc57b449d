"""Which ceiling a benchmark's share is a share of."""

from __future__ import annotations

import pytest

from benchmarks.gemm import Ceiling, ceiling_of


def ceilings(*, bf16: bool, int8: bool) -> dict[str, Ceiling]:
    return {
        "f32": Ceiling("f32", 200.0, is_native=True),
        "bf16": Ceiling("bf16", 430.0, is_native=bf16),
        "int8": Ceiling("int8", 850.0, is_native=int8),
    }


@pytest.mark.parametrize(
    ("engine", "precision"),
    [
        ("embergate:f32", "f32"),
        ("embergate:bf16", "bf16"),
        ("embergate:int8", "int8"),
        ("sentence-transformers:float32", "f32"),
        ("sentence-transformers:bfloat16", "bf16"),
        ("onnxruntime:int8", "int8"),
    ],
)
def test_engine_is_held_against_its_own_precision_where_the_cpu_has_it(engine: str, precision: str) -> None:
    assert ceiling_of(engine, ceilings(bf16=True, int8=True)).precision == precision
    assert ceiling_of(engine, ceilings(bf16=False, int8=False)).precision == "f32"


def test_ceiling_that_the_cpu_does_not_have_says_so() -> None:
    found = ceilings(bf16=False, int8=True)
    assert str(found["bf16"]) == "bf16 GEMM 430 GFLOP/s (not native: this CPU has no instructions for it)"
    assert str(found["int8"]) == "int8 GEMM 850 GFLOP/s"
