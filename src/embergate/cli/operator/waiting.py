"""Waiting for a batch job: asked for again and again, through a server's restarts, and shown as a bar."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final

from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn

from embergate.cli.bar import Bar
from embergate.cli.operator.api import Api, TryAgainError

PREFIX: Final = "JOB_STATE_"
ENDED: Final = {f"{PREFIX}{name}" for name in ("COMPLETED", "FAILED", "EXPIRED", "CANCELLED")}
FIRST_PAUSE_S: Final = 0.1
LONGEST_PAUSE_S: Final = 2.0
# A server may be away for so many questions: some ten minutes, if it refuses at once.
MAX_AWAY: Final = 300


async def wait_for_end(api: Api, path: str, show: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Return a job once it has ended. Raises: EmbergateError, also if the server is away for some ten minutes."""
    num_away, pause_s = 0, FIRST_PAUSE_S
    while True:
        try:
            job = await api.call("GET", path)
        except TryAgainError:
            num_away += 1
            if num_away > MAX_AWAY:
                raise
        else:
            num_away = 0
            show(job)
            if job["state"] in ENDED:
                return job
        await asyncio.sleep(pause_s)
        pause_s = min(LONGEST_PAUSE_S, 1.5 * pause_s)


def state_of(job: dict[str, Any]) -> str:
    """Return a job's state as people read it."""
    return str(job["state"]).removeprefix(PREFIX).replace("_", " ").capitalize()


def pace_of(job: dict[str, Any]) -> str:
    """Return how fast a job is, and how long it takes yet, as far as the server knows."""
    progress = job.get("jobProgress") or {}
    rate, left_s = progress.get("tokensPerSecond"), progress.get("estimatedSecondsLeft")
    said = f"{rate:,.0f} tokens/s" if rate else ""
    return said if left_s is None else f"{said}, {timedelta(seconds=left_s)} left"


class JobBar(Bar):
    """How far a job is."""

    def __init__(self) -> None:
        """Know nothing yet."""
        super().__init__(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("requests  {task.fields[pace]}"),
            TimeElapsedColumn(),
            what="Waiting",
            pace="",
        )

    def show(self, job: dict[str, Any]) -> None:
        """Show how far a job is."""
        progress = job.get("jobProgress") or {}
        self._progress.update(
            self._task,
            description=state_of(job),
            total=progress.get("totalInputRequests"),
            completed=progress.get("totalProcessedRequests", 0),
            pace=pace_of(job),
        )
