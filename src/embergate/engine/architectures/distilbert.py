"""DistilBERT: BERT with half the layers, no segments, and names of its own.

Source: https://arxiv.org/abs/1910.01108; tensor names as in transformers' DistilBertModel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final, Self

import openvino as ov
from openvino import opset13 as ops

from embergate.engine.layers.activations import ACTIVATIONS
from embergate.engine.layers.graph import Graph
from embergate.engine.loading.config_reader import ConfigReader

# Fixed in the network's code; no config.json carries it.
LAYER_NORM_EPS: Final = 1e-12


@dataclass(frozen=True, slots=True)
class DistilBert:
    """The sizes of one DistilBERT, under the names of its config.json."""

    anchor: ClassVar[str] = "embeddings.word_embeddings.weight"

    vocab_size: int
    dim: int
    n_layers: int
    n_heads: int
    head_dim: int
    hidden_dim: int
    max_position_embeddings: int
    activation: str

    @property
    def hidden_size(self) -> int:
        """DistilBERT calls it `dim`."""
        return self.dim

    @property
    def max_tokens(self) -> int:
        """One token a position."""
        return self.max_position_embeddings

    @classmethod
    def read(cls, config: ConfigReader) -> Self:
        """Read the sizes."""
        dim, n_heads = config.integer("dim", "hidden_size"), config.integer("n_heads", "num_attention_heads")
        return cls(
            vocab_size=config.integer("vocab_size"),
            dim=dim,
            n_layers=config.integer("n_layers", "num_hidden_layers"),
            n_heads=n_heads,
            head_dim=config.head_size(dim, n_heads, "dim", "n_heads"),
            hidden_dim=config.integer("hidden_dim"),
            max_position_embeddings=config.integer("max_position_embeddings"),
            activation=config.string("activation", default="gelu", choices=tuple(ACTIVATIONS)),
        )

    def build(self, graph: Graph) -> ov.Node:
        """Return the last layer's token states (B, S, H)."""
        words = graph.word_embeddings(self.anchor, self.vocab_size, self.dim)
        positions = graph.table("embeddings.position_embeddings.weight", self.max_position_embeddings, self.dim)
        x = ops.add(words, graph.lookup(positions, graph.positions))
        x = graph.layer_norm(x, "embeddings.LayerNorm", self.dim, LAYER_NORM_EPS)
        for index in range(self.n_layers):
            x = self.layer(graph, x, f"transformer.layer.{index}")
        return x

    def layer(self, graph: Graph, x: ov.Node, name: str) -> ov.Node:
        """Attention, then the feed-forward network, each added to its input and normalised."""
        sizes = (self.dim, self.dim)
        query, key, value = (
            graph.split_heads(graph.linear(x, f"{name}.attention.{part}", sizes), self.n_heads, self.head_dim)
            for part in ("q_lin", "k_lin", "v_lin")
        )
        mixed = graph.merge_heads(graph.attend(query, key, value, graph.padding_bias), self.dim)
        attended = graph.linear(mixed, f"{name}.attention.out_lin", sizes)
        x = graph.layer_norm(ops.add(attended, x), f"{name}.sa_layer_norm", self.dim, LAYER_NORM_EPS)
        y = ACTIVATIONS[self.activation](graph.linear(x, f"{name}.ffn.lin1", (self.dim, self.hidden_dim)))
        y = graph.linear(y, f"{name}.ffn.lin2", (self.hidden_dim, self.dim))
        return graph.layer_norm(ops.add(y, x), f"{name}.output_layer_norm", self.dim, LAYER_NORM_EPS)
