"""`LoadedModel`: one model ready to run: tokenizer, network, pooling, and the fingerprint of all three."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import orjson
from numpy.typing import NDArray

from embergate.engine.backends.protocol import Backend, ComputeOptions
from embergate.engine.backends.selection import open_backend
from embergate.engine.loading.catalog import ModelKind
from embergate.engine.loading.loader import FoundModel, SourceOptions, find_model
from embergate.engine.loading.sources import file_sha256
from embergate.engine.loading.spec import ModelSpec, Precision
from embergate.engine.loading.weights import weight_paths
from embergate.engine.pair_tokenization import PairTokenizer
from embergate.engine.pooling import Pooler, finish, sigmoid
from embergate.engine.runner import Runner
from embergate.engine.scheduler import Lane, Scheduler, SchedulerLimits
from embergate.engine.tokenization import TextTokenizer, TokenizedText
from embergate.errors import InvalidRequestError

FINGERPRINT_CHARACTERS: Final = 16
# Padded lengths are rounded up to this, so that a server meets few shapes: the first run of a new one costs milliseconds.
LENGTH_STEP: Final = 8


@dataclass(frozen=True, slots=True)
class Encoded:
    """Vectors of a list of texts, and how many tokens of each were run."""

    vectors: NDArray[np.float32]
    num_tokens: list[int]


class LoadedModel:
    """A model in memory. `run` may be called from as many threads as it has streams."""

    def __init__(self, found: FoundModel, tokenizer: TextTokenizer, backend: Backend, compute: ComputeOptions) -> None:
        """Join the parts; `open` is the way to make one."""
        self.spec: ModelSpec = found.spec
        self.tokenizer = tokenizer
        self.backend = backend
        self.compute = compute
        self._pairs = PairTokenizer(found.spec, tokenizer) if found.spec.kind is ModelKind.RERANKER else None
        self._pool = Pooler(found.spec.pooling, tokenizer.token_id)
        self._content_hash = _content_hash(found.spec, backend)
        self._runner: Runner | None = None

    @classmethod
    def open(
        cls,
        reference: str | Path,
        *,
        precision: Precision = Precision.AUTO,
        compute: ComputeOptions | None = None,
        source: SourceOptions | None = None,
    ) -> LoadedModel:
        """Load a model by folder, catalogue name or Hub id.

        Raises: ModelError naming what is missing or wrong; UnsupportedArchitectureError naming the extra that has it.
        """
        compute = compute or ComputeOptions()
        found = find_model(str(reference), source)
        tokenizer = TextTokenizer(found.spec)
        return cls(found, tokenizer, open_backend(found.folder_model, precision, compute), compute)

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the model's own, uncut vectors without a prompt."""
        return self.fingerprint_of()

    @property
    def weights_bytes(self) -> int:
        """What the network's weights and those of the layers behind it take, in bytes."""
        dense = sum(4 * stage.in_features * stage.out_features for stage in self.spec.pooling.dense)
        return self.backend.weights_bytes + dense

    def fingerprint_of(self, *, dimensions: int | None = None, normalize: bool | None = None, prompt: str = "") -> str:
        """Return a short stable hash of everything that a vector depends on besides the text."""
        chosen = [dimensions or self.spec.dimensions, self.normalizes(normalize), prompt]
        return hashlib.sha256(self._content_hash + orjson.dumps(chosen)).hexdigest()[:FINGERPRINT_CHARACTERS]

    def normalizes(self, asked: bool | None) -> bool:
        """Tell whether vectors are scaled to length 1: a model that does so by default always does."""
        return bool(asked) or self.spec.normalize_default

    @property
    def pairs(self) -> PairTokenizer:
        """The tokenizer of queries and documents. Raises: InvalidRequestError if the model is no reranker."""
        if self._pairs is None:
            raise InvalidRequestError(
                f"reranking is not supported for {self.spec.name}: it is an embedding model, which gives vectors; send its "
                "requests to /embeddings, or name a reranker",
                param="model",
            )
        return self._pairs

    def require_scores(self) -> None:
        """Raise InvalidRequestError unless the model is a reranker."""
        _ = self.pairs

    def require_embeddings(self) -> None:
        """Raise InvalidRequestError if the model is a reranker."""
        if self._pairs is not None:
            raise InvalidRequestError(
                f"embedding is not supported for {self.spec.name}: it is a reranker, which scores documents for a query; send "
                "its requests to /rerank, or name an embedding model",
                param="model",
            )

    def check_dimensions(self, dimensions: int | None) -> None:
        """Raise InvalidRequestError unless the model gives vectors, and some of this length can be cut from them."""
        self.require_embeddings()
        if dimensions is None or dimensions == self.spec.dimensions:
            return
        if not self.spec.resizable:
            raise InvalidRequestError(f"model: {self.spec.name} is not resizable", param="dimensions")
        allowed = self.spec.matryoshka_dimensions
        if not 1 <= dimensions <= self.spec.dimensions or (allowed and dimensions < allowed[0]):
            raise InvalidRequestError(
                f"dimensions is {dimensions}; {self.spec.name} gives {allowed[0] if allowed else 1} to "
                f"{self.spec.dimensions}",
                param="dimensions",
            )

    def prompt_of(self, name: str | None) -> str:
        """Return a prompt by its name, nothing for no name. Raises: InvalidRequestError naming those there are."""
        if name is None:
            return ""
        if name not in self.spec.prompts:
            known = ", ".join(self.spec.prompts) or "none"
            raise InvalidRequestError(f"{self.spec.name} has no prompt {name!r}; it has: {known}", param="prompt_name")
        return self.spec.prompts[name]

    def run(self, rows: Sequence[TokenizedText]) -> NDArray[np.float32]:
        """Run one batch of rows, whatever their lengths.

        Shapes: -> (B, dimensions), before the Matryoshka cut and the normalisation; of a reranker (B, 1), the logits.
        """
        lengths = np.array([len(row.input_ids) for row in rows], np.int32)
        seqlen = min(-(-max(int(lengths.max()), 1) // LENGTH_STEP) * LENGTH_STEP, max(self.spec.max_tokens, 1))
        input_ids = np.zeros((len(rows), seqlen), np.int32)
        for padded, row in zip(input_ids, rows, strict=True):
            padded[: len(row.input_ids)] = row.input_ids
        num_prompt_tokens = np.array([row.num_prompt_tokens for row in rows], np.int32)
        if not self.spec.has_segments:
            return self._pool(self.backend.forward(input_ids, lengths), lengths, num_prompt_tokens)
        starts = [len(row.input_ids) if row.second_start is None else row.second_start for row in rows]
        states = self.backend.forward(input_ids, lengths, np.array(starts, np.int32))
        return self._pool(states, lengths, num_prompt_tokens)

    def encode(
        self,
        texts: Sequence[str],
        *,
        dimensions: int | None = None,
        normalize: bool | None = None,
        prompt_name: str | None = None,
        truncate: bool = False,
    ) -> NDArray[np.float32]:
        """Return the vectors of `texts` in their order, and block until they are there. Shapes: (n, dimensions)."""
        return self.encode_counted(
            texts, dimensions=dimensions, normalize=normalize, prompt_name=prompt_name, truncate=truncate
        ).vectors

    def encode_counted(
        self,
        texts: Sequence[str],
        *,
        dimensions: int | None = None,
        normalize: bool | None = None,
        prompt_name: str | None = None,
        truncate: bool = False,
    ) -> Encoded:
        """Do as `encode` and count the tokens run.

        Raises: InvalidRequestError naming the text that is too long, or the dimensions that the model does not give.
        """
        self.check_dimensions(dimensions)
        prompt = self.prompt_of(prompt_name)
        if not texts:
            return Encoded(np.empty((0, dimensions or self.spec.dimensions), np.float32), [])
        rows = self.tokenizer.encode_texts(texts, prompt=prompt, truncate=truncate)
        vectors = finish(self._run_all(rows), dimensions=dimensions, normalize=self.normalizes(normalize))
        return Encoded(vectors, [len(row.input_ids) for row in rows])

    def score(
        self, query: str, documents: Sequence[str], *, task: str | None = None, truncate: bool = False
    ) -> NDArray[np.float64]:
        """Return how relevant each document is to the query, from 0 to 1, and block until it is known. Shapes: (n,).

        Raises: InvalidRequestError if the model is no reranker, or a text is too long.
        """
        if not documents:
            return np.empty(0, np.float64)
        side = self.pairs.begin(query, task, truncate=truncate)
        return sigmoid(self._run_all(self.pairs.encode(side, documents, truncate=truncate))[:, 0])

    def sample_rows(self, texts: Sequence[str]) -> list[TokenizedText]:
        """Return rows of either kind of model, to try it with: texts, or the first of them with each."""
        if self._pairs is None:
            return self.tokenizer.encode_texts(texts, truncate=True)
        return self._pairs.encode(self._pairs.begin(texts[0], truncate=True), texts, truncate=True)

    def try_out(self, texts: Sequence[str]) -> Encoded:
        """Return what the model makes of texts: vectors of length 1, or the scores for the first of them, one a row."""
        rows = self.sample_rows(texts)
        made, is_reranker = self._run_all(rows), self._pairs is not None
        made = sigmoid(made).astype(np.float32) if is_reranker else finish(made, dimensions=None, normalize=True)
        return Encoded(made, [len(row.input_ids) for row in rows])

    def _run_all(self, rows: Sequence[TokenizedText]) -> NDArray[np.float32]:
        if self._runner is None:
            limits = SchedulerLimits(max_queued_tokens=2**62)
            self._runner = Runner(Scheduler(limits), num_streams=self.compute.num_streams)
        done = threading.Event()
        ticket = self._runner.submit(self, rows, done.set, lane=Lane.BULK)
        done.wait()
        if ticket.error is not None:
            raise ticket.error
        assert ticket.vectors is not None, "a ticket without error has vectors. This is a bug."
        return ticket.vectors

    def rest(self) -> None:
        """End the threads that `encode` has started; the next call of it starts others."""
        if self._runner is not None:
            self._runner.close()
            self._runner = None

    def close(self) -> None:
        """Free the model's memory."""
        self.rest()
        self.backend.close()


def _content_hash(spec: ModelSpec, backend: Backend) -> bytes:
    digest = hashlib.sha256()
    folders = [spec.folder, *(stage.folder for stage in spec.pooling.dense if stage.folder != spec.folder)]
    for path in [spec.folder / "tokenizer.json", *(path for folder in folders for path in weight_paths(folder))]:
        digest.update(bytes.fromhex(file_sha256(path)))
    stages = [[mode.value for mode in spec.pooling.modes], [stage.activation for stage in spec.pooling.dense]]
    chosen = [spec.architecture, stages, spec.pooling.include_prompt, spec.lowercase, backend.precision.value]
    digest.update(orjson.dumps([*chosen, backend.computes_in, dict(spec.config)], option=orjson.OPT_SORT_KEYS))
    return digest.digest()
