"""One engine in one process: `worker.py ENGINE FOLDER CACHE`, then one JSON workload a line in, one JSON timing out.

A workload is a list of text lengths in tokens, special tokens included. Peers that take token ids get them ready-made;
Embergate and sentence-transformers tokenise the same texts, which is counted against them.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

WORD_ID, CLS, SEP = 2314, 101, 102  # "river", one token in BERT's vocabulary
Encode = Callable[[list[int]], np.ndarray]


def texts_of(lengths: list[int]) -> list[str]:
    return [" ".join(["river"] * (length - 2)) for length in lengths]


def padded(lengths: list[int]) -> tuple[np.ndarray, np.ndarray]:
    ids = np.zeros((len(lengths), max(lengths)), np.int64)
    mask = np.zeros_like(ids)
    for row, length in enumerate(lengths):
        ids[row, :length] = [CLS, *[WORD_ID] * (length - 2), SEP]
        mask[row, :length] = 1
    return ids, mask


def mean_pool(states: np.ndarray, mask: np.ndarray) -> np.ndarray:
    vectors = (states * mask[:, :, None]).sum(axis=1) / mask.sum(axis=1, keepdims=True)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def in_order(lengths: list[int], run: Encode, batch_rows: int = 8) -> np.ndarray:
    """Sort by length and run small batches, as any careful user of a bare runtime would."""
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    parts = [run([lengths[i] for i in order[start : start + batch_rows]]) for start in range(0, len(order), batch_rows)]
    vectors = np.concatenate(parts)
    vectors[order] = vectors.copy()
    return vectors


def embergate(folder: Path, precision: str) -> Encode:
    from embergate.engine.loaded_model import LoadedModel
    from embergate.engine.loading.spec import Precision

    model = LoadedModel.open(folder, precision=Precision(precision))
    return lambda lengths: model.encode(texts_of(lengths), normalize=True)


def sentence_transformers(folder: Path, dtype: str) -> Encode:
    import torch
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(folder), device="cpu", model_kwargs={"dtype": getattr(torch, dtype)})
    return lambda lengths: model.encode(texts_of(lengths), normalize_embeddings=True)


def onnx_file(folder: Path, cache: Path, *, int8: bool) -> Path:
    import torch
    from transformers import AutoModel

    exact, quantized = cache / f"{folder.name}.onnx", cache / f"{folder.name}.int8.onnx"
    if not exact.exists():
        model = AutoModel.from_pretrained(folder, attn_implementation="eager").eval()

        class LastHiddenState(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.model = model

            def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
                return self.model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state

        ids = torch.full((2, 16), WORD_ID)
        names = {"input_ids": {0: "b", 1: "s"}, "attention_mask": {0: "b", 1: "s"}, "states": {0: "b", 1: "s"}}
        inputs = (ids, torch.ones_like(ids))
        torch.onnx.export(
            LastHiddenState(), inputs, exact, input_names=["input_ids", "attention_mask"], output_names=["states"],
            dynamo=False, opset_version=17, dynamic_axes=names,
        )  # fmt: skip
    if int8 and not quantized.exists():
        from onnxruntime.quantization import QuantType, quantize_dynamic

        quantize_dynamic(exact, quantized, weight_type=QuantType.QInt8, per_channel=True, reduce_range=True)
    return quantized if int8 else exact


def onnxruntime(folder: Path, cache: Path, *, int8: bool) -> Encode:
    import onnxruntime as ort

    session = ort.InferenceSession(str(onnx_file(folder, cache, int8=int8)), providers=["CPUExecutionProvider"])

    def run(lengths: list[int]) -> np.ndarray:
        ids, mask = padded(lengths)
        return mean_pool(session.run(["states"], {"input_ids": ids, "attention_mask": mask})[0], mask)

    return lambda lengths: in_order(lengths, run)


def ctranslate2(folder: Path, cache: Path, compute_type: str) -> Encode:
    import ctranslate2 as ct2

    converted = cache / f"{folder.name}.ct2-{compute_type}"
    if not converted.exists():
        ct2.converters.TransformersConverter(str(folder)).convert(str(converted), quantization=compute_type)
    encoder = ct2.Encoder(str(converted), intra_threads=2, compute_type=compute_type)

    def run(lengths: list[int]) -> np.ndarray:
        ids, mask = padded(lengths)
        rows = [row[:length].tolist() for row, length in zip(ids, lengths, strict=True)]
        return mean_pool(np.array(encoder.forward_batch(rows).last_hidden_state), mask)

    return lambda lengths: in_order(lengths, run)


def open_engine(name: str, folder: Path, cache: Path) -> Encode:
    kind, _, variant = name.partition(":")
    if kind == "embergate":
        return embergate(folder, variant)
    if kind == "sentence-transformers":
        return sentence_transformers(folder, variant)
    if kind == "onnxruntime":
        return onnxruntime(folder, cache, int8=variant == "int8")
    return ctranslate2(folder, cache, variant)


def main() -> None:
    name, folder, cache = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    started = time.perf_counter()
    encode = open_engine(name, folder, cache)
    encode([16])
    answer = sys.stdout
    print(json.dumps({"first_vector_s": time.perf_counter() - started}), flush=True)
    for line in sys.stdin:
        work = json.loads(line)
        started = time.perf_counter()
        vectors = encode(work["lengths"])
        seconds = time.perf_counter() - started
        if "save" in work:
            np.save(work["save"], vectors)
        peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"seconds": seconds, "peak_mb": peak_mb}), file=answer, flush=True)


if __name__ == "__main__":
    main()
