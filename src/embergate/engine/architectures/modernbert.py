"""ModernBERT: pre-norm layers with rotary positions, a gated network, and local attention in most layers.

Source: https://arxiv.org/abs/2412.13663; tensor names as in transformers' ModernBertModel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final, Self

import openvino as ov
from openvino import opset13 as ops

from embergate.engine.layers.activations import ACTIVATIONS
from embergate.engine.layers.graph import Graph, split_last
from embergate.engine.layers.rotary import Rotary, read_theta
from embergate.engine.loading.config_reader import ConfigReader

GLOBAL: Final = "full_attention"
LOCAL: Final = "sliding_attention"


@dataclass(frozen=True, slots=True)
class ModernBert:
    """The sizes of one ModernBERT; `layer_types` says of each layer whether it sees everything or a window."""

    anchor: ClassVar[str] = "embeddings.tok_embeddings.weight"

    vocab_size: int
    hidden_size: int
    num_attention_heads: int
    head_dim: int
    intermediate_size: int
    max_position_embeddings: int
    norm_eps: float
    hidden_activation: str
    local_attention: int
    layer_types: tuple[str, ...]
    thetas: tuple[tuple[str, float, float], ...]  # attention kind, theta, linear scale
    attention_bias: bool
    mlp_bias: bool
    norm_bias: bool

    @property
    def max_tokens(self) -> int:
        """The positions that the model was made for."""
        return self.max_position_embeddings

    @classmethod
    def read(cls, config: ConfigReader) -> Self:
        """Read the sizes, in the keys of the published models or of transformers 5."""
        hidden_size, num_heads = config.integer("hidden_size"), config.integer("num_attention_heads")
        return cls(
            vocab_size=config.integer("vocab_size"),
            hidden_size=hidden_size,
            num_attention_heads=num_heads,
            head_dim=config.head_size(hidden_size, num_heads, "hidden_size", "num_attention_heads"),
            intermediate_size=config.integer("intermediate_size"),
            max_position_embeddings=config.integer("max_position_embeddings"),
            norm_eps=config.number("norm_eps", default=1e-5),
            hidden_activation=config.string("hidden_activation", default="gelu", choices=tuple(ACTIVATIONS)),
            local_attention=config.integer("local_attention", default=128),
            layer_types=_layer_types(config),
            thetas=_thetas(config),
            attention_bias=config.boolean("attention_bias", default=False),
            mlp_bias=config.boolean("mlp_bias", default=False),
            norm_bias=config.boolean("norm_bias", default=False),
        )

    def build(self, graph: Graph) -> ov.Node:
        """Return the normalised token states (B, S, H)."""
        x = graph.word_embeddings(self.anchor, self.vocab_size, self.hidden_size)
        x = self.norm(graph, x, "embeddings.norm")
        rotaries = {
            kind: Rotary(
                graph, max_tokens=self.max_position_embeddings, head_dim=self.head_dim, theta=theta, scale=scale
            )
            for kind, theta, scale in self.thetas
        }
        window = ops.add(graph.padding_bias, graph.window_bias(self.local_attention // 2))  # (B, 1, S, S)
        biases = {GLOBAL: graph.padding_bias, LOCAL: window}
        for index, kind in enumerate(self.layer_types):
            name = f"layers.{index}"
            # The first layer's input has just been normalised.
            y = self.norm(graph, x, f"{name}.attn_norm") if index else x
            x = ops.add(x, self.attention(graph, y, f"{name}.attn", rotaries[kind], biases[kind]))
            x = ops.add(x, self.feed_forward(graph, self.norm(graph, x, f"{name}.mlp_norm"), f"{name}.mlp"))
        return self.norm(graph, x, "final_norm")

    def norm(self, graph: Graph, x: ov.Node, name: str) -> ov.Node:
        """Normalise, with a shift only where the config has one."""
        return graph.layer_norm(x, name, self.hidden_size, self.norm_eps, bias=self.norm_bias)

    def attention(self, graph: Graph, x: ov.Node, name: str, rotary: Rotary, bias: ov.Node) -> ov.Node:
        """Attend to what `bias` leaves open; queries and keys are turned by their positions."""
        hidden = self.hidden_size
        joined = graph.linear(x, f"{name}.Wqkv", (hidden, 3 * hidden), bias=self.attention_bias)
        query, key, value = (
            graph.split_heads(part, self.num_attention_heads, self.head_dim)
            for part in split_last(joined, [hidden] * 3)
        )
        query, key = rotary.turn(query, self.head_dim), rotary.turn(key, self.head_dim)
        mixed = graph.merge_heads(graph.attend(query, key, value, bias), hidden)
        return graph.linear(mixed, f"{name}.Wo", (hidden, hidden), bias=self.attention_bias)

    def feed_forward(self, graph: Graph, x: ov.Node, name: str) -> ov.Node:
        """Multiply one half of the wide layer, activated, with the other."""
        hidden, inner = self.hidden_size, self.intermediate_size
        wide = graph.linear(x, f"{name}.Wi", (hidden, 2 * inner), bias=self.mlp_bias)
        value, gate = split_last(wide, [inner, inner])
        y = ops.multiply(ACTIVATIONS[self.hidden_activation](value), gate)
        return graph.linear(y, f"{name}.Wo", (inner, hidden), bias=self.mlp_bias)


def _layer_types(config: ConfigReader) -> tuple[str, ...]:
    num_layers = config.integer("num_hidden_layers")
    listed = config.strings("layer_types")
    if not listed:
        every = config.integer("global_attn_every_n_layers", default=3)
        return tuple(LOCAL if index % every else GLOBAL for index in range(num_layers))
    if len(listed) != num_layers or not set(listed) <= {GLOBAL, LOCAL}:
        raise config.error("layer_types", f"{num_layers} of {GLOBAL!r} and {LOCAL!r}")
    return listed


def _thetas(config: ConfigReader) -> tuple[tuple[str, float, float], ...]:
    parameters = config.object("rope_parameters")
    defaults = {
        GLOBAL: config.number("global_rope_theta", default=160_000.0, minimum=1.0),
        LOCAL: config.number("local_rope_theta", default=10_000.0, minimum=1.0),
    }
    found = []
    for kind, default in defaults.items():
        own = parameters.object(kind)
        theta, scale = read_theta(ConfigReader({"rope_parameters": own.values}, source=own.source), "", default=default)
        found.append((kind, theta, scale))
    return tuple(found)
