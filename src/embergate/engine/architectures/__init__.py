"""One network a module, built as an OpenVINO graph from config.json and safetensors."""

from __future__ import annotations

from typing import Final

from embergate.engine.architectures.bert import Bert
from embergate.engine.architectures.distilbert import DistilBert
from embergate.engine.architectures.modernbert import ModernBert
from embergate.engine.architectures.mpnet import MPNet
from embergate.engine.architectures.nomic_bert import NomicBert
from embergate.engine.architectures.protocol import Architecture
from embergate.engine.architectures.qwen import Qwen2, Qwen3
from embergate.engine.architectures.roberta import Roberta

# By the model_type of config.json.
ARCHITECTURES: Final[dict[str, type[Architecture]]] = {
    "bert": Bert,
    "camembert": Roberta,
    "distilbert": DistilBert,
    "modernbert": ModernBert,
    "mpnet": MPNet,
    "nomic_bert": NomicBert,
    "qwen2": Qwen2,
    "qwen3": Qwen3,
    "roberta": Roberta,
    "xlm-roberta": Roberta,
}

__all__ = ["ARCHITECTURES", "Architecture"]
