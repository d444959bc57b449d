"""From token states to one vector a text, or one logit: pooling, dense layers, the Matryoshka cut, L2 normalisation.

Written once, in numpy, for every architecture and backend. Padding is never read, so a vector cannot depend on what else
was in the batch.

Source: https://sbert.net/docs/package_reference/sentence_transformer/modules.html
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from embergate.engine.loading.spec import ContrastStage, DenseStage, NormStage, PoolingMode, PoolingSpec, Stage
from embergate.engine.loading.weights import Weights

Floats = NDArray[np.float32]


def _weighted_mean(states: Floats, first: int) -> Floats:
    positions = np.arange(first + 1, first + 1 + len(states), dtype=np.float32)
    mean: Floats = (states * positions[:, None]).sum(axis=0) / positions.sum()
    return mean


def _gelu(x: Floats) -> Floats:
    erf = np.array([math.erf(value) for value in (x / math.sqrt(2)).ravel()], np.float32)
    return np.float32(0.5) * x * (np.float32(1) + erf.reshape(x.shape))


# Each takes the states of one text's tokens (T, H) and the position of the first, and returns (H,).
POOLERS: Final[dict[PoolingMode, Callable[[Floats, int], Floats]]] = {
    PoolingMode.CLS: lambda states, _: states[0],
    PoolingMode.LAST_TOKEN: lambda states, _: states[-1],
    PoolingMode.MEAN: lambda states, _: states.mean(axis=0, dtype=np.float32),
    PoolingMode.MAX: lambda states, _: states.max(axis=0),
    PoolingMode.MEAN_SQRT_LEN: lambda states, _: (
        states.sum(axis=0, dtype=np.float32) / np.sqrt(np.float32(len(states)))
    ),
    PoolingMode.WEIGHTED_MEAN: _weighted_mean,
}

DENSE_ACTIVATIONS: Final[dict[str, Callable[[Floats], Floats]]] = {
    "Identity": lambda x: x,
    "Tanh": np.tanh,
    "ReLU": lambda x: np.maximum(x, np.float32(0)),
    "GELU": _gelu,
    "Sigmoid": lambda x: np.float32(1) / (np.float32(1) + np.exp(-x)),
}


class Dense:
    """One dense layer after pooling, its weights in memory."""

    def __init__(self, stage: DenseStage) -> None:
        """Read the layer's weights. Raises: ModelError if they are missing or misshaped."""
        weights, name = Weights(stage.folder), stage.tensor
        self._weight = weights.get(f"{name}.weight", (stage.out_features, stage.in_features)).float32()
        bias = weights.get(f"{name}.bias", (stage.out_features,)) if stage.bias else None
        self._bias = bias.float32() if bias is not None else None
        self._activation = DENSE_ACTIVATIONS[stage.activation]
        self._norm = Norm(stage.norm, weights, stage.out_features) if stage.norm is not None else None
        weights.raise_problems()

    def __call__(self, vectors: Floats) -> Floats:
        """Apply the layer. Shapes: (B, in) -> (B, out)."""
        # NOTE: einsum, not matmul: BLAS sums in another order for another number of rows.
        y = np.einsum("bi,oi->bo", vectors, self._weight)
        y = self._activation(y + self._bias if self._bias is not None else y)
        return self._norm(y) if self._norm is not None else y


class Norm:
    """A layer norm, its weights in memory."""

    def __init__(self, stage: NormStage, weights: Weights, size: int) -> None:
        """Read the weights; what is wrong with them is for `weights` to raise."""
        self._eps = np.float32(stage.eps)
        self._weight = weights.get(f"{stage.tensor}.weight", (size,)).float32()
        self._bias = weights.get(f"{stage.tensor}.bias", (size,)).float32() if stage.bias else np.float32(0)

    def __call__(self, vectors: Floats) -> Floats:
        """Normalise each row to mean 0 and variance 1, then scale and shift. Shapes: (B, H) -> same."""
        centred = vectors - vectors.mean(axis=1, keepdims=True)
        variance = np.square(centred).mean(axis=1, keepdims=True)
        scaled: Floats = centred / np.sqrt(variance + self._eps) * self._weight + self._bias
        return scaled


class Contrast:
    """The rows of a language head that stand for two words, as the one row that gives the difference of their logits."""

    def __init__(self, stage: ContrastStage, id_of: Callable[[str], int]) -> None:
        """Read the rows. Raises: ModelError if the head is missing or misshaped, or a word is not one token."""
        weights = Weights(stage.folder)
        table = weights.get(stage.tensor, (stage.vocab_size, stage.in_features))
        weights.raise_problems()
        first, second = table.rows(np.array([id_of(word) for word in stage.words]))
        self._weight = first - second
        weights.release()  # the whole table was looked at, for numbers that are none

    def __call__(self, vectors: Floats) -> Floats:
        """Return the difference of the logits. Shapes: (B, H) -> (B, 1)."""
        differences: Floats = np.einsum("bi,i->b", vectors, self._weight)[:, None]
        return differences


class Pooler:
    """The stages that follow a network, as its `PoolingSpec` lists them, up to but without the normalisation."""

    def __init__(self, spec: PoolingSpec, id_of: Callable[[str], int] | None = None) -> None:
        """Load the layers that `spec` names; `id_of` gives the token ids of words, where it names any. Raises: ModelError."""
        self._modes = tuple(POOLERS[mode] for mode in spec.modes)
        self._dense = tuple(_open_stage(stage, id_of) for stage in spec.dense)
        self._include_prompt = spec.include_prompt

    def __call__(self, states: Floats, lengths: NDArray[np.int32], num_prompt_tokens: NDArray[np.int32]) -> Floats:
        """Return one vector a row.

        Shapes: states (B, S, H), lengths (B,), num_prompt_tokens (B,) -> (B, dimensions), float32, freshly allocated.
        A row without a token (a static model whose words are all unknown) becomes zeros.
        """
        rows = []
        for state, length, num_skipped in zip(states, lengths, num_prompt_tokens, strict=True):
            first = 0 if self._include_prompt else int(num_skipped)
            tokens = state[first:length]
            if len(tokens):
                rows.append(np.concatenate([pool(tokens, first) for pool in self._modes]))
            else:
                rows.append(np.zeros(state.shape[1] * len(self._modes), np.float32))
        vectors = np.stack(rows)
        for dense in self._dense:
            vectors = dense(vectors)
        return vectors


def _open_stage(stage: Stage, id_of: Callable[[str], int] | None) -> Callable[[Floats], Floats]:
    if isinstance(stage, DenseStage):
        return Dense(stage)
    assert id_of is not None, "words need a tokenizer. This is a bug."
    return Contrast(stage, id_of)


def sigmoid(logits: Floats) -> NDArray[np.float64]:
    """Turn logits into scores from 0 to 1, in float64: float32 would make 1 of every logit from 17 on."""
    return 1.0 / (1.0 + np.exp(-logits.astype(np.float64)))


def finish(vectors: Floats, *, dimensions: int | None, normalize: bool) -> Floats:
    """Cut vectors to their first `dimensions`, then scale them to length 1 where asked: in this order, as Matryoshka needs.

    Shapes: (n, D) -> (n, dimensions or D), contiguous.
    """
    if dimensions is not None and dimensions < vectors.shape[1]:
        vectors = vectors[:, :dimensions]
    if normalize:
        norms = np.sqrt(np.einsum("nd,nd->n", vectors, vectors, dtype=np.float32))
        vectors = vectors / np.maximum(norms, np.float32(1e-12))[:, None]
    return np.ascontiguousarray(vectors, dtype=np.float32)
