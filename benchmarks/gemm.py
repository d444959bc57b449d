"""The machine's ceilings: how fast it multiplies matrices in each precision, through the same runtime as the engine.

A CPU without bfloat16 or 8-bit instructions computes those products by detours; such a ceiling is marked as not native, and
shares are then given of f32's.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

ROWS, INTO, OUT = 1024, 768, 3072  # BERT-base's largest product
NUM_PRODUCTS = 20
# Products of 8-bit integers that sum into 32 bits in one instruction.
INT8_FLAGS = frozenset({"avx_vnni", "avx512_vnni", "amx_int8"})
PRECISIONS = {"float32": "f32", "bfloat16": "bf16"}


@dataclass(frozen=True, slots=True)
class Ceiling:
    """The rate of one precision, and whether the CPU has instructions for it."""

    precision: str
    gflops: float
    is_native: bool

    def __str__(self) -> str:
        native = "" if self.is_native else " (not native: this CPU has no instructions for it)"
        return f"{self.precision} GEMM {self.gflops:.0f} GFLOP/s{native}"


def measure_ceilings(cpu_flags: list[str]) -> dict[str, Ceiling]:
    """Measure every precision; `cpu_flags` are those of /proc/cpuinfo."""
    from embergate.engine.backends.openvino import computes_bf16

    native = {"f32": True, "bf16": computes_bf16(), "int8": bool(INT8_FLAGS & set(cpu_flags))}
    return {name: Ceiling(name, round(gemm_gflops(name), 1), is_native) for name, is_native in native.items()}


def ceiling_of(engine: str, ceilings: dict[str, Ceiling]) -> Ceiling:
    """Return what an engine such as `onnxruntime:int8` is held against: its own precision where the CPU has it, else f32."""
    variant = engine.partition(":")[2]
    own = ceilings[PRECISIONS.get(variant, variant)]
    return own if own.is_native else ceilings["f32"]


def gemm_gflops(precision: str) -> float:
    """Return the best rate of several products. int8 is 8-bit on both sides, the activations' scale known beforehand."""
    import openvino as ov
    from openvino import opset13 as ops

    generator = np.random.default_rng(0)
    weights = generator.standard_normal((OUT, INTO), dtype=np.float32)
    x = ops.parameter([ROWS, INTO], ov.Type.f32)
    if precision == "int8":
        scale = np.abs(weights).max(axis=1, keepdims=True) / np.float32(127)
        rounded = ops.constant(np.round(weights / scale).astype(np.int8))
        low, high = np.float32(-5), np.float32(5 * 127 / 128)
        left = ops.fake_quantize(x, low, high, low, high, 256)
        right = ops.multiply(ops.convert(rounded, ov.Type.f32), ops.constant(scale))
    else:
        left, right = x, ops.constant(weights)
    model = ov.Model([ops.matmul(left, right, False, True)], [x], "gemm")
    hint = "bf16" if precision == "bf16" else "f32"
    request = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": hint}).create_infer_request()
    data = generator.standard_normal((ROWS, INTO), dtype=np.float32)
    best = float("inf")
    for _ in range(NUM_PRODUCTS):
        started = time.perf_counter()
        request.infer([data])
        best = min(best, time.perf_counter() - started)
    return 2 * ROWS * INTO * OUT / best / 1e9
