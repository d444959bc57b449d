"""MPNet: BERT's layers with one table of relative position biases for all of them, beside absolute positions.

Source: https://arxiv.org/abs/2004.09297; tensor names and bucketing as in transformers' MPNetModel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Final, Self

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset13 as ops

from embergate.engine.layers.activations import ACTIVATIONS
from embergate.engine.layers.graph import Graph
from embergate.engine.loading.config_reader import ConfigReader

FIRST_POSITION: Final = 2  # the padding index is 1, whatever config.json says
# The bucketing is fixed in the network's code; config.json only sizes the table.
NUM_BUCKETS: Final = 32
MAX_DISTANCE: Final = 128


@dataclass(frozen=True, slots=True)
class MPNet:
    """The sizes of one MPNet."""

    anchor: ClassVar[str] = "embeddings.word_embeddings.weight"

    vocab_size: int
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    head_dim: int
    intermediate_size: int
    max_position_embeddings: int
    relative_attention_num_buckets: int
    layer_norm_eps: float
    hidden_act: str

    @property
    def max_tokens(self) -> int:
        """One token a position that is left."""
        return self.max_position_embeddings - FIRST_POSITION

    @classmethod
    def read(cls, config: ConfigReader) -> Self:
        """Read the sizes."""
        hidden_size, num_heads = config.integer("hidden_size"), config.integer("num_attention_heads")
        return cls(
            vocab_size=config.integer("vocab_size"),
            hidden_size=hidden_size,
            num_hidden_layers=config.integer("num_hidden_layers", maximum=1000),
            num_attention_heads=num_heads,
            head_dim=config.head_size(hidden_size, num_heads, "hidden_size", "num_attention_heads"),
            intermediate_size=config.integer("intermediate_size"),
            max_position_embeddings=config.integer("max_position_embeddings", minimum=FIRST_POSITION + 1),
            relative_attention_num_buckets=config.integer(
                "relative_attention_num_buckets", default=NUM_BUCKETS, minimum=NUM_BUCKETS
            ),
            layer_norm_eps=config.number("layer_norm_eps", default=1e-12),
            hidden_act=config.string("hidden_act", default="gelu", choices=tuple(ACTIVATIONS)),
        )

    def build(self, graph: Graph) -> ov.Node:
        """Return the last layer's token states (B, S, H)."""
        words = graph.word_embeddings(self.anchor, self.vocab_size, self.hidden_size)
        table = graph.table("embeddings.position_embeddings.weight", self.max_position_embeddings, self.hidden_size)
        positions = ops.add(graph.positions, ops.constant(np.int32(FIRST_POSITION)))
        x = ops.add(words, graph.lookup(table, positions))
        x = graph.layer_norm(x, "embeddings.LayerNorm", self.hidden_size, self.layer_norm_eps)
        bias = ops.add(self.relative_bias(graph), graph.padding_bias)  # (B, N, S, S)
        for index in range(self.num_hidden_layers):
            x = self.layer(graph, x, f"encoder.layer.{index}", bias)
        return x

    def relative_bias(self, graph: Graph) -> ov.Node:
        """Look up the bias of every distance between two tokens. Shapes: (1, N, S, S)."""
        shape = (self.relative_attention_num_buckets, self.num_attention_heads)
        table = graph.weights.get("encoder.relative_attention_bias.weight", shape).float32()
        reach = self.max_tokens - 1
        by_distance = table[distance_buckets(np.arange(-reach, reach + 1))]  # (2 * reach + 1, N)
        key = ops.unsqueeze(graph.positions, ops.constant(np.array([0], np.int32)))
        query = ops.unsqueeze(graph.positions, ops.constant(np.array([1], np.int32)))
        distance = ops.add(ops.subtract(key, query), ops.constant(np.int32(reach)))  # (S, S), from 0
        bias = ops.gather(graph.constant(by_distance), distance, ops.constant(np.int32(0)))  # (S, S, N)
        bias = ops.transpose(bias, ops.constant(np.array([2, 0, 1], np.int64)))  # (N, S, S)
        return ops.unsqueeze(bias, ops.constant(np.array([0], np.int32)))

    def layer(self, graph: Graph, x: ov.Node, name: str, bias: ov.Node) -> ov.Node:
        """Attention, then the feed-forward network, each added to its input and normalised."""
        hidden, inner, eps = self.hidden_size, self.intermediate_size, self.layer_norm_eps
        query, key, value = (
            graph.split_heads(
                graph.linear(x, f"{name}.attention.attn.{part}", (hidden, hidden)),
                self.num_attention_heads,
                self.head_dim,
            )
            for part in ("q", "k", "v")
        )
        mixed = graph.merge_heads(graph.attend(query, key, value, bias), hidden)
        attended = graph.linear(mixed, f"{name}.attention.attn.o", (hidden, hidden))
        x = graph.layer_norm(ops.add(attended, x), f"{name}.attention.LayerNorm", hidden, eps)
        y = ACTIVATIONS[self.hidden_act](graph.linear(x, f"{name}.intermediate.dense", (hidden, inner)))
        y = graph.linear(y, f"{name}.output.dense", (inner, hidden))
        return graph.layer_norm(ops.add(y, x), f"{name}.output.LayerNorm", hidden, eps)


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
