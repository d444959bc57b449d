"""NomicBERT: post-norm layers with rotary positions and a gated feed-forward network.

Config keys and tensor names are those of the published checkpoints, which follow the model's own code.
Source: https://arxiv.org/abs/2402.01613
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final, Self

import openvino as ov
from openvino import opset13 as ops

from embergate.engine.layers.activations import ACTIVATIONS
from embergate.engine.layers.graph import Graph, split_last
from embergate.engine.layers.rotary import Rotary
from embergate.engine.loading.config_reader import ConfigReader
from embergate.errors import ModelError

INNER_MULTIPLE: Final = 256
# What a gated network multiplies with, by the config's name for the pair; without a gate the name is the activation's own.
GATES: Final = {"swiglu": "silu", "geglu": "gelu"}
# Options of the model's code that no published model turns on; with any other value the vectors would be wrong.
FIXED: Final = {
    "causal": False,
    "parallel_block": False,
    "prenorm": False,
    "rotary_emb_interleaved": False,
    "use_rms_norm": False,
    "rotary_scaling_factor": None,
    "rotary_emb_scale_base": None,
}


@dataclass(frozen=True, slots=True)
class NomicBert:
    """The sizes of one NomicBERT, under the names of its config.json."""

    anchor: ClassVar[str] = "embeddings.word_embeddings.weight"

    vocab_size: int
    n_embd: int
    n_layer: int
    n_head: int
    head_dim: int
    n_inner: int
    n_positions: int
    type_vocab_size: int
    layer_norm_epsilon: float
    rotary_emb_base: float
    rotary_dim: int
    activation_function: str
    qkv_proj_bias: bool
    mlp_fc1_bias: bool
    mlp_fc2_bias: bool

    @property
    def hidden_size(self) -> int:
        """Nomic calls it `n_embd`."""
        return self.n_embd

    @property
    def max_tokens(self) -> int:
        """The positions that the model was made for."""
        return self.n_positions

    @classmethod
    def read(cls, config: ConfigReader) -> Self:
        """Read the sizes; mixtures of experts and the options of `FIXED` are refused."""
        for key, value in FIXED.items():
            if config.values.get(key) not in {value, None}:
                raise config.error(key, f"{value}; other values are not built")
        if config.integer("num_experts", default=0, minimum=0) or config.integer(
            "moe_every_n_layers", default=0, minimum=0
        ):
            raise ModelError("config.json: mixtures of experts (num_experts, moe_every_n_layers) are not built")
        n_embd, n_head = config.integer("n_embd", "hidden_size"), config.integer("n_head", "num_attention_heads")
        head_dim = config.head_size(n_embd, n_head, "n_embd", "n_head")
        activation = config.string("activation_function", default="swiglu", choices=(*GATES, *ACTIVATIONS))
        n_inner = config.integer("n_inner", "intermediate_size", default=4 * n_embd)
        return cls(
            vocab_size=config.integer("vocab_size"),
            n_embd=n_embd,
            n_layer=config.integer("n_layer", "num_hidden_layers"),
            n_head=n_head,
            head_dim=head_dim,
            n_inner=-(-n_inner // INNER_MULTIPLE) * INNER_MULTIPLE if activation in GATES else n_inner,
            n_positions=config.integer("n_positions", "max_position_embeddings"),
            type_vocab_size=config.integer("type_vocab_size", default=0, minimum=0),
            layer_norm_epsilon=config.number("layer_norm_epsilon", "layer_norm_eps", default=1e-12),
            rotary_emb_base=config.number("rotary_emb_base", "rope_theta", default=10_000.0, minimum=1.0),
            rotary_dim=int(head_dim * config.number("rotary_emb_fraction", default=1.0, maximum=1.0)),
            activation_function=activation,
            qkv_proj_bias=config.boolean("qkv_proj_bias", default=True),
            mlp_fc1_bias=config.boolean("mlp_fc1_bias", default=True),
            mlp_fc2_bias=config.boolean("mlp_fc2_bias", default=True),
        )

    def build(self, graph: Graph) -> ov.Node:
        """Return the last layer's token states (B, S, H)."""
        x = graph.word_embeddings(self.anchor, self.vocab_size, self.n_embd)
        if self.type_vocab_size:
            segments = graph.weights.get("embeddings.token_type_embeddings.weight", (self.type_vocab_size, self.n_embd))
            x = ops.add(x, graph.constant(segments.float32()[0]))
        x = graph.layer_norm(x, "emb_ln", self.n_embd, self.layer_norm_epsilon)
        rotary = Rotary(graph, max_tokens=self.n_positions, head_dim=self.rotary_dim, theta=self.rotary_emb_base)
        for index in range(self.n_layer):
            x = self.layer(graph, x, f"encoder.layers.{index}", rotary)
        return x

    def layer(self, graph: Graph, x: ov.Node, name: str, rotary: Rotary) -> ov.Node:
        """Attention, then the feed-forward network, each added to its input and normalised."""
        attended = self.attention(graph, x, f"{name}.attn", rotary)
        x = graph.layer_norm(ops.add(attended, x), f"{name}.norm1", self.n_embd, self.layer_norm_epsilon)
        y = self.feed_forward(graph, x, f"{name}.mlp")
        return graph.layer_norm(ops.add(y, x), f"{name}.norm2", self.n_embd, self.layer_norm_epsilon)

    def attention(self, graph: Graph, x: ov.Node, name: str, rotary: Rotary) -> ov.Node:
        """Every token attends to every token that is not padding; queries and keys are turned by their positions."""
        hidden, bias = self.n_embd, self.qkv_proj_bias
        joined = graph.linear(x, f"{name}.Wqkv", (hidden, 3 * hidden), bias=bias)
        query, key, value = (
            graph.split_heads(part, self.n_head, self.head_dim) for part in split_last(joined, [hidden] * 3)
        )
        query, key = rotary.turn(query, self.head_dim), rotary.turn(key, self.head_dim)
        mixed = graph.merge_heads(graph.attend(query, key, value, graph.padding_bias), hidden)
        return graph.linear(mixed, f"{name}.out_proj", (hidden, hidden), bias=bias)

    def feed_forward(self, graph: Graph, x: ov.Node, name: str) -> ov.Node:
        """Two layers; gated, the first has a twin whose activation it is multiplied with."""
        up, down = (self.n_embd, self.n_inner), (self.n_inner, self.n_embd)
        gate = GATES.get(self.activation_function)
        if gate is None:
            y = ACTIVATIONS[self.activation_function](graph.linear(x, f"{name}.fc1", up, bias=self.mlp_fc1_bias))
        else:
            gated = ACTIVATIONS[gate](graph.linear(x, f"{name}.fc12", up, bias=self.mlp_fc1_bias))
            y = ops.multiply(graph.linear(x, f"{name}.fc11", up, bias=self.mlp_fc1_bias), gated)
        return graph.linear(y, f"{name}.fc2", down, bias=self.mlp_fc2_bias)
