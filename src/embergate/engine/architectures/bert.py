"""BERT: learned absolute positions, post-norm layers, full attention.

Source: https://arxiv.org/abs/1810.04805; tensor names as in transformers' BertModel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import openvino as ov
from openvino import opset13 as ops

from embergate.engine.layers.activations import ACTIVATIONS
from embergate.engine.layers.graph import Graph
from embergate.engine.loading.config_reader import ConfigReader


@dataclass(frozen=True, slots=True)
class Bert:
    """The sizes of one BERT."""

    anchor: ClassVar[str] = "embeddings.word_embeddings.weight"
    # Tensor names inside a layer: query, key, value and output projection, and the norm behind them.
    projections: ClassVar[tuple[str, ...]] = (
        "attention.self.query",
        "attention.self.key",
        "attention.self.value",
        "attention.output.dense",
    )
    attention_norm: ClassVar[str] = "attention.output.LayerNorm"

    vocab_size: int
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    head_dim: int
    intermediate_size: int
    max_position_embeddings: int
    type_vocab_size: int
    layer_norm_eps: float
    hidden_act: str

    @property
    def max_tokens(self) -> int:
        """One token a learned position."""
        return self.max_position_embeddings

    @classmethod
    def read(cls, config: ConfigReader) -> Self:
        """Read the sizes; only absolute positions are built."""
        config.string("position_embedding_type", default="absolute", choices=("absolute",))
        hidden_size = config.integer("hidden_size")
        num_heads = config.integer("num_attention_heads")
        return cls(
            vocab_size=config.integer("vocab_size"),
            hidden_size=hidden_size,
            num_hidden_layers=config.integer("num_hidden_layers"),
            num_attention_heads=num_heads,
            head_dim=config.head_size(hidden_size, num_heads, "hidden_size", "num_attention_heads"),
            intermediate_size=config.integer("intermediate_size"),
            max_position_embeddings=config.integer("max_position_embeddings"),
            type_vocab_size=config.integer("type_vocab_size", default=2, minimum=0),
            layer_norm_eps=config.number("layer_norm_eps", default=1e-12),
            hidden_act=config.string("hidden_act", default="gelu", choices=tuple(ACTIVATIONS)),
        )

    def build(self, graph: Graph) -> ov.Node:
        """Return the last layer's token states (B, S, H)."""
        x = self.embed(graph)
        bias = self.attention_bias(graph)
        for index in range(self.num_hidden_layers):
            x = self.layer(graph, x, f"encoder.layer.{index}", bias)
        return x

    def embed(self, graph: Graph) -> ov.Node:
        """Sum word, position and segment embeddings, then normalise; a lone text is of the first segment."""
        words = graph.word_embeddings("embeddings.word_embeddings.weight", self.vocab_size, self.hidden_size)
        positions = graph.table("embeddings.position_embeddings.weight", self.max_position_embeddings, self.hidden_size)
        x = ops.add(words, graph.lookup(positions, self.position_ids(graph)))
        if self.type_vocab_size:
            name = "embeddings.token_type_embeddings.weight"
            table = graph.weights.get(name, (self.type_vocab_size, self.hidden_size)).float32()
            if graph.segments is None:
                x = ops.add(x, graph.constant(table[0]))
            else:
                x = ops.add(x, graph.lookup(graph.constant(table), graph.segments))
        return graph.layer_norm(x, "embeddings.LayerNorm", self.hidden_size, self.layer_norm_eps)

    def position_ids(self, graph: Graph) -> ov.Node:
        """0 for the first token; RoBERTa counts otherwise."""
        return graph.positions

    def attention_bias(self, graph: Graph) -> ov.Node:
        """What is added to attention scores: every token attends to every token that is not padding."""
        return graph.padding_bias

    def layer(self, graph: Graph, x: ov.Node, name: str, bias: ov.Node) -> ov.Node:
        """Attention, then the feed-forward network, each added to its input and normalised."""
        hidden, inner, eps = self.hidden_size, self.intermediate_size, self.layer_norm_eps
        attended = self.attention(graph, x, name, bias)
        x = graph.layer_norm(ops.add(attended, x), f"{name}.{self.attention_norm}", hidden, eps)
        y = ACTIVATIONS[self.hidden_act](graph.linear(x, f"{name}.intermediate.dense", (hidden, inner)))
        y = graph.linear(y, f"{name}.output.dense", (inner, hidden))
        return graph.layer_norm(ops.add(y, x), f"{name}.output.LayerNorm", hidden, eps)

    def attention(self, graph: Graph, x: ov.Node, name: str, bias: ov.Node) -> ov.Node:
        """Project to queries, keys and values, attend, and project back."""
        sizes = (self.hidden_size, self.hidden_size)
        *projections, output = self.projections
        query, key, value = (
            graph.split_heads(graph.linear(x, f"{name}.{part}", sizes), self.num_attention_heads, self.head_dim)
            for part in projections
        )
        mixed = graph.merge_heads(graph.attend(query, key, value, bias), self.hidden_size)
        return graph.linear(mixed, f"{name}.{output}", sizes)
