"""`EngineBulkEmbedder`: many request bodies at once through the engine's bulk lane, each answered as if it had come alone."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from embergate.engine.engine import EmbedOptions, TokenizedRequest
from embergate.engine.registry import ServedModel
from embergate.engine.scheduler import Lane
from embergate.engine.tokenization import TokenizedText
from embergate.errors import EmbergateError, InvalidRequestError
from embergate.inference.deps import Deps
from embergate.inference.encoding import encode_vectors
from embergate.inference.schemas import EmbeddingRequest, Inputs, check_embedding_request
from embergate.web.bulk import Approve, BulkAnswer
from embergate.web.own_models import NamedModel


@dataclass(frozen=True, slots=True)
class _Row:
    """A body that was understood, and its place among the others."""

    index: int
    body: EmbeddingRequest
    inputs: Inputs
    options: EmbedOptions


@dataclass(frozen=True, slots=True)
class _Group:
    """Rows that are embedded alike, and the tokens of each one's inputs."""

    options: EmbedOptions
    rows: Sequence[_Row]
    texts: Sequence[Sequence[TokenizedText]]


class EngineBulkEmbedder:
    """See `BulkEmbedder`."""

    def __init__(self, deps: Deps) -> None:
        """Embed with what the inference plane has."""
        self._deps = deps

    async def find(self, name: str, account_id: str) -> NamedModel:
        """See `BulkEmbedder`."""
        return await self._deps.find_model(name, account_id)

    def check(self, name: str, model: NamedModel, body: Mapping[str, Any]) -> int:
        """See `BulkEmbedder`."""
        _, inputs = self._parse(name, model.names, body)
        return len(inputs)

    async def embed(
        self, name: str, bodies: Sequence[Mapping[str, Any]], *, account_id: str, approve: Approve
    ) -> list[BulkAnswer]:
        """See `BulkEmbedder`."""
        answers = [BulkAnswer()] * len(bodies)
        async with self._deps.using_model(name, account_id) as served:
            rows = await asyncio.to_thread(self._read, name, served, bodies, account_id, answers)
            alike: dict[tuple[EmbedOptions, bool], list[_Row]] = defaultdict(list)
            for row in rows:
                alike[row.options, isinstance(row.inputs[0], str)].append(row)
            groups = [await self._tokenize(served, some, answers) for some in alike.values()]
            await approve(sum(len(text.input_ids) for group in groups for texts in group.texts for text in texts))
            await self._run_all(served, groups, answers)
        return answers

    async def _run_all(self, served: ServedModel, groups: Sequence[_Group], answers: list[BulkAnswer]) -> None:
        """Run groups side by side. Raises: as the first does that fails; the others are left then."""
        try:
            async with asyncio.TaskGroup() as tasks:
                for group in groups:
                    if group.rows:
                        tasks.create_task(self._run(served, group, answers))
        except ExceptionGroup as error:
            raise error.exceptions[0] from None

    def _parse(self, name: str, names: Set[str], body: Mapping[str, Any]) -> tuple[EmbeddingRequest, Inputs]:
        """Read a body. Raises: InvalidRequestError, also for another model than the job's."""
        request, inputs = check_embedding_request({"model": name, **body}, max_inputs=self._deps.limits.max_inputs)
        if request.model != name and request.model not in names:
            raise InvalidRequestError(f"model: the job's is {name}, and no row has another", param="model")
        return request, inputs

    def _read(
        self,
        name: str,
        served: ServedModel,
        bodies: Sequence[Mapping[str, Any]],
        account_id: str,
        answers: list[BulkAnswer],
    ) -> list[_Row]:
        rows = []
        for index, values in enumerate(bodies):
            try:
                body, inputs = self._parse(name, served.names, values)
                served.model.check_dimensions(body.dimensions)
            except InvalidRequestError as error:
                answers[index] = BulkAnswer(error=error)
                continue
            prompt = served.model.spec.prompt_for(body.input_type)
            options = EmbedOptions(body.dimensions, body.normalize, prompt, account_id, Lane.BULK)
            rows.append(_Row(index, body, inputs, options))
        return rows

    async def _tokenize(self, served: ServedModel, rows: Sequence[_Row], answers: list[BulkAnswer]) -> _Group:
        """Tokenise all in one go; only where one of them is wrong each by itself, to tell which."""
        options, engine = rows[0].options, self._deps.engine
        try:
            inputs: Any = [one for row in rows for one in row.inputs]
            together = iter((await engine.tokenize(served.model, inputs, options)).rows)
            return _Group(options, rows, [[next(together) for _ in row.inputs] for row in rows])
        except InvalidRequestError:
            pass
        good, texts = [], []
        for row in rows:
            try:
                texts.append((await engine.tokenize(served.model, row.inputs, options)).rows)
                good.append(row)
            except InvalidRequestError as error:
                answers[row.index] = BulkAnswer(error=_as_sent(error, row.body))
        return _Group(options, good, texts)

    async def _run(self, served: ServedModel, group: _Group, answers: list[BulkAnswer]) -> None:
        request = TokenizedRequest([text for texts in group.texts for text in texts], 0.0, 0.0)
        result = await self._deps.engine.run(served.model, request, group.options)
        self._deps.metrics.tokens.labels(served.public_name).inc(sum(result.num_tokens))
        self._deps.metrics.inputs.labels(served.public_name).inc(len(result.num_tokens))
        await asyncio.to_thread(_write, group, result.vectors, answers)


def _write(group: _Group, vectors: NDArray[np.float32], answers: list[BulkAnswer]) -> None:
    start = 0
    for row, texts in zip(group.rows, group.texts, strict=True):
        end = start + len(texts)
        num_tokens = sum(len(text.input_ids) for text in texts)
        content = {
            "object": "list",
            "data": encode_vectors(vectors[start:end], row.body.encoding_format or "float"),
            "model": row.body.model,
            "usage": {"prompt_tokens": num_tokens, "total_tokens": num_tokens},
        }
        written = orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)
        answers[row.index] = BulkAnswer(written, len(texts), num_tokens)
        start = end


def _as_sent(error: EmbergateError, body: EmbeddingRequest) -> EmbergateError:
    """Return the error, naming an input as its row wrote it."""
    if body.has_one_input:
        error.message = error.message.replace("input[0]", "input", 1)
        error.param = error.param and error.param.replace("input[0]", "input", 1)
    return error
