"""What a client may send to be reranked, and what each wrong field is told."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from embergate.errors import InvalidRequestError
from embergate.inference.schemas import (
    MAX_NAME_CHARACTERS,
    found_instead,
    parse_object,
    refuse_unknown,
    validate_fields,
)


class RerankDocument(BaseModel):
    """A document as some clients write it."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    text: str


class RerankRequest(BaseModel):
    """The body of `POST /rerank`. Any optional field may also be null."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    model: str | None = Field(
        None,
        min_length=1,
        max_length=512,
        description="The model, in any form of its name; by default the server's first.",
    )
    query: str = Field(min_length=1, description="What the documents are to be relevant to.")
    documents: list[str | RerankDocument] = Field(min_length=1, description="The documents, as strings or `{text}`.")
    top_n: int | None = Field(None, ge=1, description="Return this many of the best; all by default.")
    return_documents: bool | None = Field(True, description="Put the documents into the answer.")
    task: str | None = Field(
        None,
        max_length=4096,
        description="What relevance means here, told to Qwen3-Reranker; cross-encoders are told of the query alone.",
    )
    truncate: bool | None = Field(
        None, description="Cut what is too long for the model, the longer text first, and say so; refused by default."
    )
    user: str | None = Field(None, max_length=512, description="A tag for your end user; not used.")
    perf_metrics_in_response: bool | None = Field(None, description="Also put the timing headers into the body.")
    stream: Literal[False] | None = Field(None, description="Accepted when false: scores are not streamed.")


def parse_rerank_request(body: bytes, *, max_documents: int) -> tuple[RerankRequest, list[str]]:
    """Parse a body; return the request, and its documents' texts.

    Raises: InvalidRequestError naming the field and what it must be.
    """
    return check_rerank_request(parse_object(body), max_documents=max_documents)


def check_rerank_request(values: dict[str, Any], *, max_documents: int) -> tuple[RerankRequest, list[str]]:
    """Return what `parse_rerank_request` does of a body that is parsed already. Raises: InvalidRequestError."""
    refuse_unknown(RerankRequest, values)
    # The documents are checked by hand: pydantic would report both types of every one, and copy them all.
    documents = _texts_of(values.get("documents"), max_documents=max_documents)
    return validate_fields(RerankRequest, values, {"documents": [""]}), documents


def _texts_of(values: Any, *, max_documents: int) -> list[str]:
    if values is None:
        raise InvalidRequestError("documents is required: a list of strings", param="documents")
    if not isinstance(values, list):
        raise InvalidRequestError(
            f"documents is {found_instead(values)}, expected a list of strings", param="documents"
        )
    if not values:
        raise InvalidRequestError("documents must not be an empty list", param="documents")
    if len(values) > max_documents:
        raise InvalidRequestError(
            f"documents has {len(values)} items; at most {max_documents} go in one request, split it", param="documents"
        )
    return [_text_of(value, f"documents[{index}]") for index, value in enumerate(values)]


def _text_of(value: Any, where: str) -> str:
    if isinstance(value, str):
        return value
    if not isinstance(value, dict):
        expected = 'a string or {"text": string}'
        raise InvalidRequestError(f"{where} is {found_instead(value)}, expected {expected}", param=where)
    unknown = next((name for name in value if name != "text"), None)
    if unknown is not None:
        raise InvalidRequestError(
            f'{where}: unknown field "{unknown[:MAX_NAME_CHARACTERS]}"; only text is scored', param=where
        )
    text = value.get("text")
    if not isinstance(text, str):
        raise InvalidRequestError(f"{where}.text is {found_instead(text)}, expected a string", param=f"{where}.text")
    return text
