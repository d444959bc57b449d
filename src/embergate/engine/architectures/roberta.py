"""RoBERTa, XLM-RoBERTa and CamemBERT: BERT's layers, with positions that start behind the padding index.

Source: https://arxiv.org/abs/1907.11692; tensor names as in transformers' RobertaModel.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Self

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from embergate.engine.architectures.bert import Bert
from embergate.engine.layers.graph import Graph
from embergate.engine.loading.config_reader import ConfigReader


@dataclass(frozen=True, slots=True)
class Roberta(Bert):
    """The sizes of one RoBERTa; `first_position` is the padding index plus one."""

    first_position: int = 2

    @property
    def max_tokens(self) -> int:
        """One token a position that is left."""
        return self.max_position_embeddings - self.first_position

    @classmethod
    def read(cls, config: ConfigReader) -> Self:
        """Read BERT's sizes and the padding index."""
        first_position = config.integer("pad_token_id", default=1, minimum=0) + 1
        if config.integer("max_position_embeddings") <= first_position:
            raise config.error("max_position_embeddings", f"more than {first_position}, where positions start")
        return cls(**asdict(Bert.read(config)), first_position=first_position)

    def position_ids(self, graph: Graph) -> ov.Node:
        """Count from `first_position`; padding is on the right, so every token's place is its column."""
        return ops.add(graph.positions, ops.constant(np.int32(self.first_position)))
