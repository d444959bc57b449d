"""`Engine`: what a server calls, to embed or to rerank. It tokenises on worker threads and never blocks the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from embergate.clock import monotonic_s
from embergate.engine.loaded_model import LoadedModel
from embergate.engine.pooling import finish, sigmoid
from embergate.engine.runner import Runner, Ticket
from embergate.engine.scheduler import Lane, Scheduler, SchedulerLimits
from embergate.engine.tokenization import TokenizedText

# Inputs of one request: texts, or texts given as token ids of the model's own vocabulary.
Inputs = Sequence[str] | Sequence[Sequence[int]]
# Inputs, and the number of the first among the request's, to rows.
Encode = Callable[..., Sequence[TokenizedText]]
# Characters (or ids) that a tokenizer thread takes at a time: some 20 ms of work.
PART_CHARACTERS: Final = 1 << 17
# What a text holds, roughly, until its tokens are counted.
CHARACTERS_A_TOKEN: Final = 4


@dataclass(frozen=True, slots=True)
class EmbedOptions:
    """How to embed: the cut, the normalisation, the prompt, and whose turn it is."""

    dimensions: int | None = None
    normalize: bool | None = None
    prompt: str = ""
    tenant: str = ""
    lane: Lane = Lane.INTERACTIVE


@dataclass(frozen=True, slots=True)
class RerankOptions:
    """How to score: what relevance means here, whether what is too long is cut, and whose turn it is."""

    task: str | None = None
    truncate: bool = False
    tenant: str = ""
    lane: Lane = Lane.INTERACTIVE


@dataclass(frozen=True, slots=True)
class Timings:
    """Where a request's time went, in seconds."""

    tokenizer_queue_s: float
    tokenizer_s: float
    queue_s: float
    forward_s: float


@dataclass(frozen=True, slots=True)
class TokenizedRequest:
    """One request's inputs as the network sees them, and how long that took, in seconds."""

    rows: Sequence[TokenizedText]
    queue_s: float
    tokenizer_s: float

    @property
    def num_tokens(self) -> tuple[int, ...]:
        """The tokens of each input: what will be run, and billed."""
        return tuple(len(row.input_ids) for row in self.rows)


@dataclass(frozen=True, slots=True)
class EmbedResult:
    """Vectors in input order. Shapes: vectors (n, dimensions), float32."""

    vectors: NDArray[np.float32]
    num_tokens: tuple[int, ...]
    timings: Timings


@dataclass(frozen=True, slots=True)
class RerankResult:
    """Scores from 0 to 1, in the order of the documents. Shapes: scores (n,), float64."""

    scores: NDArray[np.float64]
    num_tokens: tuple[int, ...]
    timings: Timings


class Engine:
    """Tokenizer threads and the runner; the models themselves belong to the registry."""

    def __init__(
        self, limits: SchedulerLimits | None = None, *, num_streams: int = 1, tokenizer_threads: int = 2
    ) -> None:
        """Start the threads."""
        self.runner = Runner(Scheduler(limits), num_streams=num_streams)
        self._tokenizers = ThreadPoolExecutor(tokenizer_threads, thread_name_prefix="embergate-tokenizer")

    async def embed(self, model: LoadedModel, inputs: Inputs, options: EmbedOptions) -> EmbedResult:
        """Embed one request's inputs; cancelling the call withdraws what has not run.

        Raises: InvalidRequestError for an input that does not fit the model; OverloadedError if the queue is full.
        """
        return await self.run(model, await self.tokenize(model, inputs, options), options)

    async def tokenize(self, model: LoadedModel, inputs: Inputs, options: EmbedOptions) -> TokenizedRequest:
        """Tokenise one request's inputs, which tells what it will cost. Raises: as `embed`."""
        model.check_dimensions(options.dimensions)
        with self.runner.reserved(_estimated_tokens(inputs)):
            return await self._tokenize(inputs, partial(_tokenize, model, options.prompt))

    async def tokenize_pairs(
        self, model: LoadedModel, query: str, documents: Sequence[str], options: RerankOptions
    ) -> TokenizedRequest:
        """Tokenise a query with each of the documents, which tells what scoring them will cost.

        Raises: InvalidRequestError for a text that does not fit the model; OverloadedError if the queue is full.
        """
        pairs, loop = model.pairs, asyncio.get_running_loop()
        with self.runner.reserved(_estimated_tokens(documents)):
            begin = partial(pairs.begin, query, options.task, truncate=options.truncate)
            side = await loop.run_in_executor(self._tokenizers, begin)
        # Not one place inside the other: a queue that is empty lets in whatever comes.
        with self.runner.reserved(_estimated_tokens(documents) + len(side.ids) * len(documents)):
            encode = partial(pairs.encode, side, truncate=options.truncate)
            return await self._tokenize(documents, lambda part, first: encode(part, first_index=first))

    async def count_pairs(
        self, model: LoadedModel, query: str, documents: Sequence[str], options: RerankOptions
    ) -> list[int | None]:
        """Count the tokens of a query with each of the documents, and run nothing; see `count_tokens`."""
        pairs = model.pairs
        with self.runner.reserved(_estimated_tokens(documents)):
            loop = asyncio.get_running_loop()
            begin = partial(pairs.begin, query, options.task, truncate=options.truncate)
            side = await loop.run_in_executor(self._tokenizers, begin)
            return await self._count(documents, partial(pairs.count, side, truncate=options.truncate))

    async def count_tokens(self, model: LoadedModel, inputs: Inputs, options: EmbedOptions) -> list[int | None]:
        """Count the tokens of each input, and run nothing; None for a text too long to be counted.

        Raises: InvalidRequestError for what is no input of the model, other than for its length; OverloadedError.
        """
        model.require_embeddings()
        with self.runner.reserved(_estimated_tokens(inputs)):
            return await self._count(inputs, partial(model.tokenizer.count, prompt=options.prompt))

    async def run(self, model: LoadedModel, request: TokenizedRequest, options: EmbedOptions) -> EmbedResult:
        """Embed a tokenised request. Raises: OverloadedError if the queue is full."""
        raw, timings = await self._timed(model, request, options)
        vectors = finish(raw, dimensions=options.dimensions, normalize=model.normalizes(options.normalize))
        return EmbedResult(vectors, request.num_tokens, timings)

    async def score(self, model: LoadedModel, request: TokenizedRequest, options: RerankOptions) -> RerankResult:
        """Score tokenised pairs. Raises: OverloadedError if the queue is full."""
        logits, timings = await self._timed(model, request, options)
        return RerankResult(sigmoid(logits[:, 0]), request.num_tokens, timings)

    async def _timed(
        self, model: LoadedModel, request: TokenizedRequest, options: EmbedOptions | RerankOptions
    ) -> tuple[NDArray[np.float32], Timings]:
        submitted_at_s = monotonic_s()
        ticket = await self._run(model, request.rows, options)
        assert ticket.vectors is not None, "a ticket without error has vectors. This is a bug."
        begun_at_s = ticket.started_at_s or ticket.finished_at_s
        timings = Timings(
            tokenizer_queue_s=request.queue_s,
            tokenizer_s=request.tokenizer_s,
            queue_s=begun_at_s - submitted_at_s,
            forward_s=ticket.finished_at_s - begun_at_s,
        )
        return ticket.vectors, timings

    async def _tokenize(self, inputs: Inputs, encode: Encode) -> TokenizedRequest:
        """Tokenise part by part: others' texts come in between, and nothing goes on for a caller who left."""
        loop = asyncio.get_running_loop()
        rows: list[TokenizedText] = []
        started_at_s: list[float] = []
        submitted_at_s = monotonic_s()
        for first_index, part in _parts(inputs):
            part_rows, part_started_at_s = await loop.run_in_executor(
                self._tokenizers, _begun, encode, part, first_index
            )
            rows += part_rows
            started_at_s.append(part_started_at_s)
        return TokenizedRequest(rows, started_at_s[0] - submitted_at_s, monotonic_s() - started_at_s[0])

    async def _count(self, inputs: Inputs, count: Callable[..., list[int | None]]) -> list[int | None]:
        loop = asyncio.get_running_loop()
        counts: list[int | None] = []
        for first_index, part in _parts(inputs):
            counts += await loop.run_in_executor(self._tokenizers, partial(count, part, first_index=first_index))
        return counts

    async def _run(
        self, model: LoadedModel, rows: Sequence[TokenizedText], options: EmbedOptions | RerankOptions
    ) -> Ticket:
        loop = asyncio.get_running_loop()
        done = asyncio.Event()

        def on_done() -> None:
            loop.call_soon_threadsafe(done.set)

        ticket = self.runner.submit(model, rows, on_done, tenant=options.tenant, lane=options.lane)
        try:
            await done.wait()
        except asyncio.CancelledError:
            self.runner.cancel(ticket)
            raise
        if ticket.error is not None:
            raise ticket.error
        return ticket

    def close(self) -> None:
        """Finish what is queued, then stop the threads."""
        self.runner.close()
        self._tokenizers.shutdown()


def _estimated_tokens(inputs: Inputs) -> int:
    size = sum(len(one) for one in inputs)
    return size // CHARACTERS_A_TOKEN if isinstance(inputs[0], str) else size


def _parts(inputs: Inputs) -> Iterator[tuple[int, Inputs]]:
    """Cut a request's inputs into runs that are tokenised in one go, each with the number of its first input."""
    start = size = 0
    for index, one in enumerate(inputs):
        if size and size + len(one) > PART_CHARACTERS:
            yield start, inputs[start:index]
            start, size = index, 0
        size += len(one)
    yield start, inputs[start:]


def _begun(encode: Encode, inputs: Inputs, first_index: int) -> tuple[Sequence[TokenizedText], float]:
    """Return the rows, and when a thread was free to make them."""
    started_at_s = monotonic_s()
    return encode(inputs, first_index), started_at_s


def _tokenize(model: LoadedModel, prompt: str, inputs: Inputs, first_index: int) -> Sequence[TokenizedText]:
    if isinstance(inputs[0], str):
        return model.tokenizer.encode_texts(inputs, prompt=prompt, first_index=first_index)  # type: ignore[arg-type]
    return model.tokenizer.encode_ids(inputs, first_index=first_index)  # type: ignore[arg-type]
