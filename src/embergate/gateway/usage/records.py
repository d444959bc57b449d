"""`UsageRecord`: what one call used, and what tells it apart from others.

Units: prices in billionths of a dollar a token (nanos). Every token costs a whole number of them, so no sum is ever rounded.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Final

import orjson

from embergate.web.metering import UsageKind

EMBEDDING: Final = UsageKind.EMBEDDING.value
# What bills call each kind of usage.
CATEGORIES: Final = {EMBEDDING: "Text Embedding", UsageKind.RERANK.value: "Rerank"}
SLOT: Final = timedelta(minutes=15)
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
ID_BYTES: Final = 16
# What sums are kept by, in quarters of an hour: a day of UTC, an hour, a quarter.
SPANS: Final = (96, 4, 1)


@dataclass(frozen=True, slots=True)
class Dimensions:
    """By what usage is told apart; see `UsageDimensionsRow`."""

    account_id: str
    usage_type: str
    model: str
    api_key_id: str
    team: str
    project: str
    environment: str
    is_batch: bool
    price_nanos: int
    cached_price_nanos: int
    # A hash of them all, the same on every server.
    id: bytes = field(init=False, compare=False)

    def __post_init__(self) -> None:
        """Hash them, once: every table that a record is written to asks for it."""
        told_apart = [getattr(self, one.name) for one in fields(self) if one.init]
        object.__setattr__(self, "id", blake2b(orjson.dumps(told_apart), digest_size=ID_BYTES).digest())


@dataclass(frozen=True, slots=True)
class UsageRecord:
    """What one call used; `prompt_tokens` include those that were cached.

    `is_answered` says that its answer has left: it is charged whatever its account has.
    """

    dimensions: Dimensions
    request_id: str
    user_id: str
    num_inputs: int
    prompt_tokens: int
    cached_tokens: int = 0
    idempotency_key: str | None = None
    request_digest: bytes | None = None
    is_answered: bool = False

    @property
    def cost_nanos(self) -> int:
        """What it costs."""
        computed = self.prompt_tokens - self.cached_tokens
        return computed * self.dimensions.price_nanos + self.cached_tokens * self.dimensions.cached_price_nanos


def slot_of(moment: datetime) -> int:
    """Return the number of the quarter of an hour that a moment is in, since 1970 in UTC."""
    return (moment - EPOCH) // SLOT


def slot_after(moment: datetime) -> int:
    """Return the number of the first quarter that does not begin before a moment."""
    return slot_of(moment + SLOT - timedelta(microseconds=1))


def spans_of(first: int, after: int, sizes: Sequence[int] = SPANS) -> Iterator[tuple[int, int, int]]:
    """Yield how a run of quarters is made of the largest spans: runs of spans of one length, each by its ends."""
    if first >= after:
        return
    quarters, *smaller = sizes
    inner_first, inner_after = -(-first // quarters) * quarters, after // quarters * quarters
    if inner_first >= inner_after:
        yield from spans_of(first, after, smaller)
        return
    yield from spans_of(first, inner_first, smaller)
    yield quarters, inner_first, inner_after
    yield from spans_of(inner_after, after, smaller)


def start_of(slot: int) -> datetime:
    """Return the moment at which a quarter of an hour begins."""
    return EPOCH + slot * SLOT
