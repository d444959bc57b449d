"""`POST /rerank`: how relevant documents are to a query, the best first."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Final

import numpy as np
from fastapi import APIRouter, Request
from starlette.responses import Response

from embergate.engine.engine import RerankOptions, RerankResult, TokenizedRequest
from embergate.engine.loading.catalog import ModelKind
from embergate.engine.registry import ServedModel
from embergate.engine.scheduler import Lane
from embergate.engine.tokenization import TokenizedText
from embergate.errors import EmbergateError, ModelLoadingError, NotFoundError
from embergate.inference.calls import answer_call
from embergate.inference.deps import CurrentDeps, Deps
from embergate.inference.documents import ERRORS, DryRun, RerankList
from embergate.inference.dry_run import described_by
from embergate.inference.rerank_schemas import RerankRequest, parse_rerank_request
from embergate.web.caller import CurrentCaller
from embergate.web.metering import UsageKind

# Above this many characters of documents, writing the JSON takes long enough to be felt by others: it moves to a thread.
MAX_INLINE_CHARACTERS: Final = 1 << 18

router = APIRouter()


@router.post(
    "/rerank",
    openapi_extra=described_by("RerankRequest"),
    responses={200: {"model": RerankList | DryRun}, **ERRORS},
    summary="Order documents by their relevance to a query",
)
async def rerank(request: Request, caller: CurrentCaller, deps: CurrentDeps) -> Response:
    """Return the documents' scores, from 0 to 1, the best first, and the number of tokens that were run."""
    return await answer_call(request, caller, deps, partial(_parse, max_documents=deps.limits.max_inputs))


def _parse(raw: bytes, *, max_documents: int) -> AskedScores:
    return AskedScores(*parse_rerank_request(raw, max_documents=max_documents))


@dataclass(frozen=True, slots=True)
class AskedScores:
    """See `Asked`."""

    body: RerankRequest
    documents: list[str]

    def model_name(self, deps: Deps) -> str:
        """See `Asked`."""
        return self.body.model or default_reranker(deps)

    def work(self, deps: Deps, served: ServedModel, account_id: str) -> Reranking:
        """See `Asked`."""
        options = options_of(self.body, served, tenant=account_id)
        fingerprint = served.model.fingerprint_of(prompt=served.model.pairs.task_of(options.task))
        return Reranking(deps, served, self.body, self.documents, options, fingerprint)


def default_reranker(deps: Deps) -> str:
    """Return the first reranker that the server was started with.

    Raises: NotFoundError if there is none; ModelLoadingError while there may yet be one.
    """
    found = next((one for one in deps.registry.list() if one.model.spec.kind is ModelKind.RERANKER), None)
    if found is not None:
        return found.id
    if not deps.is_ready:
        raise ModelLoadingError
    raise NotFoundError("this server was started with no reranker; name one that you have uploaded", param="model")


def options_of(
    body: RerankRequest, served: ServedModel, *, tenant: str, lane: Lane = Lane.INTERACTIVE
) -> RerankOptions:
    """Return how to score. Raises: InvalidRequestError if the model is no reranker."""
    served.model.require_scores()
    return RerankOptions(body.task, bool(body.truncate), tenant, lane)


@dataclass(slots=True)
class Reranking:
    """See `Work`."""

    usage: ClassVar[UsageKind] = UsageKind.RERANK
    inputs_name: ClassVar[str] = "documents"

    deps: Deps
    served: ServedModel
    body: RerankRequest
    documents: list[str]
    options: RerankOptions
    fingerprint: str
    rows: Sequence[TokenizedText] = ()

    @property
    def model_name(self) -> str:
        """The model as the request named it, or the default one's resource name."""
        return self.body.model or self.served.id

    @property
    def tells_metrics(self) -> bool:
        """As the request asks."""
        return bool(self.body.perf_metrics_in_response)

    def count(self) -> Awaitable[list[int | None]]:
        """See `Work`."""
        return self.deps.engine.count_pairs(self.served.model, self.body.query, self.documents, self.options)

    async def tokenize(self) -> TokenizedRequest:
        """See `Work`."""
        tokenized = await self.deps.engine.tokenize_pairs(
            self.served.model, self.body.query, self.documents, self.options
        )
        self.rows = tokenized.rows
        return tokenized

    def run(self, request: TokenizedRequest) -> Awaitable[RerankResult]:
        """See `Work`."""
        return self.deps.engine.score(self.served.model, request, self.options)

    def content(self, result: RerankResult) -> dict[str, Any]:
        """See `Work`."""
        return rerank_content(self.body, self.model_name, self.documents, self.rows, result)

    def is_long(self, _result: RerankResult) -> bool:
        """See `Work`."""
        return self.body.return_documents is not False and sum(map(len, self.documents)) > MAX_INLINE_CHARACTERS

    def name_as_sent(self, error: EmbergateError) -> None:
        """See `Work`."""


def rerank_content(
    body: RerankRequest, model_name: str, documents: Sequence[str], rows: Sequence[TokenizedText], result: RerankResult
) -> dict[str, Any]:
    """Return the answer's body: the best `top_n`, of equals the first, in both forms that clients read."""
    order = np.argsort(-result.scores, kind="stable")[: body.top_n].tolist()
    is_shown = body.return_documents is not False
    data = []
    for index in order:
        item = {
            "index": index,
            "relevance_score": float(result.scores[index]),
            "document": documents[index] if is_shown else None,
        }
        if rows[index].num_tokens_before_cut > len(rows[index].input_ids):
            item["truncated"] = True
        data.append(item)
    num_tokens = sum(result.num_tokens)
    return {
        "object": "list",
        "model": model_name,
        "data": data,
        # NOTE: as fireworks-ai 0.x and Cohere's clients read it; langchain-fireworks reads `data`.
        "results": [{**item, "text": item["document"]} for item in data],
        "usage": {"prompt_tokens": num_tokens, "total_tokens": num_tokens, "completion_tokens": 0},
    }
