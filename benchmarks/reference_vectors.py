"""Write sentence-transformers' vectors of a list of texts: the reference side of the quality benchmark.

Runs in the oracle's virtual environment and imports nothing of ours. Reads a JSON list of texts, writes a (texts,
dimensions) float32 .npy, and prints one line of JSON that says what made them.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"  # before the libraries read it: the model is a folder, nothing is to be fetched

import numpy as np
import sentence_transformers
import torch
import transformers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model-folder", type=Path, required=True)
    parser.add_argument("--texts", type=Path, required=True, help="a JSON list of strings")
    parser.add_argument("--output", type=Path, required=True, help="the .npy to write")
    arguments = parser.parse_args()
    texts = json.loads(arguments.texts.read_text(encoding="utf-8"))
    model = sentence_transformers.SentenceTransformer(
        str(arguments.model_folder), device="cpu", model_kwargs={"dtype": torch.float32}
    )
    # NOTE: prompt="" and not None, which would put the model's default prompt before each text; our engine adds none.
    vectors = model.encode(texts, prompt="", batch_size=32, convert_to_numpy=True, show_progress_bar=False)
    np.save(arguments.output, vectors.astype(np.float32, copy=False))
    num_tokens = [len(ids) for ids in model.tokenizer(texts, truncation=False, verbose=False)["input_ids"]]
    facts = {
        "max_tokens": model.max_seq_length,
        "num_texts": len(texts),
        "num_truncated_texts": sum(count > model.max_seq_length for count in num_tokens),
        "dtype": str(next(model.parameters()).dtype).removeprefix("torch."),
        "versions": {module.__name__: module.__version__ for module in (sentence_transformers, torch, transformers)},
    }
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
