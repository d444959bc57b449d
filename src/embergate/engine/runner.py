"""The one loop: take a batch from the scheduler, run it, give each row to its request. One thread a stream.

A request is a `Ticket`: its vectors fill up row by row, from whichever batches its texts ran in.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from embergate.clock import monotonic_s
from embergate.engine.scheduler import Batch, Job, Lane, Scheduler
from embergate.engine.tokenization import TokenizedText
from embergate.errors import ShuttingDownError


class Network(Protocol):
    """What the runner needs of a loaded model; networks are told apart by identity."""

    def __hash__(self) -> int: ...

    def run(self, rows: Sequence[TokenizedText]) -> NDArray[np.float32]:
        """Return one vector (D,) a row, stacked; not yet cut or normalised."""
        ...


@dataclass(eq=False, slots=True)
class Ticket:
    """One request on its way through the loop. `on_done` is called once, from a runner thread, never after `cancel`."""

    network: Network
    rows: Sequence[TokenizedText]
    on_done: Callable[[], None]
    job: Job
    vectors: NDArray[np.float32] | None = None
    error: BaseException | None = None
    num_missing: int = 0
    started_at_s: float | None = None
    finished_at_s: float = 0.0


class Runner:
    """Threads that drain a scheduler until they are closed."""

    def __init__(self, scheduler: Scheduler, *, num_streams: int = 1) -> None:
        """Start `num_streams` threads; each runs one batch at a time."""
        # Called with every batch that ran, under the runner's lock: they must be quick.
        self.batch_observers: list[Callable[[Batch], None]] = []
        self._scheduler = scheduler
        self._tickets: dict[Job, Ticket] = {}
        self._changed = threading.Condition()
        self._is_closing = False
        self._threads = [
            threading.Thread(target=self._loop, name=f"embergate-stream-{number}", daemon=True)
            for number in range(num_streams)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def queued_tokens(self) -> int:
        """Tokens that wait for a batch, and those that are held for texts still to be tokenised."""
        return self._scheduler.queued_tokens + self._scheduler.reserved_tokens

    @property
    def num_in_flight(self) -> int:
        """Requests that are queued or running."""
        return len(self._tickets)

    @property
    def waiting_s(self) -> float:
        """Seconds until what waits now has run, at the measured rate; 0 while nothing was measured."""
        return self._scheduler.waiting_s()

    def submit(
        self,
        network: Network,
        rows: Sequence[TokenizedText],
        on_done: Callable[[], None],
        *,
        tenant: str = "",
        lane: Lane = Lane.INTERACTIVE,
    ) -> Ticket:
        """Queue a request's rows.

        Raises: OverloadedError if the queue is full; ShuttingDownError after `close`.
        """
        job = Job(network, tenant, lane, tuple(len(row.input_ids) for row in rows))
        ticket = Ticket(network, rows, on_done, job, num_missing=len(rows))
        with self._changed:
            if self._is_closing:
                raise ShuttingDownError
            self._scheduler.submit(job)
            self._tickets[job] = ticket
            self._changed.notify()
        return ticket

    @contextmanager
    def reserved(self, num_tokens: int) -> Iterator[None]:
        """Hold room in the queue while a request is made ready. Raises: OverloadedError if the queue is full."""
        with self._changed:
            self._scheduler.reserve(num_tokens)
        try:
            yield
        finally:
            with self._changed:
                self._scheduler.release(num_tokens)

    def cancel(self, ticket: Ticket) -> None:
        """Withdraw a request: what has not started will not run; `on_done` is not called any more."""
        with self._changed:
            if self._tickets.pop(ticket.job, None) is not None:
                self._scheduler.cancel(ticket.job)

    def close(self) -> None:
        """Finish what is queued, then stop the threads."""
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _loop(self) -> None:
        while (taken := self._wait_for_batch()) is not None:
            batch, live = taken
            if not live:  # every request of this batch left while it was being made up
                continue
            started_at_s = monotonic_s()
            try:
                vectors = live[0][0].network.run([ticket.rows[index] for ticket, index in live])
            except Exception as error:  # noqa: BLE001 - whatever a backend raises belongs to its requests
                self._fail(live, error)
            else:
                self._deliver(batch, live, vectors, started_at_s)

    def _wait_for_batch(self) -> tuple[Batch, list[tuple[Ticket, int]]] | None:
        """Return the next batch and those of its rows whose request has not left, or None when closing and empty."""
        with self._changed:
            while (batch := self._scheduler.next_batch()) is None:
                if self._is_closing:
                    return None
                self._changed.wait()
            now = monotonic_s()
            live = []
            for slot in batch.slots:
                ticket = self._tickets.get(slot.job)
                if ticket is not None:
                    ticket.started_at_s = ticket.started_at_s or now
                    live.append((ticket, slot.index))
            return batch, live

    def _deliver(
        self, batch: Batch, live: list[tuple[Ticket, int]], vectors: NDArray[np.float32], started_at_s: float
    ) -> None:
        now = monotonic_s()
        done = []
        with self._changed:
            self._scheduler.note_speed(batch.num_tokens, now - started_at_s)
            for observe in self.batch_observers:
                observe(batch)
            for (ticket, index), vector in zip(live, vectors, strict=True):
                if ticket.job not in self._tickets:  # it left, or another of its batches failed, in the meantime
                    continue
                if ticket.vectors is None:
                    ticket.vectors = np.empty((len(ticket.rows), len(vector)), np.float32)
                ticket.vectors[index] = vector
                ticket.num_missing -= 1
                if not ticket.num_missing:
                    done.append(self._finish(ticket, now))
        for ticket in done:
            ticket.on_done()

    def _fail(self, live: list[tuple[Ticket, int]], error: BaseException) -> None:
        failed = []
        with self._changed:
            for ticket in dict.fromkeys(ticket for ticket, _ in live):
                if ticket.job in self._tickets:
                    self._scheduler.cancel(ticket.job)
                    ticket.error = error
                    failed.append(self._finish(ticket, monotonic_s()))
        for ticket in failed:
            ticket.on_done()

    def _finish(self, ticket: Ticket, now: float) -> Ticket:
        del self._tickets[ticket.job]
        ticket.finished_at_s = now
        return ticket
