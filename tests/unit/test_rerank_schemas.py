"""Bodies of `POST /rerank`: what is taken, and which field each refusal names."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embergate.errors import InvalidRequestError
from embergate.inference.rerank_schemas import RerankRequest, parse_rerank_request


def parse(**body: Any) -> tuple[RerankRequest, list[str]]:
    values = {"query": "q", "documents": ["a"], **body}
    return parse_rerank_request(json.dumps(values).encode(), max_documents=4)


@pytest.mark.parametrize(
    ("documents", "texts"),
    [
        (["a", "b"], ["a", "b"]),
        ([""], [""]),
        (["a"] * 4, ["a"] * 4),
        ([{"text": "a"}, "b", {"text": ""}], ["a", "b", ""]),
    ],
)
def test_documents_are_strings_or_objects(documents: list[Any], texts: list[str]) -> None:
    assert parse(documents=documents)[1] == texts


@pytest.mark.parametrize(
    ("documents", "said", "param"),
    [
        (None, "documents is required: a list of strings", "documents"),
        ([], "documents must not be an empty list", "documents"),
        ("a", "documents is a string, expected a list", "documents"),
        ({"text": "a"}, "documents is an object", "documents"),
        (["a"] * 5, "documents has 5 items; at most 4 go in one request", "documents"),
        (["a", 1], 'documents[1] is an integer, expected a string or {"text": string}', "documents[1]"),
        ([None], "documents[0] is null", "documents[0]"),
        ([["a"]], "documents[0] is a list", "documents[0]"),
        ([{}], "documents[0].text is null, expected a string", "documents[0].text"),
        ([{"text": 1}], "documents[0].text is an integer", "documents[0].text"),
        ([{"text": "a", "title": "b"}], 'documents[0]: unknown field "title"; only text is scored', "documents[0]"),
    ],
)
def test_documents_that_are_none_are_named(documents: Any, said: str, param: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        parse(documents=documents)
    assert said in caught.value.message
    assert caught.value.param == param


@pytest.mark.parametrize(
    "body",
    [
        {"model": "m"},
        {"model": None, "top_n": None, "return_documents": None, "task": None, "truncate": None, "user": None},
        {"top_n": 1, "return_documents": False, "task": "Find it", "truncate": True, "stream": False},
        {"perf_metrics_in_response": True, "user": "u"},
    ],
)
def test_fields_are_taken(body: dict[str, Any]) -> None:
    request, _ = parse(**body)
    assert {name: getattr(request, name) for name in body} == body


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"query": None}, "query"),
        ({"query": ""}, "query"),
        ({"query": ["q"]}, "query"),
        ({"model": ""}, "model"),
        ({"top_n": 0}, "top_n"),
        ({"top_n": 1.5}, "top_n"),
        ({"top_n": True}, "top_n"),
        ({"return_documents": "no"}, "return_documents"),
        ({"task": "t" * 4097}, "task"),
        ({"truncate": 1}, "truncate"),
        ({"stream": True}, "stream"),
        ({"max_tokens_per_doc": 5}, "max_tokens_per_doc"),
    ],
)
def test_wrong_field_is_named(body: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        parse(**body)
    assert caught.value.param == param
    assert param in caught.value.message


def test_query_is_required() -> None:
    with pytest.raises(InvalidRequestError, match="query is required"):
        parse_rerank_request(b'{"documents": ["a"]}', max_documents=1)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=3),
    st.lists,
    max_leaves=4,
)


@given(st.dictionaries(st.sampled_from([*RerankRequest.model_fields, "x"]), JSON))
def test_any_body_is_read_or_refused(body: dict[str, Any]) -> None:
    with contextlib.suppress(InvalidRequestError):
        request, texts = parse_rerank_request(json.dumps(body).encode(), max_documents=4)
        assert request.query
        assert 1 <= len(texts) <= 4
