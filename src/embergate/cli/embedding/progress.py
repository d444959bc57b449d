"""`ProgressBar`: rows, tokens/s and the time left, on stderr; silent where stderr is no terminal."""

from __future__ import annotations

from typing import Final

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from embergate.cli.bar import Bar
from embergate.cli.embedding.resume import Finished
from embergate.clock import monotonic_s

REFRESHES_PER_S: Final = 2


class ProgressBar(Bar):
    """What a run shows while it works; rates count this process's work only, not what an earlier one finished."""

    def __init__(self, console: Console) -> None:
        """Show on `console`."""
        super().__init__(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("rows  {task.fields[rate]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            what="Checking",
            console=console,
            refreshes_per_s=REFRESHES_PER_S,
            rate="",
        )
        self._started_at_s = 0.0
        self._before: Finished | None = None
        self._tokens = 0

    @property
    def tokens_per_s(self) -> float:
        """Tokens embedded a second by this process, 0 before the first chunk."""
        return self._tokens / max(monotonic_s() - self._started_at_s, 1e-9) if self._tokens else 0.0

    def checked(self, num_rows: int) -> None:
        """Show how many rows were read and found good."""
        self._progress.update(self._task, completed=num_rows)

    def loading(self) -> None:
        """Show that the model is being loaded."""
        self._progress.reset(self._task, description="Loading", total=None)

    def embedded(self, finished: Finished, total: int | None) -> None:
        """Show how far the run is; the first call says where it began."""
        if self._before is None:
            self._before, self._started_at_s = finished, monotonic_s()
            self._progress.reset(self._task, description="Embedding", total=total, completed=finished.num_rows)
            if finished.num_rows:
                self._progress.console.print(f"Going on: {finished.num_rows:,} rows are done.", highlight=False)
            return
        self._tokens = finished.num_tokens - self._before.num_tokens
        rate = f"{self.tokens_per_s:,.0f} tokens/s"
        self._progress.update(self._task, completed=finished.num_rows, rate=rate)
