"""Field masks: how they are written, what a read keeps, what an update changes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embergate.aip.errors import InvalidArgumentError
from embergate.aip.fieldmask import (
    MAX_MASK_CHARACTERS,
    MAX_MASK_DEPTH,
    Path,
    fields_named,
    parse_paths,
    prune,
    read_tree,
    update_message,
)
from embergate.aip.message import parse_message, write_message
from tests.unit.aip.samples import SAMPLES, Inner, Leaf, Sample, Tier

FULL = Sample(
    name="samples/a",
    display_name="A",
    parent="p",
    tier=Tier.PAID,
    big_count=7,
    labels={"team": "search", "a.b": "dotted", "k-1": "dashed", "displayName": "camel"},
    sizes={"k": 1},
    metadata={"deep": {"er": 1, "x": 2}},
    tags=["t"],
    inner=Inner(text="in", leaf=Leaf(number=5, seen="s", fixed="f"), labels={"x": "y"}),
    leaves=[Leaf(number=1, fixed="one"), Leaf(number=2, seen="two")],
    parts={"number": Leaf(number=3), "k": Leaf(number=4)},
)
DOCUMENT = write_message(FULL)


@pytest.mark.parametrize(
    ("mask", "paths"),
    [
        ("", []),
        ("a", [("a",)]),
        ("a,b", [("a",), ("b",)]),
        ("a.b.c,d", [("a", "b", "c"), ("d",)]),
        ("a , b", [("a",), ("b",)]),
        ("*", [("*",)]),
        ("m.k-1", [("m", "k-1")]),
        ("m.`k-1`", [("m", "k-1")]),
        ("m.`a.b`", [("m", "a.b")]),
        ("m.`a,b`.c,d", [("m", "a,b", "c"), ("d",)]),
        ("m.` `", [("m", " ")]),
        ("`a`", [("a",)]),
        ("ä.ö", [("ä", "ö")]),
        ("a,", [("a",)]),
        (".".join("a" * MAX_MASK_DEPTH), [("a",) * MAX_MASK_DEPTH]),
    ],
)
def test_mask_is_split_into_paths(mask: str, paths: list[Path]) -> None:
    assert parse_paths(mask, field="readMask") == paths


@pytest.mark.parametrize(
    "mask",
    [
        ".",
        ",",
        ",a",
        "a,,b",
        "a.",
        ".a",
        "a..b",
        "a b",
        "m.`k",
        "m.``",
        "m.k`",
        "a.,b",
        ".".join("a" * (MAX_MASK_DEPTH + 1)),
        "a" * (MAX_MASK_CHARACTERS + 1),
    ],
)
def test_what_is_no_mask_is_refused(mask: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        parse_paths(mask, field="updateMask")
    assert caught.value.field == "updateMask"
    assert len(caught.value.message) < 200


@pytest.mark.parametrize(
    ("mask", "expected"),
    [
        ("displayName", {"displayName": "A"}),
        ("display_name,tier", {"displayName": "A", "tier": "PAID"}),
        ("inner.text", {"inner": {"text": "in"}}),
        ("inner.leaf.number", {"inner": {"leaf": {"number": "5"}}}),
        ("inner.leaf.number,inner.text", {"inner": {"leaf": {"number": "5"}, "text": "in"}}),
        ("inner", {"inner": DOCUMENT["inner"]}),
        ("inner,inner.text", {"inner": DOCUMENT["inner"]}),
        ("inner.text,inner", {"inner": DOCUMENT["inner"]}),
        ("inner.leaf.number,inner.leaf", {"inner": {"leaf": DOCUMENT["inner"]["leaf"]}}),
        ("inner.leaf,inner.leaf.number.x,inner.text", {"inner": {"leaf": DOCUMENT["inner"]["leaf"], "text": "in"}}),
        ("labels.team", {"labels": {"team": "search"}}),
        ("labels.`a.b`,labels.`k-1`", {"labels": {"a.b": "dotted", "k-1": "dashed"}}),
        ("labels.k-1", {"labels": {"k-1": "dashed"}}),
        ("labels.a.b", {"labels": {}}),
        ("labels.displayName", {"labels": {"displayName": "camel"}}),
        ("labels.display_name", {"labels": {}}),  # a key is no field's name
        ("labels.nothing", {"labels": {}}),
        ("metadata.deep.er", {"metadata": {"deep": {"er": 1}}}),
        ("leaves.number", {"leaves": [{"number": "1"}, {"number": "2"}]}),
        ("leaves.number.x", {"leaves": [{}, {}]}),
        ("parts.number", {"parts": {"number": DOCUMENT["parts"]["number"]}}),
        ("parts.k.number", {"parts": {"k": {"number": "4"}}}),
        ("tags", {"tags": ["t"]}),
        ("start_time", {"startTime": None}),
        ("startTime.seconds", {"startTime": None}),
        ("nothing", {}),
        ("nothing.at.all,tier", {"tier": "PAID"}),
        ("inner.nothing", {"inner": {}}),
        ("password", {}),
        ("", DOCUMENT),
        ("  ", DOCUMENT),
        ("*", DOCUMENT),
        ("tier,*", DOCUMENT),
    ],
)
def test_read_mask_keeps_what_it_names(mask: str, expected: dict[str, Any]) -> None:
    assert prune(DOCUMENT, read_tree(mask, Sample)) == expected


def test_mask_into_an_unset_message_keeps_that_it_is_unset() -> None:
    assert prune(write_message(Sample()), read_tree("inner.text", Sample)) == {"inner": None}


def updated(mask: str | None, **fields: Any) -> dict[str, Any]:
    """Return what an update changed, as it is after it."""
    after = write_message(update_message(FULL, parse_message(Sample, fields), mask))
    return {key: value for key, value in after.items() if value != DOCUMENT.get(key)}


@pytest.mark.parametrize(
    ("mask", "fields", "expected"),
    [
        # Without a mask: what was sent, and nothing else.
        (None, {"displayName": "B"}, {"displayName": "B"}),
        ("", {"displayName": "B"}, {"displayName": "B"}),
        (None, {"displayName": "", "tier": 0}, {"displayName": "", "tier": "TIER_UNSPECIFIED"}),
        (None, {"displayName": None}, {}),
        (None, {}, {}),
        (None, {"labels": {"x": "y"}}, {"labels": {"x": "y"}}),
        (None, {"inner": {"leaf": {"number": 9}}}, {"inner": write_message(Inner(leaf=Leaf(number=9)))}),
        (None, {"name": "samples/b"}, {}),
        (None, {"parent": "q"}, {}),  # what cannot be changed stays, and it is no error
        # A mask: what it names, cleared where it was not sent.
        ("displayName", {"displayName": "B", "tier": "FREE"}, {"displayName": "B"}),
        ("display_name", {}, {"displayName": ""}),
        ("tier,bigCount", {"bigCount": "8"}, {"tier": "TIER_UNSPECIFIED", "bigCount": "8"}),
        ("inner.text", {"inner": {"text": "new"}}, {"inner": DOCUMENT["inner"] | {"text": "new"}}),
        ("inner.text", {}, {"inner": DOCUMENT["inner"] | {"text": ""}}),
        ("inner", {}, {"inner": None}),
        ("inner,inner.text", {}, {"inner": write_message(Inner())}),
        ("labels.team", {"labels": {"team": "x", "k-1": "y"}}, {"labels": DOCUMENT["labels"] | {"team": "x"}}),
        ("labels.`a.b`", {"labels": {"a.b": "x"}}, {"labels": DOCUMENT["labels"] | {"a.b": "x"}}),
        ("labels.new", {"labels": {"new": "x"}}, {"labels": DOCUMENT["labels"] | {"new": "x"}}),
        ("sizes.k", {}, {"sizes": {}}),
        ("inner.labels.x", {"inner": {"labels": {"x": "z"}}}, {"inner": DOCUMENT["inner"] | {"labels": {"x": "z"}}}),
        ("parts.k", {"parts": {}}, {"parts": {"number": DOCUMENT["parts"]["number"]}}),
        ("metadata.deep", {"metadata": {"deep": 1}}, {"metadata": {"deep": 1}}),
        # What the server sets, also inside.
        ("name", {"name": "samples/b"}, {}),
        ("inner.leaf.seen", {"inner": {"leaf": {"seen": "x"}}}, {}),
        ("inner.leaf.number", {"inner": {"leaf": {"number": 9}}}, {"inner": {"leaf": {"number": "9"}}}),
        # What cannot be changed, and is not.
        ("parent", {"parent": "p"}, {}),
        ("inner.leaf.fixed", {"inner": {"leaf": {"fixed": "f"}}}, {}),
    ],
)
def test_update_changes_what_it_names(mask: str | None, fields: dict[str, Any], expected: dict[str, Any]) -> None:
    if mask == "inner.leaf.number":
        expected = {"inner": DOCUMENT["inner"] | {"leaf": DOCUMENT["inner"]["leaf"] | {"number": "9"}}}
    assert updated(mask, **fields) == expected


def test_star_replaces_all_that_can_be_changed() -> None:
    after = update_message(FULL, parse_message(Sample, {"displayName": "B", "parent": "q", "name": "x"}), "*")
    assert after == Sample(name="samples/a", display_name="B", parent="p")


@pytest.mark.parametrize(
    ("mask", "fields", "field"),
    [
        ("colour", {}, "updateMask"),
        ("inner.colour", {}, "updateMask"),
        ("displayName.x", {}, "updateMask"),
        ("tags.0", {}, "updateMask"),
        ("leaves.number", {}, "updateMask"),
        ("labels.a.b", {}, "updateMask"),
        ("parts.k.number", {}, "updateMask"),
        ("displayName,*", {}, "updateMask"),
        ("parent", {"parent": "q"}, "parent"),
        ("parent", {}, "parent"),
        ("inner.leaf.fixed", {"inner": {"leaf": {"fixed": "g"}}}, "fixed"),
        ("inner.leaf.fixed", {}, "fixed"),
    ],
)
def test_update_of_what_cannot_be_changed_is_refused_and_changes_nothing(
    mask: str, fields: dict[str, Any], field: str
) -> None:
    before = FULL.model_copy(deep=True)
    with pytest.raises(InvalidArgumentError) as caught:
        update_message(FULL, parse_message(Sample, fields), mask)
    assert caught.value.field == field
    assert before == FULL


@pytest.mark.parametrize(
    ("mask", "fields", "expected"),
    [
        (None, {"displayName": "B", "inner": {}}, {"display_name", "inner"}),
        ("inner.text,displayName", {}, {"inner", "display_name"}),
        ("big_count", {"tier": 1}, {"big_count"}),
        ("*", {}, set(Sample.model_fields)),
    ],
)
def test_names_of_what_an_update_is_about(mask: str | None, fields: dict[str, Any], expected: set[str]) -> None:
    assert fields_named(parse_message(Sample, fields), mask) == expected


# Each field that an update may name, as a path, and some of its spellings.
SPELLINGS: dict[Path, list[str]] = {
    ("displayName",): ["displayName", "display_name"],
    ("tier",): ["tier"],
    ("bigCount",): ["bigCount", "big_count"],
    ("startTime",): ["startTime", "start_time"],
    ("labels",): ["labels"],
    ("labels", "k"): ["labels.k", "labels.`k`"],
    ("labels", "a.b"): ["labels.`a.b`"],
    ("labels", "displayName"): ["labels.displayName"],
    ("sizes", "k-1"): ["sizes.k-1", "sizes.`k-1`"],
    ("metadata",): ["metadata"],
    ("tags",): ["tags"],
    ("inner",): ["inner"],
    ("inner", "text"): ["inner.text"],
    ("inner", "leaf"): ["inner.leaf"],
    ("inner", "leaf", "number"): ["inner.leaf.number"],
    ("inner", "labels", "*"): ["inner.labels.`*`"],
    ("leaves",): ["leaves"],
    ("parts", "k"): ["parts.k", "parts.`k`"],
}
CHOSEN = st.lists(st.sampled_from(sorted(SPELLINGS)), min_size=1, max_size=5)


def spelled(draw: st.DataObject, paths: list[Path]) -> str:
    return draw.draw(st.sampled_from([",", ", ", " ,"])).join(
        draw.draw(st.sampled_from(SPELLINGS[path])) for path in paths
    )


def is_related(path: Path, chosen: list[Path]) -> bool:
    """Whether one of the chosen paths leads to `path`, or stands below it."""
    return any(path[: len(each)] == each or each[: len(path)] == path for each in chosen)


def leaves_of(document: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Yield everything that is in a message's JSON and holds nothing else; a list's elements under the list's path."""
    if isinstance(document, dict):
        for key, value in document.items():
            yield from leaves_of(value, (*path, key))
    elif isinstance(document, list) and all(isinstance(item, dict) for item in document):
        for item in document:
            yield from leaves_of(item, path)
    else:
        yield path, document


@given(st.data(), SAMPLES, CHOSEN)
def test_read_keeps_exactly_what_any_mask_names(data: st.DataObject, sample: Sample, chosen: list[Path]) -> None:
    document = write_message(sample)
    kept = prune(document, read_tree(spelled(data, chosen), Sample))
    expected = [(path, value) for path, value in leaves_of(document) if is_related(path, chosen)]
    assert sorted(leaves_of(kept), key=repr) == sorted(expected, key=repr)


def at(document: dict[str, Any], path: Path) -> Any:
    """Return what is at a path that an update can name; nothing, where the map lacks the key or the message is unset."""
    found: Any = document
    for name in path:
        found = found.get(name) if found is not None else None
    return found


ZEROS = {("inner", "text"): "", ("inner", "leaf", "number"): "0", ("inner", "tier"): "TIER_UNSPECIFIED"}
# The finest paths there are; of maps the keys that the samples have.
FINEST: list[Path] = [
    *(
        (name,)
        for name in ("displayName", "tier", "bigCount", "size", "isOn", "startTime", "metadata", "tags", "leaves")
    ),
    *(("labels", key) for key in ("k", "a.b", "k-1", "ä", "*", "displayName", "0")),
    *(("parts", key) for key in ("k", "ä", "0")),
    *(("sizes", key) for key in ("k", "a.b", "k-1")),
    *(("inner", "labels", key) for key in ("k", "*")),
    *ZEROS,
]


@given(st.data(), SAMPLES, SAMPLES, CHOSEN)
def test_update_changes_exactly_what_any_mask_names(
    data: st.DataObject, current: Sample, patch: Sample, chosen: list[Path]
) -> None:
    before, sent = write_message(current), write_message(patch)
    after = write_message(update_message(current, patch, spelled(data, chosen)))
    assert write_message(current) == before
    for path in FINEST:
        is_named = any(path[: len(each)] == each for each in chosen)
        expected = at(sent if is_named else before, path)
        zero = ZEROS.get(path)
        assert (at(after, path) or zero) == (expected or zero), path
