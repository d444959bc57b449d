"""What every limiter must do, whatever it counts in; and a clock for those that take one."""

from __future__ import annotations

import asyncio

from embergate.web.limits import TICK_MS, WINDOW_S, Charge, Claim, Limit, Limiter, Refusal

REQUESTS = Limit("requests", 3)
TOKENS = Limit("tokens", 100)
OF_MODEL = Limit("tokens", 40, "m")
PLACES = Limit("places", 2)


class ManualClock:
    """Seconds that pass when they are told to."""

    def __init__(self) -> None:
        self.now_s = 5_000.0

    def __call__(self) -> float:
        return self.now_s


def claimed(outcome: Claim | Refusal) -> Claim:
    assert isinstance(outcome, Claim), outcome
    return outcome


def refused(outcome: Claim | Refusal) -> Refusal:
    assert isinstance(outcome, Refusal), outcome
    return outcome


async def check_windows_are_charged_together_or_not_at_all(limiter: Limiter) -> None:
    first = claimed(await limiter.claim("a", [Charge(TOKENS, 30), Charge(OF_MODEL, 30)]))
    assert list(first.left) == [70, 10]
    refusal = refused(await limiter.claim("a", [Charge(TOKENS, 11), Charge(OF_MODEL, 11)]))
    assert (refusal.limit, refusal.amount, refusal.left) == (OF_MODEL, 11, 10)
    assert refusal.wait_s is not None
    assert WINDOW_S - 5 < refusal.wait_s <= WINDOW_S + TICK_MS / 1000
    assert list(await limiter.left("a", [TOKENS, OF_MODEL])) == [70, 10]
    assert list(await limiter.left("b", [TOKENS, OF_MODEL])) == [100, 40]


async def check_what_is_given_back_is_as_if_it_had_not_been(limiter: Limiter) -> None:
    claimed(await limiter.claim("a", [Charge(TOKENS, 30)]))
    second = claimed(await limiter.claim("a", [Charge(TOKENS, 70)]))
    assert isinstance(await limiter.claim("a", [Charge(TOKENS)]), Refusal)
    limiter.give_back(second)
    await settled(limiter)
    assert list(await limiter.left("a", [TOKENS])) == [70]
    claimed(await limiter.claim("a", [Charge(TOKENS, 70)]))


async def check_more_than_the_maximum_never_fits(limiter: Limiter) -> None:
    claimed(await limiter.claim("a", [Charge(REQUESTS, 3)]))
    refusal = refused(await limiter.claim("a", [Charge(REQUESTS), Charge(TOKENS, 101)]))
    assert (refusal.limit, refusal.wait_s, refusal.left) == (TOKENS, None, 100)


async def check_places_are_taken_and_left(limiter: Limiter) -> None:
    first = claimed(await limiter.claim("a", [Charge(REQUESTS)], places=PLACES))
    claimed(await limiter.claim("a", [Charge(REQUESTS)], places=PLACES))
    refusal = refused(await limiter.claim("a", [Charge(REQUESTS)], places=PLACES))
    assert (refusal.limit, refusal.left) == (PLACES, 0)
    assert list(await limiter.left("a", [REQUESTS])) == [1]
    assert refusal.wait_s is not None
    claimed(await limiter.claim("b", [], places=PLACES))
    assert await limiter.num_places("a") == 2
    limiter.leave(first)
    await settled(limiter)
    assert await limiter.num_places("a") == 1
    claimed(await limiter.claim("a", [], places=PLACES))
    assert refused(await limiter.claim("a", [], places=Limit("places", 0))).wait_s is None


async def check_many_at_once_are_let_in_exactly_so_many(limiter: Limiter, *others: Limiter) -> None:
    everybody = (limiter, *others)
    asked = [everybody[n % len(everybody)].claim("a", [Charge(Limit("requests", 25))]) for n in range(100)]
    outcomes = await asyncio.gather(*asked)
    assert sum(isinstance(outcome, Claim) for outcome in outcomes) == 25


async def settled(limiter: Limiter) -> None:
    """Wait until what was given back is so."""
    await limiter.close()


CHECKS = [
    check_windows_are_charged_together_or_not_at_all,
    check_what_is_given_back_is_as_if_it_had_not_been,
    check_more_than_the_maximum_never_fits,
    check_places_are_taken_and_left,
    check_many_at_once_are_let_in_exactly_so_many,
]
