"""Messages: proto3 JSON in and out."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import given

from embergate.aip.errors import InvalidArgumentError
from embergate.aip.message import (
    behaviors,
    has_required_fields,
    message_in,
    mutable_fields,
    parse_message,
    require_fields,
    write_message,
)
from tests.unit.aip.samples import SAMPLES, ZERO, Inner, Leaf, Sample, Tier


def test_every_field_is_written_also_at_zero() -> None:
    assert write_message(Sample()) == ZERO
    assert write_message(Inner()) == {"text": "", "tier": "TIER_UNSPECIFIED", "leaf": None, "labels": {}}


def test_unset_optional_field_is_absent_and_a_set_one_is_not() -> None:
    assert "note" not in write_message(Sample())
    assert write_message(Sample(note=""))["note"] == ""


def test_what_only_a_client_sets_is_never_written() -> None:
    sample = parse_message(Sample, {"password": "hunter2"})
    assert sample.password == "hunter2"
    assert write_message(sample) == ZERO


def test_names_are_read_in_both_spellings() -> None:
    assert parse_message(Sample, {"display_name": "a", "bigCount": 1}) == Sample(display_name="a", big_count=1)
    inner = {"inner": {"leaf": {"number": "7"}}}
    assert parse_message(Sample, inner) == Sample(inner=Inner(leaf=Leaf(number=7)))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("PAID", Tier.PAID),
        ("TIER_UNSPECIFIED", Tier.TIER_UNSPECIFIED),
        (0, Tier.TIER_UNSPECIFIED),
        (1, Tier.FREE),
        (2, Tier.PAID),
        (None, Tier.TIER_UNSPECIFIED),
    ],
)
def test_enum_is_read_by_name_or_number_and_written_by_name(value: Any, expected: Tier) -> None:
    sample = parse_message(Sample, {"tier": value, "inner": {"tier": value}})
    assert sample.inner is not None
    assert sample.tier is sample.inner.tier is expected
    assert write_message(sample)["tier"] == write_message(sample)["inner"]["tier"] == expected.value


@pytest.mark.parametrize("value", ["NOPE", "paid", "", 3, -1, 1.5, True, "1", [], {}])
def test_unknown_enum_value_is_refused(value: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="tier: expected 'TIER_UNSPECIFIED'"):
        parse_message(Sample, {"tier": value})


@pytest.mark.parametrize(
    ("data", "message", "field"),
    [
        ({"colour": 1}, 'unknown field "colour"', None),
        ({"colour": None}, 'unknown field "colour"', None),
        ({"inner": {"colour": 1}}, 'unknown field "colour" in inner', "inner"),
        ({"inner": {"leaf": {"x": 1}}}, 'unknown field "x" in inner.leaf', "inner.leaf"),
        ({"leaves": [{}, {"x": 1}]}, 'unknown field "x" in leaves.1', "leaves.1"),
        ({"display_name": "", "displayName": ""}, 'field "displayName" is given twice', None),
        ({"displayName": None, "display_name": "a"}, 'field "displayName" is given twice', None),
        ({"inner": {"leaf": {"number": 1, "Number": 2}}}, 'unknown field "Number" in inner.leaf', "inner.leaf"),
        ({"DisplayName": "a"}, 'unknown field "DisplayName"', None),
        ({"displayName": "x" * 64}, "displayName: string should have at most 63 characters", "displayName"),
        ({"inner": []}, "inner: expected a JSON object", "inner"),
        ({"inner": "x"}, "inner: expected a JSON object", "inner"),
        ({"leaves": {}}, "leaves: expected a valid list", "leaves"),
        ({"leaves": [1]}, "leaves.0: expected a JSON object", "leaves.0"),
        ({"leaves": [{"number": "x"}]}, "leaves.0.number: expected a whole number", "leaves.0.number"),
        ({"labels": {"k": None}}, "labels.k: expected a valid string", "labels.k"),
        ({"labels": {"x" * 257: ""}}, "labels.", "labels." + "x" * 257),
        (
            {"labels": {str(number): "" for number in range(101)}},
            "labels: dictionary should have at most 100",
            "labels",
        ),
        ([], "the body: expected a JSON object", None),
        ("x", "the body: expected a JSON object", None),
        (None, "the body: expected a JSON object", None),
    ],
)
def test_what_is_wrong_is_named(data: Any, message: str, field: str | None) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        parse_message(Sample, data)
    assert caught.value.message.startswith(message)
    assert caught.value.field == field


def test_long_name_of_an_unknown_field_is_cut() -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        parse_message(Sample, {"x" * 10_000: 1})
    assert len(caught.value.message) < 200


def test_null_is_the_same_as_left_out() -> None:
    sample = parse_message(Sample, {"displayName": None, "inner": None, "labels": None, "tier": None, "note": None})
    assert sample == Sample()
    assert sample.model_fields_set == set()


def test_what_the_server_sets_is_ignored_whatever_it_holds_also_inside_messages() -> None:
    data = {"name": 7, "inner": {"leaf": {"seen": {"a": 1}, "number": 1}}, "leaves": [{"seen": "x"}]}
    sample = parse_message(Sample, data)
    assert sample == Sample(inner=Inner(leaf=Leaf(number=1)), leaves=[Leaf()])
    assert sample.model_fields_set == {"inner", "leaves"}


def test_what_was_sent_is_known_also_at_zero() -> None:
    assert parse_message(Sample, {"displayName": "", "big_count": 0}).model_fields_set == {"display_name", "big_count"}


def test_required_field_is_missing_also_when_it_is_empty() -> None:
    for data in ({}, {"displayName": ""}, {"displayName": None}):
        with pytest.raises(InvalidArgumentError, match=r"^displayName is required$") as caught:
            require_fields(parse_message(Sample, data))
        assert caught.value.field == "displayName"
    with pytest.raises(InvalidArgumentError, match=r"^sample\.displayName is required$"):
        require_fields(Sample(), "sample.")
    require_fields(Sample(display_name="a"))
    assert has_required_fields(Sample)
    assert not has_required_fields(Leaf)


def test_fields_know_what_they_are() -> None:
    assert {mark.name for mark in behaviors(Sample, "name")} == {"OUTPUT_ONLY", "IMMUTABLE"}
    assert "name" not in set(mutable_fields(Sample))
    assert "parent" not in set(mutable_fields(Sample))
    assert {"display_name", "password", "inner"} <= set(mutable_fields(Sample))
    assert [message_in(Sample, name) for name in ("inner", "leaves", "labels", "tier", "parts")] == [
        Inner,
        Leaf,
        None,
        None,
        None,  # what stands behind a map's name is a key, not a field
    ]


def test_message_made_by_the_server_may_set_everything() -> None:
    sample = Sample(name="samples/a", inner=Inner(leaf=Leaf(seen="x")))
    assert write_message(sample)["name"] == "samples/a"
    assert write_message(sample)["inner"]["leaf"] == {"number": "0", "seen": "x", "fixed": ""}


def test_schemas_say_what_may_be_sent_and_what_is_answered() -> None:
    taken = Sample.model_json_schema(mode="validation")
    assert taken["required"] == ["displayName"]
    assert taken["properties"]["name"]["readOnly"] is True
    assert taken["properties"]["displayName"]["maxLength"] == 63
    assert {"type": "null"} in taken["properties"]["tier"]["anyOf"]
    assert taken["additionalProperties"] is False
    answered = Sample.model_json_schema(mode="serialization")
    assert "required" not in answered
    assert answered["properties"]["password"]["writeOnly"] is True
    assert answered["properties"]["bigCount"]["type"] == "string"


@given(SAMPLES)
def test_written_message_is_read_as_it_was(sample: Sample) -> None:
    document = json.loads(orjson.dumps(write_message(sample)))
    assert parse_message(Sample, document) == sample
    # In the other spelling too, and with everything that is unset left out.
    names = {"displayName": "display_name", "bigCount": "big_count", "startTime": "start_time", "isOn": "is_on"}
    other = {names.get(key, key): value for key, value in document.items() if value is not None}
    assert parse_message(Sample, other) == sample


def test_timestamp_with_an_offset_comes_back_in_utc() -> None:
    sample = parse_message(Sample, {"start_time": "2026-08-30T12:00:00.25+02:00"})
    assert sample.start_time == datetime(2026, 8, 30, 10, 0, 0, 250_000, UTC)
    assert write_message(sample)["startTime"] == "2026-08-30T10:00:00.250Z"
