"""Which texts run next: pure decisions over queued work. No threads, no clock, no network: same calls, same batches.

- Work is queued text by text; a job's texts may run in several batches, and a batch mixes jobs of one model and lane.
- A batch is rows x longest <= a token budget, and its rows have like lengths: padding, not batch size, costs on a CPU.
- The interactive lane overtakes the bulk lane, which still gets one batch in `bulk_turn`, so it cannot starve.
- What runs cannot be overtaken. So bulk batches are small while interactive work keeps coming, and large once none came for a
  second's worth of bulk work.
- Within a lane the tenant that was served the fewest tokens goes first (start-time fair queueing), so one tenant's
  thousand texts do not delay another's single one by more than the batch that is running.
- The queue is bounded in tokens, those that are still to be counted included; what does not fit is refused with the
  time that the queue needs to drain.

Source: P. Goyal et al., Start-time Fair Queuing, https://doi.org/10.1109/90.649569
"""

from __future__ import annotations

import enum
import math
from bisect import bisect_left, bisect_right
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from typing import Final

from embergate.errors import OverloadedError

# Rows this much shorter than the longest still share its batch: below it, padding costs more than a second pass.
MIN_FILL: Final = 0.8
# Texts this close in tokens share a batch whatever their ratio.
ALWAYS_TOGETHER_TOKENS: Final = 8
MAX_RETRY_AFTER_S: Final = 60.0
# Interactive work that did not come for as long has ceased.
CALM_S: Final = 1.0


class Lane(enum.IntEnum):
    """How urgent work is: a person or a service waits for INTERACTIVE; BULK fills what is left."""

    INTERACTIVE = 0
    BULK = 1


@dataclass(frozen=True, slots=True)
class SchedulerLimits:
    """Bounds of the queue and of a batch, in tokens."""

    max_batch_tokens: int = 2048
    max_queued_tokens: int = 4_000_000
    bulk_turn: int = 16
    # Of a bulk batch while interactive work keeps coming: about as long as one short query takes.
    polite_batch_tokens: int = 128


@dataclass(eq=False, slots=True)
class Job:
    """One request's texts: their lengths in tokens, who asks, for which model."""

    model: Hashable
    tenant: Hashable
    lane: Lane
    lengths: tuple[int, ...]
    # Indices into `lengths` still to run, shortest first.
    pending: list[int] = field(default_factory=list)
    pending_lengths: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Order the texts by length."""
        self.pending = sorted(range(len(self.lengths)), key=self.lengths.__getitem__)
        self.pending_lengths = [self.lengths[index] for index in self.pending]

    @property
    def pending_tokens(self) -> int:
        """Tokens that have not been handed out."""
        return sum(self.pending_lengths)


@dataclass(frozen=True, slots=True)
class Slot:
    """One row of a batch: text `index` of `job`."""

    job: Job
    index: int


@dataclass(frozen=True, slots=True)
class Batch:
    """The rows of one forward pass."""

    model: Hashable
    lane: Lane
    slots: tuple[Slot, ...]
    num_tokens: int
    padded_tokens: int


@dataclass(eq=False, slots=True)
class _Tenant:
    """A tenant's queue in one lane; `start_tag` is the virtual time at which its next work begins."""

    start_tag: float
    jobs: dict[Job, None] = field(default_factory=dict)  # an ordered set


class Scheduler:
    """The queue. Not thread-safe: its owner holds a lock."""

    def __init__(self, limits: SchedulerLimits | None = None) -> None:
        """Start empty."""
        self.limits = limits or SchedulerLimits()
        self.queued_tokens = 0
        self.reserved_tokens = 0
        self.tokens_per_s = 0.0
        self._lanes: dict[Lane, dict[Hashable, _Tenant]] = {lane: {} for lane in Lane}
        self._virtual_time = dict.fromkeys(Lane, 0.0)
        # Where tenants ended that have nothing queued at present: who comes back at once does not come back in front.
        self._end_tags: dict[Lane, dict[Hashable, float]] = {lane: {} for lane in Lane}
        self._interactive_streak = 0
        # Tokens of bulk batches since the last interactive work came.
        self._bulk_tokens: float = math.inf

    def submit(self, job: Job) -> None:
        """Queue a job's texts.

        Raises: OverloadedError, naming the wait, if the queue is not empty and has no room for all of them.
        """
        num_tokens = job.pending_tokens
        self._check_room(num_tokens)
        self.queued_tokens += num_tokens
        if job.lane is Lane.INTERACTIVE:
            self._bulk_tokens = 0
        tenants = self._lanes[job.lane]
        if job.tenant not in tenants:
            ended = self._end_tags[job.lane].pop(job.tenant, 0.0)
            tenants[job.tenant] = _Tenant(max(self._virtual_time[job.lane], ended))
        tenants[job.tenant].jobs[job] = None

    def reserve(self, num_tokens: int) -> None:
        """Hold room for a job whose tokens are not counted yet; its owner releases it before the job is submitted.

        Raises: OverloadedError as `submit` does.
        """
        self._check_room(num_tokens)
        self.reserved_tokens += num_tokens

    def release(self, num_tokens: int) -> None:
        """Give back what `reserve` held."""
        self.reserved_tokens -= num_tokens

    def _check_room(self, num_tokens: int) -> None:
        waiting = self.queued_tokens + self.reserved_tokens
        if waiting and waiting + num_tokens > self.limits.max_queued_tokens:
            raise OverloadedError(
                f"the queue holds {waiting} tokens of at most {self.limits.max_queued_tokens}; try again "
                "after the time in retry-after",
                retry_after_s=self.drain_s(),
            )

    def cancel(self, job: Job) -> None:
        """Forget what of a job has not run; a job that is unknown or done is left alone."""
        tenant = self._lanes[job.lane].get(job.tenant)
        if tenant is None or job not in tenant.jobs:
            return
        self.queued_tokens -= job.pending_tokens
        job.pending.clear()
        job.pending_lengths.clear()
        self._forget(job, tenant)

    def drain_s(self) -> float:
        """Return how long the queue needs at the measured rate, at least 1 s and at most 60 s."""
        return min(max(self.waiting_s(), 1.0), MAX_RETRY_AFTER_S)

    def waiting_s(self) -> float:
        """Return how long what waits needs at the measured rate; 0 while nothing was measured."""
        waiting = self.queued_tokens + self.reserved_tokens
        return waiting / self.tokens_per_s if self.tokens_per_s else 0.0

    def note_speed(self, num_tokens: int, seconds: float) -> None:
        """Learn from a finished batch how many tokens a second this machine runs."""
        if seconds > 0:
            measured = num_tokens / seconds
            self.tokens_per_s = measured if not self.tokens_per_s else 0.9 * self.tokens_per_s + 0.1 * measured

    def next_batch(self) -> Batch | None:
        """Take the rows of the next forward pass off the queue, or return None if it is empty."""
        lane = self._next_lane()
        if lane is None:
            return None
        tenants = sorted(self._lanes[lane].values(), key=lambda tenant: tenant.start_tag)
        now = self._virtual_time[lane] = tenants[0].start_tag
        self._end_tags[lane] = {tenant: tag for tenant, tag in self._end_tags[lane].items() if tag > now}
        seed = next(iter(tenants[0].jobs))
        longest = seed.pending_lengths[-1]
        room = max(1, self._batch_tokens(lane) // max(longest, 1))
        shortest = min(int(longest * MIN_FILL), longest - ALWAYS_TOGETHER_TOKENS)
        slots: list[Slot] = []
        for tenant, job in _in_order(tenants, seed):
            if len(slots) == room:
                break
            if job.model == seed.model:
                taken = self._take(job, shortest, longest, room - len(slots))
                tenant.start_tag += sum(job.lengths[slot.index] for slot in taken)
                slots += taken
                if not job.pending:
                    self._forget(job, tenant)
        if seed.pending:  # a tenant's own requests take turns too: a long one does not hold up the short one behind it
            del tenants[0].jobs[seed]
            tenants[0].jobs[seed] = None
        num_tokens = sum(slot.job.lengths[slot.index] for slot in slots)
        self.queued_tokens -= num_tokens
        if lane is Lane.BULK:
            self._bulk_tokens += num_tokens
        return Batch(seed.model, lane, tuple(slots), num_tokens, longest * len(slots))

    def _batch_tokens(self, lane: Lane) -> int:
        if lane is Lane.BULK and self._bulk_tokens < self.tokens_per_s * CALM_S:
            return min(self.limits.polite_batch_tokens, self.limits.max_batch_tokens)
        return self.limits.max_batch_tokens

    def _next_lane(self) -> Lane | None:
        interactive, bulk = bool(self._lanes[Lane.INTERACTIVE]), bool(self._lanes[Lane.BULK])
        if bulk and (not interactive or self._interactive_streak >= self.limits.bulk_turn - 1):
            self._interactive_streak = 0
            return Lane.BULK
        if interactive:
            self._interactive_streak = self._interactive_streak + 1 if bulk else 0
            return Lane.INTERACTIVE
        return None

    @staticmethod
    def _take(job: Job, shortest: int, longest: int, room: int) -> list[Slot]:
        """Take at most `room` texts of `shortest` to `longest` tokens from a job, the longest first."""
        stop = bisect_right(job.pending_lengths, longest)
        start = max(bisect_left(job.pending_lengths, shortest), stop - room)
        taken = [Slot(job, index) for index in reversed(job.pending[start:stop])]
        del job.pending[start:stop]
        del job.pending_lengths[start:stop]
        return taken

    def _forget(self, job: Job, tenant: _Tenant) -> None:
        del tenant.jobs[job]
        if not tenant.jobs:
            del self._lanes[job.lane][job.tenant]
            self._end_tags[job.lane][job.tenant] = tenant.start_tag
            if not self._lanes[job.lane]:  # nobody waits, so nobody is ahead of anybody
                self._end_tags[job.lane].clear()


def _in_order(tenants: list[_Tenant], seed: Job) -> Iterator[tuple[_Tenant, Job]]:
    """Walk the jobs from the seed on: its tenant's others, then each further tenant's, oldest first."""
    yield tenants[0], seed
    for tenant in tenants:
        for job in list(tenant.jobs):
            if job is not seed:
                yield tenant, job
