"""`POST /embeddings`: one vector for each text."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Final

from fastapi import APIRouter, Request
from starlette.responses import Response

from embergate.engine.engine import EmbedOptions, EmbedResult, TokenizedRequest
from embergate.engine.registry import ServedModel
from embergate.engine.scheduler import Lane
from embergate.errors import EmbergateError
from embergate.inference.calls import answer_call
from embergate.inference.deps import CurrentDeps, Deps
from embergate.inference.documents import ERRORS, DryRun, EmbeddingList
from embergate.inference.dry_run import described_by
from embergate.inference.encoding import encode_vectors
from embergate.inference.schemas import EmbeddingRequest, Inputs, parse_embedding_request
from embergate.web.caller import CurrentCaller
from embergate.web.metering import UsageKind

# Above this many numbers, writing the JSON takes long enough to be felt by others: it moves to a thread.
MAX_INLINE_NUMBERS: Final = 50_000

router = APIRouter()


@router.post(
    "/embeddings",
    openapi_extra=described_by("EmbeddingRequest"),
    responses={200: {"model": EmbeddingList | DryRun}, **ERRORS},
    summary="Embed one text or several",
)
async def create_embeddings(request: Request, caller: CurrentCaller, deps: CurrentDeps) -> Response:
    """Return one vector for each input, in input order, and the number of tokens that were run."""
    return await answer_call(request, caller, deps, partial(_parse, max_inputs=deps.limits.max_inputs))


def _parse(raw: bytes, *, max_inputs: int) -> AskedEmbeddings:
    return AskedEmbeddings(*parse_embedding_request(raw, max_inputs=max_inputs))


@dataclass(frozen=True, slots=True)
class AskedEmbeddings:
    """See `Asked`."""

    body: EmbeddingRequest
    inputs: Inputs

    def model_name(self, _deps: Deps) -> str:
        """See `Asked`."""
        return self.body.model

    def work(self, deps: Deps, served: ServedModel, account_id: str) -> Embedding:
        """See `Asked`."""
        options = options_of(self.body, served, tenant=account_id)
        fingerprint = served.model.fingerprint_of(
            dimensions=options.dimensions, normalize=options.normalize, prompt=options.prompt
        )
        return Embedding(deps, served, self.body, self.inputs, options, fingerprint)


def options_of(
    body: EmbeddingRequest, served: ServedModel, *, tenant: str, lane: Lane = Lane.INTERACTIVE
) -> EmbedOptions:
    """Return how to embed. Raises: InvalidRequestError for a length that the model does not give, or a reranker."""
    served.model.check_dimensions(body.dimensions)
    return EmbedOptions(body.dimensions, body.normalize, served.model.spec.prompt_for(body.input_type), tenant, lane)


@dataclass(slots=True)
class Embedding:
    """See `Work`."""

    usage: ClassVar[UsageKind] = UsageKind.EMBEDDING
    inputs_name: ClassVar[str] = "input"

    deps: Deps
    served: ServedModel
    body: EmbeddingRequest
    inputs: Inputs
    options: EmbedOptions
    fingerprint: str

    @property
    def model_name(self) -> str:
        """The model as the request named it."""
        return self.body.model

    @property
    def tells_metrics(self) -> bool:
        """As the request asks."""
        return bool(self.body.perf_metrics_in_response)

    def count(self) -> Awaitable[list[int | None]]:
        """See `Work`."""
        return self.deps.engine.count_tokens(self.served.model, self.inputs, self.options)

    def tokenize(self) -> Awaitable[TokenizedRequest]:
        """See `Work`."""
        return self.deps.engine.tokenize(self.served.model, self.inputs, self.options)

    def run(self, request: TokenizedRequest) -> Awaitable[EmbedResult]:
        """See `Work`."""
        return self.deps.engine.run(self.served.model, request, self.options)

    def content(self, result: EmbedResult) -> dict[str, Any]:
        """See `Work`."""
        return embeddings_content(self.body, encode_vectors(result.vectors, self.format), sum(result.num_tokens))

    @property
    def format(self) -> str:
        """How vectors are written."""
        return self.body.encoding_format or "float"

    def is_long(self, result: EmbedResult) -> bool:
        """See `Work`."""
        return result.vectors.size > MAX_INLINE_NUMBERS

    def name_as_sent(self, error: EmbergateError) -> None:
        """See `Work`."""
        name_as_sent(error, self.body)


def embeddings_content(body: EmbeddingRequest, data: list[dict[str, Any]], num_tokens: int) -> dict[str, Any]:
    """Return the answer's body."""
    usage = {"prompt_tokens": num_tokens, "total_tokens": num_tokens}
    return {"object": "list", "data": data, "model": body.model, "usage": usage}


def name_as_sent(error: EmbergateError, body: EmbeddingRequest) -> None:
    """Let an error name a lone input as the request wrote it, for which it is not the first of a list."""
    if body.has_one_input:
        error.message = error.message.replace("input[0]", "input", 1)
        error.param = error.param and error.param.replace("input[0]", "input", 1)
