"""What a model is reckoned to take before it is loaded, against what it does take."""

from __future__ import annotations

from pathlib import Path

import pytest

from embergate.engine.loaded_model import LoadedModel
from embergate.engine.loading.loader import SourceOptions
from embergate.engine.loading.spec import PoolingMode, Precision
from embergate.engine.loading.weights import Weights
from embergate.engine.weighing import served_bytes
from tests.random_models import CASES, Case, write_model

NAMES = ["bert-mean", "bert-tied-head", "mpnet-prefixed", "modernbert-tied-head", "qwen2-gqa", "model2vec-plain"]
CHOSEN = [case for case in CASES if case.name in NAMES]


@pytest.mark.parametrize("precision", [Precision.F32, Precision.BF16, Precision.INT8])
@pytest.mark.parametrize("case", CHOSEN, ids=lambda case: case.name)
def test_model_is_not_larger_than_reckoned_nor_much_smaller(tmp_path: Path, case: Case, precision: Precision) -> None:
    write_model(case, tmp_path / "model", 0)
    reckoned = served_bytes(tmp_path / "model", precision)
    pooling = PoolingMode.MEAN if case.pooling is None else None
    source = SourceOptions(offline=True, pooling=pooling)
    model = LoadedModel.open(tmp_path / "model", precision=precision, source=source)
    taken = model.weights_bytes
    model.close()
    assert taken <= reckoned
    assert reckoned <= 1.6 * taken


def test_bfloat16_that_is_served_in_float32_counts_double(tmp_path: Path) -> None:
    case = next(case for case in CASES if case.architecture == "qwen3" and case.dtype == "BF16")
    write_model(case, tmp_path / "model", 0)
    stored = sum(path.stat().st_size for path in (tmp_path / "model").rglob("*.safetensors"))
    assert served_bytes(tmp_path / "model", Precision.F32) == 4 * Weights(tmp_path / "model").num_values
    assert served_bytes(tmp_path / "model", Precision.F32) > 1.5 * stored
