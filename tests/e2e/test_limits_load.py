"""A limit that two server processes hold together; and the arithmetic of `tests/e2e/limits_load.py`, which runs for minutes."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from embergate.web.limits import WINDOW_S
from tests.e2e.limits_load import Call, Load, Minutes, limited_servers, minutes_of
from tests.redis_server import RedisServer


def test_two_servers_on_one_redis_let_exactly_the_quota_in(
    postgresql_url: str, tmp_path: Path, tiny_model: str
) -> None:
    with (
        RedisServer() as redis,
        limited_servers(
            postgresql_url, tmp_path, quota=50, num_servers=2, models=tiny_model, redis_url=redis.url
        ) as servers,
    ):
        load = Load(servers, rate=1e9, num_calls=200, quota=50)  # all at once; each server is asked a hundred times
        started_s = time.monotonic()
        load.run(num_clients=32)
        # Whenever they came: a minute holds all of them, wherever it begins, unless this machine took longer for them.
        assert time.monotonic() - started_s < WINDOW_S, "too slow to tell"
    assert (len(load.answered), len(load.refused)) == (50, 150)
    assert set(load.by_server) == {0, 1}


def calls_at(*sent_s: float) -> list[Call]:
    """Return calls whose answers took a quarter of a second."""
    return [Call(at, at + 0.25) for at in sent_s]


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (60.0, Minutes(10, 10, 10, 10)),
        # Some are let in again too late, and two were refused without need.
        (62.0, Minutes(10, 10, 8, 8)),
        (59.5, Minutes(11, 11, 10, 10)),
        # By less than an answer takes: it may have been the answer that was early.
        (59.875, Minutes(10, 11, 10, 10)),
        (30.0, Minutes(20, 20, 10, 10)),
    ],
)
def test_calls_are_counted_in_any_minute(seconds: float, expected: Minutes) -> None:
    # Five times ten calls are let in, one a second, and all that come between one ten and the next are refused.
    starts = [number * seconds for number in range(5)]
    answered = calls_at(*(start + second for start in starts for second in range(10)))
    refused = calls_at(*(start + second + 0.5 for start in starts for second in range(9, int(seconds))))
    assert minutes_of(answered, refused) == expected


def test_refusal_may_come_a_tick_after_a_minute() -> None:
    answered = calls_at(0, 1)
    assert minutes_of(answered, calls_at(60.27)) == Minutes(2, 2, 2, 1)
    assert minutes_of(answered, calls_at(60.32)) == Minutes(2, 2, 1, 1)
