"""The order of a list. Source: https://google.aip.dev/132#ordering"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class OrderKey:
    """One field to sort by, by its snake_case names, outermost first."""

    names: tuple[str, ...]
    is_descending: bool
