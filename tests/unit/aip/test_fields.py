"""Names of fields in their two forms."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embergate.aip.fields import did_you_mean, find_name, lower_camel, near_names, snake

FORMS = {"create_time": "createTime", "name": "name", "p99_ms": "p99Ms", "fp8_mm_v2": "fp8MmV2"}


@pytest.mark.parametrize(("name", "camel"), FORMS.items(), ids=FORMS.keys())
def test_forms(name: str, camel: str) -> None:
    assert lower_camel(name) == camel
    assert snake(camel) == name
    assert snake(name) == name


@given(st.lists(st.text("az09", min_size=1, max_size=3), max_size=4).map(lambda parts: "_".join(["x", *parts])))
def test_name_is_found_in_both_forms(name: str) -> None:
    assert find_name([name], name) == name
    assert find_name([name], lower_camel(name)) == name


@pytest.mark.parametrize("text", ["", "CreateTime", "createtime", "create-time", "time"])
def test_other_spellings_are_no_name(text: str) -> None:
    assert find_name(["create_time", "name"], text) is None


NEAR = {"crate_time": ["create_time"], "CREATETIME": ["create_time"], "createTim": ["create_time"], "xyz": []}


@pytest.mark.parametrize(("text", "names"), NEAR.items(), ids=NEAR.keys())
def test_near_names(text: str, names: list[str]) -> None:
    assert near_names(text, ["name", "create_time"]) == names


def test_all_names_are_told_where_none_is_near() -> None:
    assert did_you_mean("nam", ["name", "b"]) == "did you mean name?"
    assert did_you_mean("xyz", ["name", "b"]) == "there are name, b"
    assert did_you_mean("xyz", []) == "there are none"
