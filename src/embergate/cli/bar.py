"""`Bar`: how far something is, on stderr, where that is a terminal."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Final, Self

from rich.console import Console
from rich.progress import Progress, ProgressColumn

REFRESHES_PER_S: Final = 10.0


class Bar:
    """Shown for as long as the context lasts, and then taken away."""

    def __init__(
        self,
        *columns: ProgressColumn,
        what: str,
        total: int | None = None,
        console: Console | None = None,
        refreshes_per_s: float = REFRESHES_PER_S,
        **fields: Any,
    ) -> None:
        """Show `what`, of which there are `total`, None if nobody knows; `fields` are what further columns begin with."""
        console = console or Console(stderr=True)
        self._progress = Progress(
            *columns,
            console=console,
            refresh_per_second=refreshes_per_s,
            disable=not console.is_terminal,
            transient=True,
        )
        self._task = self._progress.add_task(what, total=total, **fields)

    def __enter__(self) -> Self:
        """Start to show."""
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Take the bar away."""
        self._progress.stop()
