"""What the rows of a batch are, by the kind of their model: requests for vectors, or for scores."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, Final, Protocol

from embergate.engine.engine import EmbedResult, RerankResult, TokenizedRequest
from embergate.engine.loading.catalog import ModelKind
from embergate.engine.registry import ServedModel
from embergate.engine.scheduler import Lane
from embergate.engine.tokenization import TokenizedText
from embergate.errors import EmbergateError, InvalidRequestError
from embergate.inference import embeddings, rerank
from embergate.inference.deps import Deps
from embergate.inference.encoding import encode_vectors
from embergate.inference.rerank_schemas import check_rerank_request
from embergate.inference.schemas import check_embedding_request

Texts = Sequence[TokenizedText]


@dataclass(frozen=True, slots=True)
class Row:
    """A body that was understood, its inputs or documents, and its place among the others."""

    index: int
    body: Any
    inputs: Sequence[Any]
    options: Any = None


class BulkKind(Protocol):
    """One kind of rows."""

    def read(self, body: dict[str, Any], *, max_inputs: int) -> tuple[Any, Sequence[Any]]:
        """Read a body. Raises: InvalidRequestError."""
        ...

    def options(self, body: Any, served: ServedModel, account_id: str) -> Any:
        """Return how to run it, in the bulk lane. Raises: InvalidRequestError for what the model does not do."""
        ...

    def likeness(self, row: Row) -> Hashable:
        """Return what rows have in common that are tokenised and run together."""
        ...

    async def tokenize(self, deps: Deps, served: ServedModel, rows: Sequence[Row]) -> list[Texts]:
        """Tokenise rows that are alike. Raises: InvalidRequestError if anything in one of them is wrong."""
        ...

    async def run(self, deps: Deps, served: ServedModel, row: Row, texts: Texts) -> Any:
        """Run what was tokenised, of all rows that are like this one."""
        ...

    def content(self, row: Row, texts: Texts, result: Any, first: int) -> dict[str, Any]:
        """Return the answer to a row, whose texts are those of the result from `first` on."""
        ...

    def name_as_sent(self, error: EmbergateError, row: Row) -> None:
        """Let an error name the fields as the row wrote them."""
        ...


class BulkEmbeddings:
    """See `BulkKind`."""

    def read(self, body: dict[str, Any], *, max_inputs: int) -> tuple[Any, Sequence[Any]]:
        """See `BulkKind`."""
        return check_embedding_request(body, max_inputs=max_inputs)

    def options(self, body: Any, served: ServedModel, account_id: str) -> Any:
        """See `BulkKind`."""
        return embeddings.options_of(body, served, tenant=account_id, lane=Lane.BULK)

    def likeness(self, row: Row) -> Hashable:
        """See `BulkKind`."""
        return row.options, isinstance(row.inputs[0], str)

    async def tokenize(self, deps: Deps, served: ServedModel, rows: Sequence[Row]) -> list[Texts]:
        """See `BulkKind`."""
        inputs: Any = [one for row in rows for one in row.inputs]
        together = iter((await deps.engine.tokenize(served.model, inputs, rows[0].options)).rows)
        return [[next(together) for _ in row.inputs] for row in rows]

    async def run(self, deps: Deps, served: ServedModel, row: Row, texts: Texts) -> EmbedResult:
        """See `BulkKind`."""
        return await deps.engine.run(served.model, TokenizedRequest(texts, 0.0, 0.0), row.options)

    def content(self, row: Row, texts: Texts, result: EmbedResult, first: int) -> dict[str, Any]:
        """See `BulkKind`."""
        vectors = result.vectors[first : first + len(texts)]
        data = encode_vectors(vectors, row.body.encoding_format or "float")
        return embeddings.embeddings_content(row.body, data, _num_tokens(texts))

    def name_as_sent(self, error: EmbergateError, row: Row) -> None:
        """See `BulkKind`."""
        embeddings.name_as_sent(error, row.body)


class BulkReranks:
    """See `BulkKind`. Each row is tokenised by itself: it has a query of its own."""

    def read(self, body: dict[str, Any], *, max_inputs: int) -> tuple[Any, Sequence[Any]]:
        """See `BulkKind`."""
        return check_rerank_request(body, max_documents=max_inputs)

    def options(self, body: Any, served: ServedModel, account_id: str) -> Any:
        """See `BulkKind`."""
        return rerank.options_of(body, served, tenant=account_id, lane=Lane.BULK)

    def likeness(self, row: Row) -> Hashable:
        """See `BulkKind`."""
        return row.index

    async def tokenize(self, deps: Deps, served: ServedModel, rows: Sequence[Row]) -> list[Texts]:
        """See `BulkKind`."""
        (row,) = rows
        documents: Any = row.inputs
        return [(await deps.engine.tokenize_pairs(served.model, row.body.query, documents, row.options)).rows]

    async def run(self, deps: Deps, served: ServedModel, row: Row, texts: Texts) -> RerankResult:
        """See `BulkKind`."""
        return await deps.engine.score(served.model, TokenizedRequest(texts, 0.0, 0.0), row.options)

    def content(self, row: Row, texts: Texts, result: RerankResult, first: int) -> dict[str, Any]:
        """See `BulkKind`."""
        assert first == 0, "a row is a request of its own. This is a bug."
        return rerank.rerank_content(row.body, row.body.model, row.inputs, texts, result)

    def name_as_sent(self, error: EmbergateError, row: Row) -> None:
        """See `BulkKind`."""


KINDS: Final[Mapping[ModelKind, BulkKind]] = {
    ModelKind.EMBEDDING_MODEL: BulkEmbeddings(),
    ModelKind.RERANKER: BulkReranks(),
}


def read_body(
    kind: BulkKind, name: str, names: Set[str], body: Mapping[str, Any], *, max_inputs: int
) -> tuple[Any, Sequence[Any]]:
    """Read the body of a job's row. Raises: InvalidRequestError, also for another model than the job's."""
    model = body.get("model")
    request, inputs = kind.read({**body, "model": name if model is None else model}, max_inputs=max_inputs)
    if request.model != name and request.model not in names:
        raise InvalidRequestError(f"model: the job's is {name}, and no row has another", param="model")
    return request, inputs


def _num_tokens(texts: Texts) -> int:
    return sum(len(text.input_ids) for text in texts)
