"""What rerankers are asked in tests, and how near two scores of one pair must be."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from tests.random_models import TEXTS

QUERY: Final = "What is the vector of a text?"
# Longer than half of what the random cross-encoders take, so that it is cut too.
LONG_QUERY: Final = TEXTS[10]
TASK: Final = "Find the text that answers"
# Of a logit: random judges give logits of some 20, of which float32 keeps seven digits.
SAME_LOGIT_ATOL: Final = 1e-4


def logits(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Undo the sigmoid: scores near 0 and 1 differ by their logits."""
    return np.log(scores) - np.log1p(-scores)
