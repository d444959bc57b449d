"""One network a module, built as an OpenVINO graph from config.json and safetensors."""

from __future__ import annotations

from typing import Final

from embergate.engine.architectures.bert import Bert
from embergate.engine.architectures.protocol import Architecture

# By the model_type of config.json.
ARCHITECTURES: Final[dict[str, type[Architecture]]] = {
    "bert": Bert,
}

__all__ = ["ARCHITECTURES", "Architecture"]
