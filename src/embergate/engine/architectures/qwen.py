"""Qwen2 and Qwen3: pre-norm decoders with grouped-query attention, rotary positions and a gated network.

As embedders they pool the last token, so attention stays causal and padding on the right is never seen.
Source: https://arxiv.org/abs/2505.09388; tensor names as in transformers' Qwen2Model and Qwen3Model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import openvino as ov
from openvino import opset13 as ops

from embergate.engine.layers.activations import ACTIVATIONS
from embergate.engine.layers.graph import Graph
from embergate.engine.layers.rotary import Rotary, read_theta
from embergate.engine.loading.config_reader import ConfigReader


@dataclass(frozen=True, slots=True)
class Qwen2:
    """The sizes of one Qwen2. `is_causal` is false in a few embedders that were retrained to look both ways."""

    anchor: ClassVar[str] = "embed_tokens.weight"
    has_head_norms: ClassVar[bool] = False

    vocab_size: int
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    intermediate_size: int
    max_position_embeddings: int
    rms_norm_eps: float
    rope_theta: float
    rope_scale: float
    hidden_act: str
    is_causal: bool
    qkv_bias: bool
    output_bias: bool

    @property
    def max_tokens(self) -> int:
        """The positions that the model was made for."""
        return self.max_position_embeddings

    @classmethod
    def read(cls, config: ConfigReader) -> Self:
        """Read the sizes; sliding-window attention is refused."""
        _refuse_sliding_window(config)
        hidden_size, num_heads = config.integer("hidden_size"), config.integer("num_attention_heads")
        num_kv_heads = config.integer("num_key_value_heads", default=num_heads)
        if num_heads % num_kv_heads:
            raise config.error("num_key_value_heads", f"a divisor of num_attention_heads, {num_heads}")
        given = config.integer("head_dim", default=0, minimum=0)
        theta, scale = read_theta(config, "rope_theta", default=10_000.0)
        qkv_bias, output_bias = cls.biases(config)
        return cls(
            vocab_size=config.integer("vocab_size"),
            hidden_size=hidden_size,
            num_hidden_layers=config.integer("num_hidden_layers"),
            num_attention_heads=num_heads,
            num_key_value_heads=num_kv_heads,
            head_dim=given or config.head_size(hidden_size, num_heads, "hidden_size", "num_attention_heads"),
            intermediate_size=config.integer("intermediate_size"),
            max_position_embeddings=config.integer("max_position_embeddings"),
            rms_norm_eps=config.number("rms_norm_eps", default=1e-6),
            rope_theta=theta,
            rope_scale=scale,
            hidden_act=config.string("hidden_act", default="silu", choices=tuple(ACTIVATIONS)),
            is_causal=config.boolean("is_causal", default=True),
            qkv_bias=qkv_bias,
            output_bias=output_bias,
        )

    @classmethod
    def biases(cls, config: ConfigReader) -> tuple[bool, bool]:
        """Tell whether q, k, v and the output projection have biases; Qwen2 has them fixed."""
        del config
        return True, False

    def build(self, graph: Graph) -> ov.Node:
        """Return the normalised token states (B, S, H)."""
        x = graph.word_embeddings(self.anchor, self.vocab_size, self.hidden_size)
        rotary = Rotary(
            graph,
            max_tokens=self.max_position_embeddings,
            head_dim=self.head_dim,
            theta=self.rope_theta,
            scale=self.rope_scale,
        )
        for index in range(self.num_hidden_layers):
            name = f"layers.{index}"
            y = graph.rms_norm(x, f"{name}.input_layernorm", self.hidden_size, self.rms_norm_eps)
            x = ops.add(x, self.attention(graph, y, f"{name}.self_attn", rotary))
            y = graph.rms_norm(x, f"{name}.post_attention_layernorm", self.hidden_size, self.rms_norm_eps)
            x = ops.add(x, self.feed_forward(graph, y, f"{name}.mlp"))
        return graph.rms_norm(x, "norm", self.hidden_size, self.rms_norm_eps)

    def attention(self, graph: Graph, x: ov.Node, name: str, rotary: Rotary) -> ov.Node:
        """Several query heads share a key and value head; causal unless the model was retrained."""
        query = self.heads(graph, x, name, "q", self.num_attention_heads)
        key = self.heads(graph, x, name, "k", self.num_key_value_heads)
        value = self.heads(graph, x, name, "v", self.num_key_value_heads)
        query, key = rotary.turn(query, self.head_dim), rotary.turn(key, self.head_dim)
        times = self.num_attention_heads // self.num_key_value_heads
        key, value = graph.repeat_heads(key, times), graph.repeat_heads(value, times)
        bias = graph.causal_bias if self.is_causal else graph.padding_bias
        size = self.num_attention_heads * self.head_dim
        mixed = graph.merge_heads(graph.attend(query, key, value, bias), size)
        return graph.linear(mixed, f"{name}.o_proj", (size, self.hidden_size), bias=self.output_bias)

    def heads(self, graph: Graph, x: ov.Node, name: str, part: str, num_heads: int) -> ov.Node:
        """Project to `num_heads` heads; Qwen3 normalises each query and key head. Shapes: (B, num_heads, S, D)."""
        sizes = (self.hidden_size, num_heads * self.head_dim)
        projected = graph.linear(x, f"{name}.{part}_proj", sizes, bias=self.qkv_bias)
        heads = graph.split_heads(projected, num_heads, self.head_dim)
        if not self.has_head_norms or part == "v":
            return heads
        return graph.rms_norm(heads, f"{name}.{part}_norm", self.head_dim, self.rms_norm_eps)

    def feed_forward(self, graph: Graph, x: ov.Node, name: str) -> ov.Node:
        """Multiply the activated gate with the wide layer."""
        up, down = (self.hidden_size, self.intermediate_size), (self.intermediate_size, self.hidden_size)
        gate = ACTIVATIONS[self.hidden_act](graph.linear(x, f"{name}.gate_proj", up, bias=False))
        return graph.linear(
            ops.multiply(gate, graph.linear(x, f"{name}.up_proj", up, bias=False)),
            f"{name}.down_proj",
            down,
            bias=False,
        )


@dataclass(frozen=True, slots=True)
class Qwen3(Qwen2):
    """The sizes of one Qwen3: norms in every query and key head, biases only where the config asks for them."""

    has_head_norms: ClassVar[bool] = True

    @classmethod
    def biases(cls, config: ConfigReader) -> tuple[bool, bool]:
        """One key of the config switches all four."""
        bias = config.boolean("attention_bias", default=False)
        return bias, bias


def _refuse_sliding_window(config: ConfigReader) -> None:
    if config.boolean("use_sliding_window", default=False):
        raise config.error("use_sliding_window", "false; sliding-window attention is not built for this architecture")
    if set(config.strings("layer_types")) - {"full_attention"}:
        raise config.error("layer_types", "a list of 'full_attention' only; sliding windows are not built")
