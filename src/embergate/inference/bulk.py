"""`EngineBulkAnswerer`: many request bodies at once through the engine's bulk lane, each answered as if it had come alone."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from embergate.engine.registry import ServedModel
from embergate.errors import InvalidRequestError
from embergate.inference.bulk_kinds import KINDS, BulkKind, Row, Texts, read_body
from embergate.inference.deps import Deps
from embergate.web.bulk import Approve, BulkAnswer
from embergate.web.own_models import NamedModel

# In the engine's queue at once, for one chunk, unless a single row has more.
PACK_TOKENS: Final = 500_000


@dataclass(frozen=True, slots=True)
class _Group:
    """Rows that are run together, and the tokens of each one's inputs."""

    rows: Sequence[Row]
    texts: Sequence[Texts]

    @property
    def num_tokens(self) -> int:
        """What it takes of the queue."""
        return sum(len(text.input_ids) for texts in self.texts for text in texts)


class EngineBulkAnswerer:
    """See `BulkAnswerer`."""

    def __init__(self, deps: Deps) -> None:
        """Answer with what the inference plane has."""
        self._deps = deps

    async def find(self, name: str, account_id: str) -> NamedModel:
        """See `BulkAnswerer`."""
        return await self._deps.find_model(name, account_id)

    def check(self, name: str, model: NamedModel, body: Mapping[str, Any]) -> int:
        """See `BulkAnswerer`."""
        max_inputs = self._deps.limits.max_inputs
        _, inputs = read_body(KINDS[model.kind], name, model.names, body, max_inputs=max_inputs)
        return len(inputs)

    async def answer(
        self, name: str, bodies: Sequence[Mapping[str, Any]], *, account_id: str, approve: Approve
    ) -> list[BulkAnswer]:
        """See `BulkAnswerer`."""
        answers = [BulkAnswer()] * len(bodies)
        async with self._deps.using_model(name, account_id) as served:
            work = _Work(self._deps, served, KINDS[served.model.spec.kind], answers)
            rows = await asyncio.to_thread(work.read, name, bodies, account_id)
            alike: dict[Hashable, list[Row]] = defaultdict(list)
            for row in rows:
                alike[work.kind.likeness(row)].append(row)
            groups = [await work.tokenize(some) for some in alike.values()]
            await approve(sum(group.num_tokens for group in groups))
            await work.run_all(groups)
        return answers


@dataclass(frozen=True, slots=True)
class _Work:
    """Bodies on their way to answers, each put into its place among `answers`."""

    deps: Deps
    served: ServedModel
    kind: BulkKind
    answers: list[BulkAnswer]

    def read(self, name: str, bodies: Sequence[Mapping[str, Any]], account_id: str) -> list[Row]:
        rows = []
        for index, values in enumerate(bodies):
            try:
                limits = self.deps.limits
                body, inputs = read_body(self.kind, name, self.served.names, values, max_inputs=limits.max_inputs)
                options = self.kind.options(body, self.served, account_id)
            except InvalidRequestError as error:
                self.answers[index] = BulkAnswer(error=error)
                continue
            rows.append(Row(index, body, inputs, options))
        return rows

    async def tokenize(self, rows: Sequence[Row]) -> _Group:
        """Tokenise all in one go; only where one of them is wrong each by itself, to tell which."""
        try:
            return _Group(rows, await self.kind.tokenize(self.deps, self.served, rows))
        except InvalidRequestError:
            pass
        good, texts = [], []
        for row in rows:
            try:
                texts += await self.kind.tokenize(self.deps, self.served, [row])
                good.append(row)
            except InvalidRequestError as error:
                self.kind.name_as_sent(error, row)
                self.answers[row.index] = BulkAnswer(error=error)
        return _Group(good, texts)

    async def run_all(self, groups: Sequence[_Group]) -> None:
        """Run groups, some side by side. Raises: as the first does that fails; the others are left then."""
        for some in _packs(groups):
            try:
                async with asyncio.TaskGroup() as tasks:
                    for group in some:
                        tasks.create_task(self.run(group))
            except ExceptionGroup as error:
                raise error.exceptions[0] from None

    async def run(self, group: _Group) -> None:
        together = [text for texts in group.texts for text in texts]
        result = await self.kind.run(self.deps, self.served, group.rows[0], together)
        metrics, name = self.deps.metrics, self.served.public_name
        metrics.tokens.labels(name).inc(sum(result.num_tokens))
        metrics.inputs.labels(name).inc(len(result.num_tokens))
        await asyncio.to_thread(self._write, group, result)

    def _write(self, group: _Group, result: Any) -> None:
        first = 0
        for row, texts in zip(group.rows, group.texts, strict=True):
            content = self.kind.content(row, texts, result, first)
            written = orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)
            self.answers[row.index] = BulkAnswer(written, len(texts), sum(len(text.input_ids) for text in texts))
            first += len(texts)


def _packs(groups: Sequence[_Group]) -> Iterator[list[_Group]]:
    """Yield groups together as long as they fill a part of the queue alone: what does not fit at once would never fit."""
    pack: list[_Group] = []
    num_tokens = 0
    for group in groups:
        if not group.rows:
            continue
        if pack and num_tokens + group.num_tokens > PACK_TOKENS:
            yield pack
            pack, num_tokens = [], 0
        pack.append(group)
        num_tokens += group.num_tokens
    if pack:
        yield pack
