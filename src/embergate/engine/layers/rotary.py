"""Rotary position embeddings: pairs of dimensions turned by an angle that grows with the position.

Source: https://arxiv.org/abs/2104.09864, in the half-split form of GPT-NeoX, which every supported checkpoint uses.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from embergate.engine.layers.graph import Graph, split_last
from embergate.engine.loading.config_reader import ConfigReader
from embergate.errors import ModelError

KEPT_AS_TRAINED = ("default", "linear")
# A million positions of a head of 128; no tensor of the checkpoint says that config.json has them right.
MAX_ANGLES: Final = 1 << 26


class Rotary:
    """The angles of one theta, as tables of cosines and sines that are cut to the length of the batch.

    Shapes: tables (max_tokens, rotary_dim / 2) float32, computed in float64.
    """

    def __init__(self, graph: Graph, *, max_tokens: int, head_dim: int, theta: float, scale: float = 1.0) -> None:
        """Prepare the tables; `head_dim` is the number of dimensions turned, `scale` divides the positions."""
        if head_dim % 2:
            raise ModelError(f"rotary positions turn pairs of dimensions, and {head_dim} is odd")
        if max_tokens * (head_dim // 2) > MAX_ANGLES:
            raise ModelError(
                f"config.json: {max_tokens} positions (max_position_embeddings or n_positions) of {head_dim} dimensions a "
                f"head are more than {2 * MAX_ANGLES} numbers; one of the two is wrong"
            )
        self.rotary_dim = head_dim
        frequencies = theta ** (-np.arange(0, head_dim, 2, dtype=np.float64) / head_dim)
        angles = np.arange(max_tokens, dtype=np.float64)[:, None] / scale * frequencies
        self._cos = self._table(graph, np.cos(angles))
        self._sin = self._table(graph, np.sin(angles))

    @staticmethod
    def _table(graph: Graph, values: np.ndarray) -> ov.Node:
        table = graph.shared(graph.scratch.keep(values.astype(np.float32)))
        rows = ops.gather(table, graph.positions, ops.constant(np.int32(0)))  # (S, D / 2)
        return ops.unsqueeze(rows, ops.constant(np.array([0, 1], np.int32)))  # (1, 1, S, D / 2)

    def turn(self, x: ov.Node, head_dim: int) -> ov.Node:
        """Turn the first `rotary_dim` dimensions of every head, leave the rest. Shapes: (B, N, S, D) -> same."""
        half = self.rotary_dim // 2
        rest = head_dim - self.rotary_dim
        first, second, *untouched = split_last(x, [half, half, rest] if rest else [half, half])
        turned = [
            ops.subtract(ops.multiply(first, self._cos), ops.multiply(second, self._sin)),
            ops.add(ops.multiply(second, self._cos), ops.multiply(first, self._sin)),
        ]
        return ops.concat([*turned, *untouched], -1)


def read_theta(config: ConfigReader, *keys: str, default: float) -> tuple[float, float]:
    """Return theta and the linear scale of a config, from the old keys or from `rope_parameters`.

    Raises: ModelError naming the key for a kind of scaling that is not built.
    """
    parameters = config.object("rope_parameters", "rope_scaling")
    kind = parameters.string("rope_type", "type", default="default", choices=KEPT_AS_TRAINED)
    theta = parameters.number("rope_theta", default=config.number(*keys, default=default), minimum=1.0)
    scale = parameters.number("factor", default=1.0, minimum=1.0) if kind == "linear" else 1.0
    return theta, scale
