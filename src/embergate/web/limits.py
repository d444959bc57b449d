"""Limits: so much in any minute, and so many calls at once. What they are, and what whoever counts must do.

A window remembers each charge until it is a minute old, to a tick of 60 ms: charges of one tick are kept as one number, as if
all came at its end. So never more than the maximum fits into any minute, wherever it begins; a charge counts for up to a tick
too long, a thousandth of a minute; and a window is never more than a thousand numbers, whatever goes through it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

WINDOW_S: Final = 60
TICK_MS: Final = 60
# A charge of tick k counts while it is tick k + NUM_TICKS or earlier.
NUM_TICKS: Final = WINDOW_S * 1000 // TICK_MS
# When all places are taken: nobody knows when the next call ends.
PLACE_WAIT_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `maximum` in any minute, or at once. `subject` tells the windows of one name apart: a model, a key, or ""."""

    name: str
    maximum: int
    subject: str = ""


@dataclass(frozen=True, slots=True)
class Charge:
    """So much of a limit."""

    limit: Limit
    amount: int = 1


@dataclass(frozen=True, slots=True)
class Claim:
    """What was let in: `left` is what each window has left after it, in the order of the charges."""

    account: str
    charges: Sequence[Charge]
    left: Sequence[int]
    # When it was charged, as the store counts ticks.
    tick: int = 0
    # The place it has among the calls under way; "" for none.
    place: str = ""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why nothing was charged: the limit that refuses for longest, how much of it was asked for and how much is left.

    `wait_s` are the seconds until it would let the demand in, if nothing else comes; None is never: the demand is more than
    the maximum.
    """

    limit: Limit
    amount: int
    left: int
    wait_s: float | None


class Limiter(Protocol):
    """Whoever counts. What is asked for together is charged together or not at all."""

    async def claim(self, account: str, charges: Sequence[Charge], *, places: Limit | None = None) -> Claim | Refusal:
        """Charge an account's windows, each at most once, and take a place if there is a limit of places."""
        ...

    def give_back(self, claim: Claim) -> None:
        """Charge the windows of a claim no more, exactly as if it had not been; its place is kept. Once a claim."""
        ...

    def leave(self, claim: Claim) -> None:
        """Free the place of a claim. Once a claim."""
        ...

    async def left(self, account: str, limits: Sequence[Limit]) -> Sequence[int]:
        """Return what windows have left; nothing is charged."""
        ...

    async def num_places(self, account: str) -> int:
        """Return how many places are taken."""
        ...

    async def close(self) -> None:
        """Finish what was given back."""
        ...


def longest(refusals: Sequence[Refusal]) -> Refusal:
    """Return the refusal that lasts longest; one for good before all."""
    return max(refusals, key=lambda refusal: float("inf") if refusal.wait_s is None else refusal.wait_s)
