"""Waiting for a batch job: through what passes, and not for ever."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from embergate.cli.operator import waiting
from embergate.cli.operator.api import Api, TryAgainError
from embergate.cli.operator.waiting import JobBar, pace_of, wait_for_end
from embergate.errors import EmbergateError

RUNNING: dict[str, Any] = {
    "state": "JOB_STATE_RUNNING",
    "jobProgress": {
        "totalInputRequests": 10,
        "totalProcessedRequests": 4,
        "tokensPerSecond": 1234.5,
        "estimatedSecondsLeft": 75,
    },
}
COMPLETED = {"state": "JOB_STATE_COMPLETED", "jobProgress": None}
AWAY = {"code": 14, "message": "the database is away"}


@pytest.fixture(autouse=True)
def without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "FIRST_PAUSE_S", 0.0)
    monkeypatch.setattr(waiting, "MAX_AWAY", 3)


async def asked(answers: list[tuple[int, Any]], work: Callable[[Api], Awaitable[Any]]) -> Any:
    """Return what `work` makes of a server that answers so, at last always the same."""
    left = iter(answers)

    async def answer(_request: Request) -> JSONResponse:
        status, content = next(left, answers[-1])
        return JSONResponse(content, status)

    transport = httpx2.ASGITransport(app=Starlette(routes=[Route("/v1/job", answer)]))
    async with httpx2.AsyncClient(transport=transport, base_url="http://server") as http:
        return await work(Api(http))


async def test_a_server_that_is_away_for_a_while_is_asked_again() -> None:
    answers = [(200, RUNNING), (503, AWAY), (429, AWAY), (503, AWAY), (200, RUNNING), (503, AWAY), (200, COMPLETED)]
    seen: list[Any] = []
    assert await asked(answers, lambda api: wait_for_end(api, "job", seen.append)) == COMPLETED
    assert seen == [RUNNING, RUNNING, COMPLETED]


async def test_a_server_that_stays_away_ends_it() -> None:
    with pytest.raises(TryAgainError, match="the database is away"):
        await asked([(200, RUNNING), (503, AWAY)], lambda api: wait_for_end(api, "job", lambda _: None))


async def test_a_job_that_is_deleted_ends_it_at_once() -> None:
    answers = [(200, RUNNING), (404, {"code": 5, "message": "resource not found"}), (200, COMPLETED)]
    with pytest.raises(EmbergateError, match="resource not found"):
        await asked(answers, lambda api: wait_for_end(api, "job", lambda _: None))


def test_pace_is_said_as_far_as_it_is_known() -> None:
    assert pace_of(RUNNING) == "1,234 tokens/s, 0:01:15 left"
    assert pace_of({"jobProgress": {"tokensPerSecond": 900.0, "estimatedSecondsLeft": None}}) == "900 tokens/s"
    assert pace_of(COMPLETED) == ""


def test_bar_takes_every_job_that_the_server_tells_of() -> None:
    with JobBar() as bar:
        bar.show({"state": "JOB_STATE_VALIDATING", "jobProgress": None})
        bar.show(RUNNING)
