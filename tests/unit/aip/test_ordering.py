"""`orderBy`: which keys it asks for, and what it may not ask for."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embergate.aip.errors import InvalidArgumentError
from embergate.aip.fields import lower_camel
from embergate.aip.ordering import OrderKey, parse_order
from tests.unit.aip.messages import ALIASES, FIELDS, INTEGER

NAME = OrderKey(("name",))


def key(path: str, *, is_descending: bool = False) -> OrderKey:
    return OrderKey(tuple(path.split(".")), is_descending)


ORDERS = {
    "": (key("create_time", is_descending=True), NAME),
    "  ": (key("create_time", is_descending=True), NAME),
    "display_name": (key("display_name"), NAME),
    "displayName": (key("display_name"), NAME),
    "display_name asc": (key("display_name"), NAME),
    "display_name desc": (key("display_name", is_descending=True), NAME),
    "a,b desc": (key("a"), key("b", is_descending=True), NAME),
    "  a ,  b   desc  ": (key("a"), key("b", is_descending=True), NAME),
    "a\t,\nb": (key("a"), key("b"), NAME),
    "status.code": (key("status.code"), NAME),
    "status . code  desc": (key("status.code", is_descending=True), NAME),
    "jobProgress.last.epoch": (key("job_progress.last.epoch"), NAME),
    "created_time": (key("create_time"), NAME),
    "createdTime desc": (key("create_time", is_descending=True), NAME),
    "principal": (key("email"), NAME),
    "reason desc": (key("status.message", is_descending=True), NAME),
    "name": (NAME,),
    "name desc": (key("name", is_descending=True),),
    "name desc, a": (key("name", is_descending=True), key("a")),
    "a,b,c,state,email,model,timeout,temperature": tuple(
        map(key, ("a", "b", "c", "state", "email", "model", "timeout", "temperature", "name"))
    ),
}


@pytest.mark.parametrize(("text", "keys"), ORDERS.items(), ids=ORDERS.keys())
def test_order(text: str, keys: tuple[OrderKey, ...]) -> None:
    assert parse_order(text, FIELDS, default="create_time desc", aliases=ALIASES) == keys


@pytest.mark.parametrize("text", [None, ""])
def test_without_a_default_the_order_is_by_name(text: str | None) -> None:
    assert parse_order(text, FIELDS) == (NAME,)


def test_longest_order() -> None:
    assert parse_order("a," + " " * 997 + "b", FIELDS) == (key("a"), key("b"), NAME)


REFUSED = {
    "nope": "nope is not a field to sort by; these are: name, display_name,",
    "annotations": "annotations is not a field to sort by",
    "deployments": "deployments is not a field to sort by",
    "status": "status is not a field to sort by; these are: .*status.code, status.message",
    "status.nope": "status.nope is not a field to sort by",
    "a.b": "a.b is not a field to sort by",
    "status.": "status. is not a field to sort by",
    "a upwards": "'a upwards' is not a field, with or without asc or desc after it",
    "a DESC": "'a DESC' is not a field",
    "a desc b": "'a desc b' is not a field",
    "a b": "'a b' is not a field",
    "a,": "a field is missing beside a comma",
    ",a": "a field is missing beside a comma",
    "a,a desc": "a is named twice",
    "create_time, createTime": "create_time is named twice",
    "principal,email": "email is named twice",
    "a,b,c,state,email,model,timeout,temperature,name": "it has 9 fields, at most 8 are allowed",
    "a" * 1_001: "it has 1,001 characters, at most 1,000 are allowed",
}


@pytest.mark.parametrize(("text", "message"), REFUSED.items(), ids=[text[:60] for text in REFUSED])
def test_error_names_the_mend(text: str, message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=f"^orderBy: {message}") as caught:
        parse_order(text, FIELDS, aliases=ALIASES)
    assert caught.value.field == "orderBy"


def test_alias_of_a_field_that_cannot_be_sorted_by_is_named_as_it_was_written() -> None:
    with pytest.raises(InvalidArgumentError, match="created_time is not a field to sort by; these are: no field"):
        parse_order("created_time", {})


def test_real_field_goes_before_an_alias() -> None:
    sortable = {"created_time": INTEGER, "create_time": INTEGER}
    assert parse_order("created_time", sortable)[0] == key("created_time")


@given(
    st.lists(
        st.tuples(st.sampled_from(["a", "b", "create_time", "status.code"]), st.booleans(), st.booleans()),
        min_size=1,
        unique_by=lambda item: item[0],
    )
)
def test_any_list_of_sortable_fields_comes_back(items: list[tuple[str, bool, bool]]) -> None:
    text = ", ".join(
        (lower_camel(path) if is_camel else path) + (" desc" if is_descending else "")
        for path, is_descending, is_camel in items
    )
    expected = tuple(key(path, is_descending=is_descending) for path, is_descending, _ in items)
    assert parse_order(text, FIELDS) == (*expected, NAME)


@given(st.text(max_size=200))
def test_any_text_is_an_order_or_refused(text: str) -> None:
    with contextlib.suppress(InvalidArgumentError):
        assert parse_order(text, FIELDS)[-1] == NAME
