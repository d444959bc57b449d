"""Embergate's engine beside its peers, in one run on one machine: `make bench`.

Rounds are interleaved (A B C A B C ...), so that a machine whose speed drifts drifts for all; medians are printed, as ratios
to sentence-transformers in float32 and as a share of the rate at which the machine multiplies matrices in the engine's own
precision, measured in the same run (`gemm.py`).
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import statistics
import subprocess
import sys
import time
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import distributions, version
from pathlib import Path
from typing import Any

import numpy as np
from gemm import Ceiling, ceiling_of, measure_ceilings

ROOT = Path(__file__).parent.parent
CACHE = ROOT / ".cache" / "bench"
OURS, THEIRS = ROOT / ".venv" / "bin" / "python", ROOT / ".peers" / "bin" / "python"
REFERENCE = "sentence-transformers:float32"
ENGINES = {
    "embergate:f32": OURS,
    "embergate:bf16": OURS,
    "embergate:int8": OURS,
    REFERENCE: THEIRS,
    "sentence-transformers:bfloat16": THEIRS,
    "onnxruntime:f32": THEIRS,
    "onnxruntime:int8": THEIRS,
    "ctranslate2:float32": THEIRS,
    "ctranslate2:int8": THEIRS,
    "tract:f32": THEIRS,
}
SCRIPTS = {"tract:f32": "peers/tract_worker.py"}
MIXED = [int(length) for length in np.random.default_rng(0).permutation(np.linspace(8, 512, 24))]
UNIFORM = [sum(MIXED) // len(MIXED)] * len(MIXED)
WORKLOADS = {
    "minilm": {"32x128": [128] * 32, "8x512": [512] * 8, "mixed": MIXED, "uniform": UNIFORM, "query": [16]},
    "bert-base": {"8x128": [128] * 8, "query": [16]},
}


def minilm_folder() -> Path:
    from embergate.engine.loading.sources import locate

    return locate("sentence-transformers/all-MiniLM-L6-v2").folder


def long_minilm_folder() -> Path:
    """MiniLM with all its 512 positions in use: as published, sentence-transformers cuts texts at 256 tokens."""
    source, folder = minilm_folder(), CACHE / "minilm"
    shutil.copytree(source, folder, dirs_exist_ok=True)
    settings = json.loads((folder / "sentence_bert_config.json").read_text()) | {"max_seq_length": 512}
    (folder / "sentence_bert_config.json").write_text(json.dumps(settings))
    return folder


def bert_base_folder() -> Path:
    """A BERT-base with random weights and MiniLM's tokenizer: speed does not depend on the values."""
    folder = CACHE / "bert-base"
    if (folder / "model.safetensors").exists():
        return folder
    from safetensors.numpy import save_file

    source = minilm_folder()
    config = json.loads((source / "config.json").read_text())
    config |= {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072}
    (folder / "1_Pooling").mkdir(parents=True, exist_ok=True)
    for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "special_tokens_map.json", "modules.json"):
        (folder / name).write_bytes((source / name).read_bytes())
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "1_Pooling" / "config.json").write_text(
        json.dumps({"word_embedding_dimension": 768, "pooling_mode_mean_tokens": True})
    )
    save_file(random_bert(config), folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def random_bert(config: dict[str, int]) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    tensors: dict[str, np.ndarray] = {}

    def linear(name: str, out: int, into: int) -> None:
        tensors[f"{name}.weight"] = generator.standard_normal((out, into), dtype=np.float32) * np.float32(0.02)
        tensors[f"{name}.bias"] = np.zeros(out, np.float32)

    def norm(name: str) -> None:
        tensors[f"{name}.weight"], tensors[f"{name}.bias"] = np.ones(hidden, np.float32), np.zeros(hidden, np.float32)

    for name, rows in (("word", config["vocab_size"]), ("position", 512), ("token_type", 2)):
        table = generator.standard_normal((rows, hidden), dtype=np.float32) * np.float32(0.02)
        tensors[f"embeddings.{name}_embeddings.weight"] = table
    norm("embeddings.LayerNorm")
    for index in range(config["num_hidden_layers"]):
        layer = f"encoder.layer.{index}"
        for part in ("self.query", "self.key", "self.value", "output.dense"):
            linear(f"{layer}.attention.{part}", hidden, hidden)
        norm(f"{layer}.attention.output.LayerNorm")
        linear(f"{layer}.intermediate.dense", inner, hidden)
        linear(f"{layer}.output.dense", hidden, inner)
        norm(f"{layer}.output.LayerNorm")
    linear("pooler.dense", hidden, hidden)
    return tensors


class Worker:
    """One engine's process."""

    def __init__(self, engine: str, folder: Path) -> None:
        script = ROOT / "benchmarks" / SCRIPTS.get(engine, "worker.py")
        command = [str(ENGINES[engine]), str(script), engine, str(folder), str(CACHE)]
        started = time.perf_counter()
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self._answer()
        self.first_vector_s = time.perf_counter() - started

    def _answer(self) -> dict[str, float]:
        assert self.process.stdout is not None
        while line := self.process.stdout.readline():
            if line.startswith("{"):
                return json.loads(line)
        raise RuntimeError("the worker ended; run it by hand to see why")

    def run(self, lengths: list[int], **more: str) -> dict[str, float]:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"lengths": lengths, **more}) + "\n")
        self.process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def gflop(folder: Path, lengths: list[int]) -> float:
    """The matrix products of a BERT forward pass over texts of these lengths, attention included, without padding."""
    config = json.loads((folder / "config.json").read_text())
    hidden, inner, layers = (config[name] for name in ("hidden_size", "intermediate_size", "num_hidden_layers"))
    token = 2 * (4 * hidden * hidden + 2 * hidden * inner)
    return layers * sum(length * token + 4 * length * length * hidden for length in lengths) / 1e9


def measure(model: str, folder: Path, rounds: int) -> dict[str, dict[str, float]]:
    workers, failed = {}, {}
    for engine in ENGINES:
        try:
            workers[engine] = Worker(engine, folder)
        except RuntimeError as error:
            failed[engine] = str(error)
    figures: dict[str, dict[str, float]] = {
        engine: {"first_vector_s": worker.first_vector_s} for engine, worker in workers.items()
    }
    for workload, lengths in WORKLOADS[model].items():
        times: dict[str, list[float]] = {engine: [] for engine in workers}
        num_rounds = rounds * 5 if workload == "query" else rounds
        for number in range(num_rounds + 1):
            for engine, worker in workers.items():
                answer = worker.run(lengths)
                figures[engine]["peak_mb"] = answer["peak_mb"]
                if number:  # the first round of a shape also prepares it
                    times[engine].append(answer["seconds"])
        for engine, seconds in times.items():
            figures[engine][workload] = sum(lengths) / statistics.median(seconds)
            figures[engine][f"{workload} GFLOP/s"] = gflop(folder, lengths) / statistics.median(seconds)
    reference = None
    for engine in sorted(workers, key=lambda engine: engine != REFERENCE):
        path = CACHE / "vectors.npy"
        workers[engine].run(MIXED, save=str(path))
        vectors = np.load(path)
        reference = vectors if reference is None else reference
        figures[engine]["min_cosine"] = float((vectors * reference).sum(axis=1).min())
    for worker in workers.values():
        worker.close()
    return figures | {engine: {"failed": why} for engine, why in failed.items()}  # type: ignore[dict-item]


def show(model: str, figures: dict[str, dict[str, float]], ceilings: dict[str, Ceiling]) -> None:
    names = list(WORKLOADS[model])
    print(f"\n{model}: tokens/s (ratio to {REFERENCE}, share of the GEMM rate); query in ms; peak memory; first vector")
    for engine, row in figures.items():
        if "failed" in row:
            print(f"  {engine:<32} {row['failed']}")
            continue
        ceiling, cells = ceiling_of(engine, ceilings), []
        for name in names:
            ratio = row[name] / figures[REFERENCE][name]
            value = f"{16_000 / row[name]:.1f} ms" if name == "query" else f"{row[name]:.0f}"
            share = row[f"{name} GFLOP/s"] / ceiling.gflops
            cells.append(f"{name} {value:>8} ({ratio:4.2f}x, {share:3.0%} {ceiling.precision})")
        if "mixed" in row:
            cells.append(f"mixed/uniform {row['mixed'] / row['uniform']:.0%}")
        print(
            f"  {engine:<32} {'  '.join(cells)}  cos {row['min_cosine']:.5f}  {row['peak_mb']:.0f} MB  "
            f"{row['first_vector_s']:.1f} s"
        )


def machine() -> dict[str, Any]:
    info = Path("/proc/cpuinfo").read_text()
    flags = next((line for line in info.splitlines() if line.startswith("flags")), "").split()
    names = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_bf16", "amx_int8")
    return {"platform": platform.platform(), "flags": [name for name in names if name in flags]}


def installed_mb() -> float:
    """The size of what `make setup` installs without the development tools: the distributions that serve.txt names."""
    names = {
        line.split("==")[0] for line in (ROOT / "requirements" / "serve.txt").read_text().splitlines() if "==" in line
    }
    names |= {"embergate"}
    files = [
        file for found in distributions() if found.name.lower().replace("_", "-") in names for file in found.files or []
    ]
    return sum(Path(file.locate()).stat().st_size for file in files if Path(file.locate()).is_file()) / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--models", default="minilm,bert-base")
    parser.add_argument("--quick", action="store_true", help="one round and no long texts; under three minutes")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.rounds = 1
        for name in ("8x512", "mixed", "uniform"):
            del WORKLOADS["minilm"][name]
    CACHE.mkdir(parents=True, exist_ok=True)
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, cwd=ROOT).stdout.strip()
    report: dict[str, object] = {"machine": machine(), "commit": commit, "python": sys.version.split()[0]}
    report["versions"] = {name: version(name) for name in ("openvino", "numpy", "tokenizers")}
    report["installed_mb"] = round(installed_mb(), 1)
    ceilings = measure_ceilings(machine()["flags"])
    report["gemm"] = {name: asdict(ceiling) for name, ceiling in ceilings.items()}
    print(f"machine {report['machine']}, installed {report['installed_mb']} MB", *ceilings.values(), sep="\n")
    folders = {"minilm": long_minilm_folder, "bert-base": bert_base_folder}
    for model in arguments.models.split(","):
        figures = measure(model, folders[model](), arguments.rounds)
        report[model] = figures
        show(model, figures, ceilings)
        sys.stdout.flush()
    kind = "engines-quick" if arguments.quick else "engines"
    path = ROOT / "benchmarks" / "results" / f"{kind}-{datetime.now(UTC):%Y-%m-%d}-{arguments.models}.json"
    path.write_text(json.dumps(report, indent=1) + "\n")
    print(f"\nwritten to {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
