"""tract (https://github.com/sonos/tract) on the ONNX file of the ONNX Runtime peer; the protocol is `worker.py`'s.

NOTE: its shape analysis fails on this graph with free dimensions, so a plan is made for every shape met, in the warm-up.
"""

from __future__ import annotations

import sys
from functools import lru_cache
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))
import worker


def open_tract(_name: str, folder: Path, cache: Path) -> worker.Encode:
    import tract

    path = cache / f"{folder.name}.onnx"
    if not path.exists():
        path = worker.onnx_file(folder, cache, int8=False)

    @lru_cache
    def plan(rows: int, columns: int) -> tract.Runnable:
        model = tract.onnx().load(str(path))
        for index in range(2):
            model.set_input_fact(index, f"{rows},{columns},i64")
        return model.into_model().into_runnable()

    def run(lengths: list[int]) -> np.ndarray:
        ids, mask = worker.padded(lengths)
        return worker.mean_pool(plan(*ids.shape).run([ids, mask])[0].to_numpy(), mask)

    return lambda lengths: worker.in_order(lengths, run)


if __name__ == "__main__":
    worker.open_engine = open_tract
    worker.main()
