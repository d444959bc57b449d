"""Static embeddings: one row a token, no network. model2vec's folders and sentence-transformers' StaticEmbedding.

Source: https://github.com/MinishLab/model2vec (v0.8), https://sbert.net StaticEmbedding (v6.2)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from embergate.engine.loading.weights import Tensor, Weights
from embergate.errors import ModelError

# There is no position to run out of; this bounds the work that one text can ask for.
MAX_TOKENS: Final = 8192
# As what config.json, or the lack of one, names the two kinds.
MODEL2VEC: Final = "model2vec"
STATIC_EMBEDDING: Final = "static_embedding"
TABLE_NAMES: Final = ("embedding.weight", "embeddings")


@dataclass(frozen=True, slots=True)
class StaticTable:
    """The table of one static model; `mapping` and `token_weights` come with vocabularies that were quantised.

    Shapes: table (R, H), mapping (V,) with values below R, token_weights (V,); without them R = V.
    """

    table: Tensor
    mapping: NDArray[np.int64] | None
    token_weights: NDArray[np.float32] | None

    @classmethod
    def read(cls, weights: Weights) -> StaticTable:
        """Read the tensors. Raises: ModelError naming the one that is missing or does not fit."""
        name = next((name for name in TABLE_NAMES if name in weights), None)
        if name is None:
            raise ModelError(
                f"{weights.folder.name} has no tensor {' or '.join(TABLE_NAMES)}; it is not a static model"
            )
        shape = weights.shape(name)
        if len(shape) != 2 or not all(shape):
            raise ModelError(f"{name} has shape {shape}, expected (rows, dimensions)")
        mapping = weights.integers("mapping") if "mapping" in weights else None
        num_tokens = len(mapping) if mapping is not None else shape[0]
        if mapping is not None and not ((mapping >= 0) & (mapping < shape[0])).all():
            raise ModelError(f"mapping points outside the {shape[0]} rows of {name}")
        token_weights = weights.get("weights", (num_tokens,)).float32() if "weights" in weights else None
        table = weights.get(name, shape)
        weights.raise_problems()
        return cls(table, mapping, token_weights)

    @property
    def hidden_size(self) -> int:
        """The length of a row, H."""
        return int(self.table.array.shape[1])

    @property
    def vocab_size(self) -> int:
        """The number of token ids, V."""
        return len(self.mapping) if self.mapping is not None else int(self.table.array.shape[0])

    @property
    def max_tokens(self) -> int:
        """The longest text that is taken."""
        return MAX_TOKENS

    def rows(self, input_ids: NDArray[np.int32]) -> NDArray[np.float32]:
        """Look up tokens. Shapes: (B, S) -> (B, S, H)."""
        rows = self.table.rows(self.mapping[input_ids] if self.mapping is not None else input_ids)
        return rows if self.token_weights is None else rows * self.token_weights[input_ids][..., None]
