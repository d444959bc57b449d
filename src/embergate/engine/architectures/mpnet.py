"""MPNet: BERT's layers with one table of relative position biases for all of them, beside absolute positions.

Source: https://arxiv.org/abs/2004.09297; tensor names and bucketing as in transformers' MPNetModel.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import ClassVar, Final, Self

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset13 as ops

from embergate.engine.architectures.bert import Bert
from embergate.engine.architectures.roberta import Roberta
from embergate.engine.layers.graph import Graph
from embergate.engine.loading.config_reader import ConfigReader

FIRST_POSITION: Final = 2  # the padding index is 1, whatever config.json says
# The bucketing is fixed in the network's code; config.json only sizes the table.
NUM_BUCKETS: Final = 32
MAX_DISTANCE: Final = 128


@dataclass(frozen=True, slots=True)
class MPNet(Roberta):
    """The sizes of one MPNet."""

    projections: ClassVar[tuple[str, ...]] = tuple(f"attention.attn.{part}" for part in "qkvo")
    attention_norm: ClassVar[str] = "attention.LayerNorm"

    relative_attention_num_buckets: int = NUM_BUCKETS

    @classmethod
    def read(cls, config: ConfigReader) -> Self:
        """Read BERT's sizes and the number of buckets; there are no segments."""
        config.integer("max_position_embeddings", minimum=FIRST_POSITION + 1)
        num_buckets = config.integer("relative_attention_num_buckets", default=NUM_BUCKETS, minimum=NUM_BUCKETS)
        fixed = {"type_vocab_size": 0, "first_position": FIRST_POSITION, "relative_attention_num_buckets": num_buckets}
        return cls(**asdict(Bert.read(config)) | fixed)

    def attention_bias(self, graph: Graph) -> ov.Node:
        """The learned bias of the distance between two tokens, and BERT's. Shapes: (B, N, S, S)."""
        shape = (self.relative_attention_num_buckets, self.num_attention_heads)
        table = graph.weights.get("encoder.relative_attention_bias.weight", shape).float32()
        graph.weights.raise_problems()  # what follows is as large as config.json says: it must be true
        reach = self.max_tokens - 1
        by_distance = table[distance_buckets(np.arange(-reach, reach + 1))]  # (2 * reach + 1, N)
        index = ops.add(graph.distance, ops.constant(np.int32(reach)))  # (S, S), from 0
        bias = ops.gather(graph.constant(by_distance), index, ops.constant(np.int32(0)))  # (S, S, N)
        bias = ops.transpose(bias, ops.constant(np.array([2, 0, 1], np.int64)))  # (N, S, S)
        bias = ops.unsqueeze(bias, ops.constant(np.array([0], np.int32)))  # (1, N, S, S)
        return ops.add(bias, graph.padding_bias)


def distance_buckets(distances: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the bucket of each distance key - query: exact when near, logarithmic up to 128, one half for each side."""
    half = NUM_BUCKETS // 2
    exact = half // 2
    away = np.abs(distances)
    # In float32, as the network was trained: float64 would put a few distances into the neighbouring bucket.
    ratio = np.log(np.maximum(away, 1).astype(np.float32) / np.float32(exact)) / np.float32(
        math.log(MAX_DISTANCE / exact)
    )
    far = np.minimum(exact + (ratio * np.float32(half - exact)).astype(np.int64), half - 1)
    return np.where(distances > 0, half, 0) + np.where(away < exact, away, far)
