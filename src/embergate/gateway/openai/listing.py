"""OpenAI's pages: what is on one, and whether there is more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from embergate.gateway.openai.schemas import Batch, File, Listed

T = TypeVar("T", File, Batch)


def listed(items: Sequence[T], *, has_more: bool) -> Listed[T]:
    """Return a page of these."""
    first, last = (items[0].id, items[-1].id) if items else (None, None)
    return Listed(data=list(items), first_id=first, last_id=last, has_more=has_more)
