"""Prometheus metrics of durable jobs: what this process does, and what is open in the database."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge

DONE: Final = "done"
# An attempt that used up one, or the job.
FAILED: Final = "failed"
# What it needs is away.
PUT_BACK: Final = "put_back"
# Another worker has it, or the job has stopped.
LOST: Final = "lost"


class JobMetrics:
    """What workers count with."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        """Declare the metrics; in a registry that nobody reads, if none is given."""
        registry = registry or CollectorRegistry()
        self.chunks = Counter(
            "embergate_job_chunks_total",
            "Chunks of jobs that this process had, by what came of them: done, failed, put_back or lost.",
            ["kind", "outcome"],
            registry=registry,
        )
        self.running = Gauge("embergate_job_running_chunks", "Chunks that this process does now.", registry=registry)
        self.changes = Counter(
            "embergate_job_changes_total",
            "Jobs that this process brought to a state.",
            ["kind", "state"],
            registry=registry,
        )
        self.database_away = Gauge(
            "embergate_job_database_away",
            "1 while this process finds no work because the database cannot be reached.",
            registry=registry,
        )
        self._open = Gauge(
            "embergate_open_jobs",
            "Jobs that have not ended, of all accounts, when they were last counted.",
            ["kind", "state"],
            registry=registry,
        )

    def note_open(self, counts: Mapping[tuple[str, str], int]) -> None:
        """Set how many jobs of each kind and state have not ended."""
        self._open.clear()
        for (kind, state), num_jobs in counts.items():
            self._open.labels(kind, state).set(num_jobs)
