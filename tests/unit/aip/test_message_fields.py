"""What filters, orders and masks may name in a message."""

from __future__ import annotations

import pytest

from embergate.aip.fields import FieldType, Kind
from embergate.aip.message_fields import fields_of
from tests.unit.aip.samples import Leaf, Sample

FIELDS = fields_of(Sample)
TIERS = ("TIER_UNSPECIFIED", "FREE", "PAID")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("name", FieldType(Kind.STRING)),
        ("display_name", FieldType(Kind.STRING)),
        ("tier", FieldType(Kind.ENUM, enum_names=TIERS)),
        ("big_count", FieldType(Kind.INTEGER)),
        ("size", FieldType(Kind.INTEGER)),
        ("ratio", FieldType(Kind.NUMBER)),
        ("is_on", FieldType(Kind.BOOL)),
        ("start_time", FieldType(Kind.TIMESTAMP)),
        ("time_to_live", FieldType(Kind.DURATION)),
        ("note", FieldType(Kind.STRING)),
        ("labels", FieldType(Kind.MAP, element=FieldType(Kind.STRING))),
        ("sizes", FieldType(Kind.MAP, element=FieldType(Kind.INTEGER))),
        ("metadata", FieldType(Kind.STRUCT)),
        ("parts", FieldType(Kind.MAP, element=FieldType(Kind.MESSAGE, fields=fields_of(Leaf)))),
        ("tags", FieldType(Kind.LIST, element=FieldType(Kind.STRING))),
        ("leaves", FieldType(Kind.LIST, element=FieldType(Kind.MESSAGE, fields=fields_of(Leaf)))),
    ],
)
def test_field_has_the_kind_of_its_annotation(name: str, expected: FieldType) -> None:
    assert FIELDS[name] == expected


def test_message_has_the_fields_inside_it() -> None:
    inner = FIELDS["inner"]
    assert inner.kind is Kind.MESSAGE
    assert list(inner.fields) == ["text", "tier", "leaf", "labels"]
    assert inner.fields["leaf"].fields["number"] == FieldType(Kind.INTEGER)


def test_what_nobody_can_see_cannot_be_named() -> None:
    assert FIELDS.keys() == Sample.model_fields.keys() - {"password"}
