"""The CPU backend: our own graphs, compiled and run by OpenVINO. Needs no torch.

Source: https://docs.openvino.ai/2026/openvino-workflow/running-inference/inference-devices-and-modes/cpu-device.html
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, Final

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from embergate.engine.architectures import Architecture
from embergate.engine.backends.protocol import ComputeOptions
from embergate.engine.layers.graph import Graph
from embergate.engine.loading.spec import Precision
from embergate.engine.loading.weights import Weights
from embergate.engine.memory import return_free_heap, return_freed_blocks

# From about this many tokens on, the runtime lays weights out in another way, and packs them once more.
LONG_PASS_TOKENS: Final = 128
RELEASE_INTERVAL_S: Final = 0.02


@lru_cache(maxsize=1)
def core() -> ov.Core:
    """Return the process's OpenVINO runtime."""
    return_freed_blocks()
    return ov.Core()


@lru_cache(maxsize=1)
def computes_bf16() -> bool:
    """Tell whether this CPU multiplies bfloat16 natively (AVX-512 BF16 or AMX)."""
    return "BF16" in core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def resolve_precision(precision: Precision) -> Precision:
    """Turn AUTO into bf16 where the CPU computes it natively, else f32."""
    if precision is not Precision.AUTO:
        return precision
    return Precision.BF16 if computes_bf16() else Precision.F32


class OpenVinoBackend:
    """One compiled encoder.

    Raises: ModelError if the weights do not fit the configuration, naming every tensor.
    """

    def __init__(
        self,
        architecture: Architecture,
        weights: Weights,
        precision: Precision,
        compute: ComputeOptions,
        *,
        has_segments: bool = False,
    ) -> None:
        """Build the graph and compile it; the graph itself is released before this returns."""
        self.precision = resolve_precision(precision)
        native = self.precision is not Precision.F32 and computes_bf16()
        self.computes_in = "bf16" if native else "f32"
        weights.strip_prefix(architecture.anchor)
        graph = Graph(weights, self.precision, has_segments=has_segments)
        self._has_segments = has_segments
        model = graph.finish(architecture.build(graph))
        with _releasing(graph):
            self._compiled: ov.CompiledModel | None = core().compile_model(
                model, "CPU", self._options(compute, architecture)
            )
            self._buffers = graph.buffers
            assert graph.embedding_table is not None, "every architecture declares its word embeddings. This is a bug."
            self._table = graph.embedding_table
            self.weights_bytes = graph.weights_bytes
            self._local = threading.local()
            # The runtime packs its own copy of the weights when it compiles, in the first pass, and in the first long one.
            for seqlen in (8, min(LONG_PASS_TOKENS, architecture.max_tokens)):
                self.forward(np.zeros((1, seqlen), np.int32), np.full(1, seqlen, np.int32))
        return_free_heap()

    def _options(self, compute: ComputeOptions, architecture: Architecture) -> dict[str, Any]:
        options: dict[str, Any] = {
            "INFERENCE_NUM_THREADS": compute.resolved_threads(),
            "NUM_STREAMS": compute.num_streams,
            # Set always: left alone, the runtime picks bfloat16 wherever the CPU has it.
            "INFERENCE_PRECISION_HINT": self.computes_in,
            "ENABLE_CPU_PINNING": False,  # one process is not alone on the machine
        }
        if self.precision is Precision.INT8:
            options["DYNAMIC_QUANTIZATION_GROUP_SIZE"] = architecture.hidden_size
        return options

    def forward(
        self, input_ids: NDArray[np.int32], lengths: NDArray[np.int32], second_starts: NDArray[np.int32] | None = None
    ) -> NDArray[np.float32]:
        """Run one padded batch; see `Backend.forward`."""
        assert self._compiled is not None, "forward after close. This is a bug."
        request = getattr(self._local, "request", None)
        if request is None:
            request = self._local.request = self._compiled.create_infer_request()
        inputs = [ov.Tensor(self._table.rows(input_ids)), ov.Tensor(lengths)]
        if self._has_segments:
            inputs.append(ov.Tensor(lengths if second_starts is None else second_starts))
        request.infer(inputs)
        states: NDArray[np.float32] = request.get_output_tensor(0).data
        return states

    def close(self) -> None:
        """Free the compiled encoder and its buffers."""
        self._local = threading.local()
        self._compiled = None
        self._buffers = []
        return_free_heap()


@contextmanager
def _releasing(graph: Graph) -> Iterator[None]:
    """Give the pages of the weights back again and again while the runtime reads them, lest all be resident at once."""
    is_done = threading.Event()

    def release() -> None:
        while not is_done.wait(RELEASE_INTERVAL_S):
            graph.release()

    thread = threading.Thread(target=release, name="embergate-release", daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_done.set()
        thread.join()
        graph.release()
