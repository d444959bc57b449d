"""What a network's code offers: its sizes, read from config.json, and its graph."""

from __future__ import annotations

from typing import ClassVar, Protocol, Self

import openvino as ov

from embergate.engine.layers.graph import Graph
from embergate.engine.loading.config_reader import ConfigReader


class Architecture(Protocol):
    """A network as configured by one config.json.

    Units: `max_tokens` counts every position that the network was made for.
    """

    # The tensor by which the checkpoint's name prefix is found.
    anchor: ClassVar[str]

    @property
    def hidden_size(self) -> int:
        """The length of a token's state, H."""
        ...

    @property
    def vocab_size(self) -> int:
        """The number of token ids, V."""
        ...

    @property
    def max_tokens(self) -> int:
        """The longest text, in tokens."""
        ...

    @classmethod
    def read(cls, config: ConfigReader) -> Self:
        """Read and check the sizes. Raises: ModelError naming the key that does not fit."""
        ...

    def build(self, graph: Graph) -> ov.Node:
        """Return the token states (B, S, H) that the network computes from the graph's inputs."""
        ...
