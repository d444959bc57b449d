"""The heads that turn an encoder into a cross-encoder: from the token states of a pair of texts to one logit.

Names and order of the layers are those of transformers' `…ForSequenceClassification`, which differ by architecture.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from embergate.engine.loading.config_reader import ConfigReader
from embergate.engine.loading.spec import DenseStage, NormStage, PoolingMode, PoolingSpec

# transformers' names of activations, and ours of the same.
ACTIVATIONS: Final = {"gelu": "GELU", "relu": "ReLU", "tanh": "Tanh"}


@dataclass(frozen=True, slots=True)
class Head:
    """A dense layer over one pooled state, and a projection of what it gives to the logit."""

    inner: str
    output: str
    activation: str = "Tanh"
    pooling: PoolingMode = PoolingMode.CLS
    inner_bias: bool = True
    norm: NormStage | None = None

    def stages(self, folder: Path, hidden_size: int) -> PoolingSpec:
        """Return the head as what follows a network, its weights in the safetensors of `folder`."""
        inner = DenseStage(
            folder, hidden_size, hidden_size, self.inner_bias, self.activation, tensor=self.inner, norm=self.norm
        )
        output = DenseStage(folder, hidden_size, 1, bias=True, activation="Identity", tensor=self.output)
        return PoolingSpec((self.pooling,), (inner, output))


def _roberta(_config: ConfigReader) -> Head:
    return Head("classifier.dense", "classifier.out_proj")


def _modernbert(config: ConfigReader) -> Head:
    activation = config.string("classifier_activation", default="gelu", choices=tuple(ACTIVATIONS))
    return Head(
        "head.dense",
        "classifier",
        activation=ACTIVATIONS[activation],
        pooling=PoolingMode(config.string("classifier_pooling", default="cls", choices=("cls", "mean"))),
        inner_bias=config.boolean("classifier_bias", default=False),
        norm=NormStage(
            "head.norm",
            config.number("norm_eps", default=1e-5),
            config.boolean("norm_bias", default=False),
        ),
    )


# By the model_type of config.json.
HEADS: Final[dict[str, Callable[[ConfigReader], Head]]] = {
    "bert": lambda _: Head("bert.pooler.dense", "classifier"),
    "camembert": _roberta,
    "distilbert": lambda _: Head("pre_classifier", "classifier", activation="ReLU"),
    "modernbert": _modernbert,
    "mpnet": _roberta,
    "roberta": _roberta,
    "xlm-roberta": _roberta,
}
