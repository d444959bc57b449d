"""What a client may send to the inference plane, and what each wrong field is told."""

from __future__ import annotations

import gc
from typing import Any, Final, Literal, TypeVar

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from embergate.errors import InvalidRequestError
from embergate.web.problems import first_problem

Inputs = list[str] | list[list[int]]
MAX_NAME_CHARACTERS: Final = 200
M = TypeVar("M", bound=BaseModel)
# What stands for the input in the validated request, whose own input is checked by hand.
ONE: Final = ""
SEVERAL: Final = [""]


class EmbeddingRequest(BaseModel):
    """The body of `POST /embeddings`. Any optional field may also be null."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    model: str = Field(min_length=1, max_length=512, description="The model, in any form of its name.")
    input: str | list[str] | list[int] | list[list[int]] = Field(
        description="One text or several, each as a string or as token ids of the model's own vocabulary."
    )
    encoding_format: Literal["float", "base64"] | None = Field(
        None, description="`float` (default) or `base64`: little-endian float32 bytes."
    )
    dimensions: int | None = Field(
        None, ge=1, description="Cut vectors to their first n values, where the model allows."
    )
    normalize: bool | None = Field(None, description="Scale vectors to length 1; some models always do.")
    input_type: Literal["query", "document"] | None = Field(
        None, description="Put the model's own query or document prompt before each text."
    )
    user: str | None = Field(None, max_length=512, description="A tag for your end user; not used.")
    perf_metrics_in_response: bool | None = Field(None, description="Also put the timing headers into the body.")
    prompt_cache_key: str | None = Field(None, max_length=512, description="Accepted and not used.")
    prompt_cache_isolation_key: str | None = Field(None, max_length=512, description="Accepted and not used.")
    raw_output: bool | None = Field(None, description="Accepted and not used.")
    fanout_size: int | None = Field(None, description="Accepted and not used.")
    stream: Literal[False] | None = Field(None, description="Accepted when false: embeddings are not streamed.")
    prompt_template: None = Field(None, description="Not supported: write the prompt into the input.")
    return_logits: None = Field(None, description="Not supported by embedding models.")

    @property
    def has_one_input(self) -> bool:
        """Tell whether the input is one text, as a string or as ids, and not a list of texts."""
        return self.input == ONE


def parse_embedding_request(body: bytes, *, max_inputs: int) -> tuple[EmbeddingRequest, Inputs]:
    """Parse a body; return the request, and its inputs as one list of texts or of token-id lists.

    Raises: InvalidRequestError naming the field and what it must be.
    """
    return check_embedding_request(parse_object(body), max_inputs=max_inputs)


def check_embedding_request(values: dict[str, Any], *, max_inputs: int) -> tuple[EmbeddingRequest, Inputs]:
    """Return what `parse_embedding_request` does of a body that is parsed already. Raises: InvalidRequestError."""
    refuse_unknown(EmbeddingRequest, values)
    # The inputs are checked by hand: pydantic would try four types on every element and report all four.
    given = values.get("input")
    inputs = _check_inputs(given, max_inputs=max_inputs)
    stand_in = ONE if isinstance(given, str) or inputs[0] is given else SEVERAL
    return validate_fields(EmbeddingRequest, values, {"input": stand_in}), inputs


def refuse_unknown(kind: type[BaseModel], values: dict[str, Any]) -> None:
    """Raise InvalidRequestError for a field that a body of this kind has not."""
    unknown = next((name for name in values if name not in kind.model_fields), None)
    if unknown is not None:
        name = unknown[:MAX_NAME_CHARACTERS]
        raise InvalidRequestError(f'unknown field "{name}"', param=name)


def validate_fields(kind: type[M], values: dict[str, Any], stand_ins: dict[str, Any]) -> M:
    """Return a body of known fields, whose largest were checked by hand, and have something small stand in for them here.

    Raises: InvalidRequestError naming the first field that is wrong, and what it must be.
    """
    try:
        return kind.model_validate({**values, **stand_ins})
    except ValidationError as error:
        raise first_problem(error) from error


def parse_object(body: bytes) -> dict[str, Any]:
    """Return a body's fields. Raises: InvalidRequestError if it is no JSON object."""
    gc.disable()  # parsing makes no garbage, but a million empty lists would be searched for it again and again
    try:
        values = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidRequestError(f"the body is not valid JSON: {error}") from error
    finally:
        gc.enable()
    if not isinstance(values, dict):
        raise InvalidRequestError("the body must be a JSON object")
    return values


def _check_inputs(value: Any, *, max_inputs: int) -> Inputs:
    if value is None:
        raise InvalidRequestError("input is required: a string, a list of strings, or token ids", param="input")
    if isinstance(value, str):
        if not value:
            raise _is_empty("input")
        return [value]
    if not isinstance(value, list):
        raise _not_an_input("input", value)
    if not value:
        raise InvalidRequestError("input must not be an empty list", param="input")
    if type(value[0]) is int:
        return [_check_ids(value, "input")]
    if len(value) > max_inputs:
        raise InvalidRequestError(
            f"input has {len(value)} items; at most {max_inputs} go in one request, split it", param="input"
        )
    if isinstance(value[0], str):
        return _check_texts(value)
    return [_check_ids(item, f"input[{index}]") for index, item in enumerate(value)]


def _check_texts(values: list[Any]) -> list[str]:
    for index, text in enumerate(values):
        if not isinstance(text, str):
            raise _not_an_input(f"input[{index}]", text, "a string like the first item")
        if not text:
            raise _is_empty(f"input[{index}]")
    return values


def _check_ids(value: Any, where: str) -> list[int]:
    if not isinstance(value, list):
        raise _not_an_input(where, value, "a string or a list of token ids")
    if not value:
        raise InvalidRequestError(f"{where} is an empty list of token ids", param=where)
    for position, token_id in enumerate(value):
        if type(token_id) is not int:
            raise _not_an_input(f"{where}[{position}]", token_id, "a token id, an integer")
    return value


def _is_empty(where: str) -> InvalidRequestError:
    return InvalidRequestError(f"{where} is an empty string; it has no embedding", param=where)


def _not_an_input(
    where: str, value: Any, expected: str = "a string, a list of strings, or token ids"
) -> InvalidRequestError:
    return InvalidRequestError(f"{where} is {found_instead(value)}, expected {expected}", param=where)


def found_instead(value: Any) -> str:
    """Return what a value is called that is not what it must be."""
    kind = {dict: "an object", list: "a list", bool: "a boolean", float: "a number", int: "an integer", str: "a string"}
    return kind.get(type(value), "null")
