"""A message with a field of each kind, and values of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from hypothesis import strategies as st
from pydantic import Field

from embergate.aip.message import (
    ABSENT_IF_UNSET,
    IMMUTABLE,
    INPUT_ONLY,
    NEVER_SHOWN,
    OUTPUT_ONLY,
    REQUIRED,
    Message,
    ProtoEnum,
    StringMap,
)
from embergate.aip.scalars import (
    MAX_INT32,
    MAX_INT64,
    MIN_INT32,
    MIN_INT64,
    Bool,
    Double,
    Duration,
    Int32,
    Int64,
    Timestamp,
)


class Tier(ProtoEnum):
    """An enum."""

    TIER_UNSPECIFIED = "TIER_UNSPECIFIED"
    FREE = "FREE"
    PAID = "PAID"


class Leaf(Message):
    """The innermost message."""

    number: Int64 = 0
    seen: Annotated[str, OUTPUT_ONLY] = ""
    fixed: Annotated[str, IMMUTABLE] = ""


class Inner(Message):
    """A message in a message."""

    text: str = ""
    tier: Tier = Tier.TIER_UNSPECIFIED
    leaf: Leaf | None = None
    labels: StringMap = {}


class Sample(Message):
    """A resource."""

    name: Annotated[str, OUTPUT_ONLY, IMMUTABLE] = ""
    display_name: Annotated[str, REQUIRED, Field(max_length=63)] = ""
    parent: Annotated[str, IMMUTABLE] = ""
    password: Annotated[str, INPUT_ONLY, NEVER_SHOWN] = ""
    tier: Tier = Tier.TIER_UNSPECIFIED
    big_count: Int64 = 0
    size: Int32 = 0
    ratio: Double = 0.0
    is_on: Bool = False
    start_time: Timestamp | None = None
    time_to_live: Duration | None = None
    note: Annotated[str | None, ABSENT_IF_UNSET] = None
    labels: StringMap = {}
    sizes: dict[str, Int64] = {}
    metadata: dict[str, Any] = {}
    tags: list[str] = []
    inner: Inner | None = None
    leaves: list[Leaf] = []
    parts: dict[str, Leaf] = {}


ZERO = {
    "name": "",
    "displayName": "",
    "parent": "",
    "tier": "TIER_UNSPECIFIED",
    "bigCount": "0",
    "size": 0,
    "ratio": 0.0,
    "isOn": False,
    "startTime": None,
    "timeToLive": None,
    "labels": {},
    "sizes": {},
    "metadata": {},
    "tags": [],
    "inner": None,
    "leaves": [],
    "parts": {},
}
KEYS = st.sampled_from(["k", "a.b", "k-1", "ä", "*", "displayName", "0"])
TEXTS = st.text(max_size=8)
INT64S = st.integers(MIN_INT64, MAX_INT64)
MOMENTS = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC))
LENGTHS = st.timedeltas(timedelta(days=-9_999), timedelta(days=9_999))
MAPS = st.dictionaries(KEYS, TEXTS, max_size=3)
LEAVES = st.builds(Leaf, number=INT64S, fixed=TEXTS)
INNERS = st.builds(Inner, text=TEXTS, tier=st.sampled_from(Tier), leaf=st.one_of(st.none(), LEAVES), labels=MAPS)
# What a client can set and see again.
SAMPLES = st.builds(
    Sample,
    display_name=TEXTS,
    tier=st.sampled_from(Tier),
    parent=st.just("p"),
    big_count=INT64S,
    size=st.integers(MIN_INT32, MAX_INT32),
    ratio=st.floats(allow_nan=False),
    is_on=st.booleans(),
    start_time=st.one_of(st.none(), MOMENTS),
    time_to_live=st.one_of(st.none(), LENGTHS),
    note=st.one_of(st.none(), TEXTS),
    labels=MAPS,
    sizes=st.dictionaries(KEYS, INT64S, max_size=3),
    metadata=st.dictionaries(KEYS, st.one_of(st.none(), st.booleans(), TEXTS, MAPS), max_size=3),
    tags=st.lists(TEXTS, max_size=3),
    inner=st.one_of(st.none(), INNERS),
    leaves=st.lists(LEAVES, max_size=3),
    parts=st.dictionaries(KEYS, LEAVES, max_size=2),
)
