"""The shapes of answers, for the OpenAPI document only: handlers write their JSON from numpy, not through these."""

from __future__ import annotations

from typing import Any, Final, Literal

from pydantic import BaseModel, Field


class ErrorDetail(BaseModel):
    """What went wrong, and which field caused it."""

    message: str
    param: str | None
    code: str
    type: Literal["error"]


class ErrorBody(BaseModel):
    """Every error's body."""

    error: ErrorDetail
    request_id: str | None = None


class Embedding(BaseModel):
    """One input's vector; a string where `encoding_format` is base64."""

    object: Literal["embedding"]
    index: int
    embedding: list[float] | str


class Usage(BaseModel):
    """Tokens that were run, special tokens included; both numbers are equal."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingList(BaseModel):
    """The answer of `POST /embeddings`, in input order."""

    object: Literal["list"]
    data: list[Embedding]
    model: str = Field(description="The model as the request named it.")
    usage: Usage
    perf_metrics: dict[str, str] | None = Field(None, description="Only where the request asked for it.")


class RerankedDocument(BaseModel):
    """One document's score; the text is null where it was not asked for."""

    index: int = Field(description="The document's place in the request, from 0.")
    relevance_score: float = Field(ge=0, le=1)
    document: str | None
    truncated: Literal[True] | None = Field(None, description="Only where the query or the document was cut, as asked.")


class RerankResult(RerankedDocument):
    """The same, as other clients read it."""

    text: str | None


class RerankUsage(Usage):
    """Tokens that were run."""

    completion_tokens: Literal[0]


class RerankList(BaseModel):
    """The answer of `POST /rerank`, the best first."""

    object: Literal["list"]
    model: str = Field(description="The model as the request named it, or the default one's resource name.")
    data: list[RerankedDocument]
    results: list[RerankResult] = Field(description="As `data`.")
    usage: RerankUsage
    perf_metrics: dict[str, str] | None = Field(None, description="Only where the request asked for it.")


class DryRunInput(BaseModel):
    """One input; tokens are null where it is too long to be counted."""

    index: int
    tokens: int | None
    is_too_long: bool


class MoneyAmount(BaseModel):
    """An amount: whole units and billionths."""

    currencyCode: str  # noqa: N815 - as on the wire
    units: str
    nanos: int


class LimitLeft(BaseModel):
    """A limit a minute, and what is left of it."""

    limit: int
    remaining: int


class DryRunLimits(BaseModel):
    """The limits that have least left; null where there is none."""

    requests: LimitLeft | None
    tokens_prompt: LimitLeft | None


class Refused(BaseModel):
    """What the request would be answered."""

    status: int
    code: str
    message: str


class DryRun(BaseModel):
    """The answer of `POST /embeddings` or `POST /rerank` where nothing is to be run; documents count with the query."""

    object: Literal["embedding.dry_run", "rerank.dry_run"]
    model: str
    inputs: list[DryRunInput]
    max_input_tokens: int
    prompt_tokens: int
    price_per_million_tokens: MoneyAmount
    price_nanos_per_token: int
    cost: MoneyAmount
    cost_nanos: int
    limits: DryRunLimits
    expected_queue_wait_s: float
    refusal: Refused | None


class SelfCheckFigures(BaseModel):
    """What the load measured: cosines of vectors or differences of a reranker's scores, null where f32 itself is served."""

    min_cosine: float | None
    mean_cosine: float | None
    max_score_difference: float | None
    tokens_per_s: float


class MemoryFigures(BaseModel):
    """What the load cost: how far it raised the process's memory; null where the system does not say."""

    weights_bytes: int
    resident_bytes: int | None
    anonymous_bytes: int | None
    peak_bytes: int | None


class Model(BaseModel):
    """A model that may be asked for vectors; of an uploaded one a list does not tell what only a loaded one does."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    kind: str
    supports_chat: bool
    supports_image_input: bool
    supports_tools: bool
    context_length: int
    hub_id: str
    revision: str | None = None
    dimensions: int
    max_input_tokens: int
    normalize_default: bool
    resizable: bool
    precision: str | None = None
    computes_in: str | None = None
    fingerprint: str | None = None
    # Of an uploaded model: in which it is served besides, by the suffix of its name, as `:int8`.
    precisions: list[str] | None = None
    self_check: SelfCheckFigures | None = None
    memory: MemoryFigures | None = None


class ModelList(BaseModel):
    """The answer of `GET /models`."""

    object: Literal["list"]
    data: list[Model]


ERRORS: Final[dict[int | str, dict[str, Any]]] = {
    "4XX": {"model": ErrorBody, "description": "The request cannot be answered; the body says why."},
    "5XX": {"model": ErrorBody, "description": "The server cannot answer now."},
}
