"""What a model costs in memory, against the bound of 1.5x its weights as served plus 250 MB.

Every case is a fresh process that loads the model and encodes short and 512-token texts. Figures are the whole process's, the
interpreter and the runtime included, without the self-check; resident memory counts file-backed pages too. Exits 1 if a
bound is missed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from engines import CACHE, OURS, ROOT, bert_base_folder, long_minilm_folder, machine, minilm_folder
from worker import texts_of

sys.path.insert(0, str(ROOT))
PRECISIONS = ("f32", "bf16", "int8")
LENGTHS = [16, 512] * 4
NUM_ROUNDS = 2  # the second finds every buffer of the first in place
QWEN3 = {
    "model_type": "qwen3",
    "hidden_size": 1024,
    "num_hidden_layers": 28,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "intermediate_size": 3072,
    "vocab_size": 151669,
    "max_position_embeddings": 32768,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1000000,
    "hidden_act": "silu",
    "tie_word_embeddings": True,
    "attention_bias": False,
}


def qwen3_folder() -> Path:
    """Qwen3-Embedding-0.6B's shape with random bfloat16 weights and MiniLM's tokenizer, whose ids it has rows for."""
    folder = CACHE / "qwen3-0.6b"
    if (folder / "model.safetensors").exists():
        return folder
    from tests.random_models.decoders import qwen_tensors
    from tests.random_models.weights import draw, write_safetensors

    (folder / "1_Pooling").mkdir(parents=True, exist_ok=True)
    for name in ("tokenizer.json", "tokenizer_config.json", "modules.json"):
        (folder / name).write_bytes((minilm_folder() / name).read_bytes())
    pooling = {"word_embedding_dimension": QWEN3["hidden_size"], "pooling_mode_lasttoken": True}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    (folder / "config.json").write_text(json.dumps(QWEN3))
    tensors = {tensor.name: draw(tensor, case="benchmark", seed=0) for tensor in qwen_tensors(QWEN3)}
    write_safetensors(folder / "model.safetensors", tensors, "BF16")
    return folder


def status_mb() -> dict[str, float]:
    """This process's memory as Linux counts it."""
    lines = (line.partition(":") for line in Path("/proc/self/status").read_text().splitlines())
    return {name: int(value.split()[0]) * 1024 / 1e6 for name, _, value in lines if value.endswith(" kB")}


def measure_here(folder: Path, precision: str) -> dict[str, object]:
    """Load and encode in this process."""
    from embergate.engine.loaded_model import LoadedModel
    from embergate.engine.loading.spec import Precision

    model = LoadedModel.open(folder, precision=Precision(precision))
    loaded = status_mb()
    for _ in range(NUM_ROUNDS):
        model.encode(texts_of(LENGTHS))
    end = status_mb()
    weights_mb = model.backend.weights_bytes / 1e6
    bound_mb = 1.5 * weights_mb + 250
    figures: dict[str, object] = {
        "weights_mb": weights_mb,
        "loaded_mb": loaded["VmRSS"],
        "load_peak_mb": loaded["VmHWM"],
        "end_mb": end["VmRSS"],
        "end_anonymous_mb": end["RssAnon"],
        "peak_mb": end["VmHWM"],
        "bound_mb": bound_mb,
    }
    figures = {name: round(float(value), 1) for name, value in figures.items()}  # type: ignore[arg-type]
    return figures | {"computes_in": model.backend.computes_in, "is_met": end["VmHWM"] <= bound_mb}


def measure(folder: Path, precision: str) -> dict[str, object]:
    """Do it in a fresh process."""
    command = [str(OURS), __file__, "--folder", str(folder), "--precision", precision]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="measure this model in this very process, and print JSON")
    parser.add_argument("--precision", choices=PRECISIONS, default="f32")
    arguments = parser.parse_args()
    if arguments.folder:
        print(json.dumps(measure_here(arguments.folder, arguments.precision)))
        return 0
    CACHE.mkdir(parents=True, exist_ok=True)
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, cwd=ROOT).stdout.strip()
    report: dict[str, object] = {"machine": machine(), "commit": commit, "python": sys.version.split()[0]}
    report["versions"] = {name: version(name) for name in ("openvino", "numpy", "tokenizers")}
    is_met = True
    print("MB                    weights   loaded  (peak)      end  (anonymous)     peak    bound")
    for folder in (long_minilm_folder(), bert_base_folder(), qwen3_folder()):
        for precision in PRECISIONS:
            row = measure(folder, precision)
            report[f"{folder.name} {precision}"] = row
            is_met &= bool(row["is_met"])
            print(
                f"{folder.name:<12} {precision:<5} {row['weights_mb']:>10} {row['loaded_mb']:>8} ({row['load_peak_mb']:>6}) "
                f"{row['end_mb']:>8} ({row['end_anonymous_mb']:>11}) {row['peak_mb']:>8} {row['bound_mb']:>8}  "
                f"{'met' if row['is_met'] else 'MISSED'}",
                flush=True,
            )
    path = ROOT / "benchmarks" / "results" / f"memory-{datetime.now(UTC):%Y-%m-%d}.json"
    path.write_text(json.dumps(report, indent=1) + "\n")
    print(f"written to {path.relative_to(ROOT)}")
    return 0 if is_met else 1


if __name__ == "__main__":
    sys.exit(main())
