"""Bodies of `POST /embeddings`: what is taken, and which field each refusal names."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embergate.errors import InvalidRequestError
from embergate.inference.schemas import EmbeddingRequest, Inputs, parse_embedding_request


def parse(max_inputs: int = 4, **body: Any) -> tuple[EmbeddingRequest, Inputs]:
    return parse_embedding_request(json.dumps({"model": "m", "input": "a", **body}).encode(), max_inputs=max_inputs)


INPUTS: list[tuple[Any, Inputs]] = [
    ("a", ["a"]),
    (" ", [" "]),
    ("\0", ["\0"]),
    (["a", "b"], ["a", "b"]),
    (["a"] * 4, ["a"] * 4),
    ([5, 6], [[5, 6]]),
    ([0] * 5000, [[0] * 5000]),  # the bound on inputs does not count one text's tokens
    ([[5], [6, 7]], [[5], [6, 7]]),
    ([-1], [[-1]]),  # whether an id is one of the vocabulary is for the model to say
]
BAD_INPUTS: list[tuple[Any, str]] = [
    (None, "input is required"),
    ("", "input is an empty string"),
    (["a", ""], "input[1] is an empty string"),
    ([], "input must not be an empty list"),
    ([[]], "input[0] is an empty list of token ids"),
    ([[1], []], "input[1] is an empty list of token ids"),
    (["a"] * 5, "input has 5 items; at most 4"),
    ([[1]] * 5, "input has 5 items; at most 4"),
    ([None], "input[0] is null"),
    ([None] * 5, "input has 5 items; at most 4"),
    (True, "input is a boolean"),
    (5, "input is an integer"),
    (1.5, "input is a number"),
    ({"text": "a"}, "input is an object"),
    (["a", 1], "input[1] is an integer, expected a string like the first item"),
    (["a", ["b"]], "input[1] is a list, expected a string like the first item"),
    ([1, "a"], "input[1] is a string, expected a token id"),
    ([1, 2.0], "input[1] is a number, expected a token id"),
    ([1, True], "input[1] is a boolean, expected a token id"),
    ([1, None], "input[1] is null, expected a token id"),
    ([True, 1], "input[0] is a boolean"),
    ([1.5], "input[0] is a number"),
    ([{}], "input[0] is an object"),
    ([["a"]], "input[0][0] is a string"),
    ([[1], "a"], "input[1] is a string"),
    ([[[1]]], "input[0][0] is a list"),
]
GOOD_FIELDS: dict[str, list[Any]] = {
    "model": ["m", "m" * 512],
    "encoding_format": ["float", "base64"],
    "dimensions": [1, 10**6],
    "normalize": [True, False],
    "input_type": ["query", "document"],
    "user": ["", "u" * 512],
    "perf_metrics_in_response": [True, False],
    "prompt_cache_key": ["k"],
    "prompt_cache_isolation_key": ["k"],
    "raw_output": [True, False],
    "fanout_size": [0, -1, 2],
    "stream": [False],
    "prompt_template": [],
    "return_logits": [],
}
BAD_FIELDS: dict[str, list[Any]] = {
    "model": ["", "m" * 513, 5, None, ["m"], {}],
    "encoding_format": ["hex", "Float", "", 1, ["float"]],
    "dimensions": [0, -1, 1.0, 1.5, "384", True, [384]],
    "normalize": [0, 1, "true", []],
    "input_type": ["passage", "Query", 1],
    "user": [1, ["u"], "u" * 513],
    "perf_metrics_in_response": [1, "yes"],
    "prompt_cache_key": [1, {}, "k" * 513],
    "prompt_cache_isolation_key": [1, {}, "k" * 513],
    "raw_output": [0, "no"],
    "fanout_size": ["2", 1.5, True],
    "stream": [True, "false"],
    "prompt_template": ["{text}", {}],
    "return_logits": [[1], [], True],
    "colour": [None, 1],
    "Model": ["m"],
}


@pytest.mark.parametrize(("value", "inputs"), INPUTS, ids=lambda value: str(value)[:30].replace("\0", "null"))
def test_good_input_becomes_one_list(value: Any, inputs: Inputs) -> None:
    assert parse(input=value)[1] == inputs


@pytest.mark.parametrize(("value", "said"), BAD_INPUTS, ids=lambda value: str(value)[:30])
def test_bad_input_is_told_where_and_what(value: Any, said: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        parse(input=value)
    assert said in caught.value.message
    # The very place that the message begins with.
    assert caught.value.param == caught.value.message.split(" ")[0]


@pytest.mark.parametrize(
    ("field", "value"), [(field, value) for field, values in GOOD_FIELDS.items() for value in values]
)
def test_good_field_is_taken_as_it_is(field: str, value: Any) -> None:
    assert getattr(parse(**{field: value})[0], field) == value


@pytest.mark.parametrize("field", [field for field in GOOD_FIELDS if field != "model"])
def test_null_is_as_good_as_nothing(field: str) -> None:
    nothing: dict[str, Any] = {field: None}
    assert parse(**nothing)[0] == parse()[0]


@pytest.mark.parametrize(
    ("field", "value"), [(field, value) for field, values in BAD_FIELDS.items() for value in values]
)
def test_bad_field_is_named(field: str, value: Any) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        parse(**{field: value})
    assert caught.value.param == field
    assert field in caught.value.message
    assert "\n" not in caught.value.message


def test_every_field_has_its_table() -> None:
    assert set(GOOD_FIELDS) == set(EmbeddingRequest.model_fields) - {"input"}
    assert set(GOOD_FIELDS) <= set(BAD_FIELDS)


@pytest.mark.parametrize("field", ["model", "input"])
def test_required_field_that_is_missing_is_named(field: str) -> None:
    body = {"model": "m", "input": "a"}
    del body[field]
    with pytest.raises(InvalidRequestError, match=f"^{field} is required") as caught:
        parse_embedding_request(json.dumps(body).encode(), max_inputs=4)
    assert caught.value.param == field


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b'{"model": NaN}', "not valid JSON"),
        (b'{"model": "\xff"}', "not valid JSON"),
        (b"[" * 100_000, "not valid JSON"),
        (b"null", "must be a JSON object"),
        (b'["model"]', "must be a JSON object"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_body_that_is_no_object_is_refused(body: bytes, said: str) -> None:
    with pytest.raises(InvalidRequestError, match=said) as caught:
        parse_embedding_request(body, max_inputs=4)
    assert caught.value.param is None


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(sorted(EmbeddingRequest.model_fields)) | st.text(max_size=5), _json, max_size=6))
def test_any_object_is_taken_or_refused_by_name(body: dict[str, Any]) -> None:
    encoded = json.dumps(body).encode()
    blamed: str | None = None
    try:
        parse_embedding_request(encoded, max_inputs=4)
    except InvalidRequestError as error:
        blamed = error.param
    assert blamed is None or blamed in body or blamed == "model" or blamed.startswith("input")
