"""The scheduler's promises, as properties."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from embergate.engine.scheduler import (
    ALWAYS_TOGETHER_TOKENS,
    MIN_FILL,
    Batch,
    Job,
    Lane,
    Scheduler,
    SchedulerLimits,
)
from embergate.errors import OverloadedError

LIMITS = SchedulerLimits(max_batch_tokens=512, max_queued_tokens=100_000, bulk_turn=4)
jobs_strategy = st.lists(
    st.tuples(
        st.sampled_from(["a", "b"]),
        st.sampled_from(["t1", "t2", "t3"]),
        st.sampled_from(list(Lane)),
        st.lists(st.integers(0, 700), min_size=1, max_size=12),
    ),
    max_size=20,
)


def drain(scheduler: Scheduler) -> list[Batch]:
    batches = []
    while (batch := scheduler.next_batch()) is not None:
        batches.append(batch)
    return batches


def queue(*jobs: Job, limits: SchedulerLimits = LIMITS) -> Scheduler:
    scheduler = Scheduler(limits)
    for job in jobs:
        scheduler.submit(job)
    return scheduler


def job(tenant: str, *lengths: int, lane: Lane = Lane.INTERACTIVE) -> Job:
    return Job("model", tenant, lane, lengths)


@given(jobs_strategy, st.integers(0, 5))
def test_every_text_runs_once_within_the_budget(
    drafts: list[tuple[str, str, Lane, list[int]]], num_batches_first: int
) -> None:
    jobs = [Job(model, tenant, lane, tuple(lengths)) for model, tenant, lane, lengths in drafts]
    scheduler = queue(*jobs[::2])
    batches = [batch for _ in range(num_batches_first) if (batch := scheduler.next_batch())]
    for late in jobs[1::2]:
        scheduler.submit(late)
    batches += drain(scheduler)
    ran = [(slot.job, slot.index) for batch in batches for slot in batch.slots]
    assert sorted(map(hash, ran)) == sorted(hash((one, index)) for one in jobs for index in range(len(one.lengths)))
    assert scheduler.queued_tokens == 0
    for batch in batches:
        lengths = [slot.job.lengths[slot.index] for slot in batch.slots]
        assert batch.padded_tokens == max(lengths) * len(lengths)
        assert len(lengths) == 1 or batch.padded_tokens <= LIMITS.max_batch_tokens
        assert min(lengths) >= min(int(max(lengths) * MIN_FILL), max(lengths) - ALWAYS_TOGETHER_TOKENS)
        assert {slot.job.model for slot in batch.slots} == {batch.model}
        assert {slot.job.lane for slot in batch.slots} == {batch.lane}


def test_bulk_batches_are_small_while_interactive_work_keeps_coming() -> None:
    limits = SchedulerLimits(max_batch_tokens=512, polite_batch_tokens=100)
    scheduler = queue(job("bulk", *[50] * 200, lane=Lane.BULK), limits=limits)
    scheduler.note_speed(1_000, 1.0)

    def sizes(num_batches: int) -> list[int]:
        return [batch.padded_tokens for _ in range(num_batches) if (batch := scheduler.next_batch())]

    assert sizes(2) == [500, 500]
    scheduler.submit(job("somebody", 16))
    assert sizes(1 + 10) == [16, *[100] * 10]  # a second's worth of bulk work later it is calm
    assert sizes(1) == [500]
    scheduler.submit(job("somebody", 16))
    assert sizes(6) == [16, *[100] * 5]
    scheduler.submit(job("somebody", 16))
    assert sizes(12) == [16, *[100] * 10, 500]


def test_row_that_is_longer_than_a_small_batch_runs_alone() -> None:
    scheduler = queue(job("bulk", 300, 300, lane=Lane.BULK), job("somebody", 16), limits=LIMITS)
    scheduler.note_speed(10_000, 1.0)
    assert [batch.padded_tokens for batch in drain(scheduler)] == [16, 300, 300]


def test_interactive_overtakes_bulk_and_bulk_still_gets_its_turn() -> None:
    scheduler = queue(job("t1", *[500] * 9, lane=Lane.BULK), job("t2", *[500] * 9), limits=LIMITS)
    lanes = [batch.lane for batch in drain(scheduler)]
    assert lanes[:8] == [Lane.INTERACTIVE] * 3 + [Lane.BULK] + [Lane.INTERACTIVE] * 3 + [Lane.BULK]


def test_one_text_waits_for_one_batch_of_a_tenant_with_a_thousand() -> None:
    scheduler = queue(job("crowd", *[500] * 90))
    scheduler.next_batch()
    scheduler.submit(job("single", 20))
    next_two = [scheduler.next_batch(), scheduler.next_batch()]
    assert "single" in {slot.job.tenant for batch in next_two if batch for slot in batch.slots}


def test_two_backlogged_tenants_are_served_alike() -> None:
    scheduler = queue(job("t1", *[100] * 90), job("t2", *[300] * 30))
    served = {"t1": 0, "t2": 0}
    for _ in range(30):
        batch = scheduler.next_batch()
        assert batch is not None
        for slot in batch.slots:
            served[str(slot.job.tenant)] += slot.job.lengths[slot.index]
        assert abs(served["t1"] - served["t2"]) <= 2 * LIMITS.max_batch_tokens


def test_a_tenant_that_sends_one_text_after_another_does_not_hold_up_a_backlog() -> None:
    scheduler = queue(job("backlog", *[500] * 20))
    scheduler.next_batch()
    served = {"backlog": 500, "steady": 0}
    scheduler.submit(job("steady", 300))
    for _ in range(20):
        batch = scheduler.next_batch()
        assert batch is not None
        tenant = str(batch.slots[0].job.tenant)
        served[tenant] += batch.num_tokens
        if tenant == "steady":
            scheduler.submit(job("steady", 300))  # the next is there before this one is done
        assert abs(served["backlog"] - served["steady"]) <= 2 * LIMITS.max_batch_tokens


@given(
    st.lists(st.lists(st.integers(1, 600), min_size=1, max_size=8), min_size=1, max_size=5),
    st.integers(1, 600),
    st.integers(0, 10),
    st.sampled_from(list(Lane)),
)
def test_a_newcomer_waits_for_at_most_one_batch_of_each_other_tenant(
    others: list[list[int]], length: int, num_batches_first: int, lane: Lane
) -> None:
    scheduler = Scheduler(SchedulerLimits(max_batch_tokens=512))

    def flood() -> None:
        for tenant, lengths in enumerate(others):
            scheduler.submit(Job("model", tenant, lane, tuple(lengths)))

    for _ in range(num_batches_first):
        flood()
        scheduler.next_batch()
    flood()
    scheduler.submit(Job("model", "newcomer", lane, (length,)))
    waited = 0
    while not any(slot.job.tenant == "newcomer" for slot in getattr(scheduler.next_batch(), "slots", ())):
        flood()
        waited += 1
        assert waited <= len(others)


@given(st.integers(1, 6), st.integers(1, 30))
def test_bulk_waits_for_at_most_one_turn_of_interactive_batches(bulk_turn: int, num_bulk: int) -> None:
    scheduler = Scheduler(SchedulerLimits(max_batch_tokens=512, bulk_turn=bulk_turn))
    scheduler.submit(job("bulk", *[500] * num_bulk, lane=Lane.BULK))
    waited = 0
    while num_bulk:
        scheduler.submit(job("person", 500))
        batch = scheduler.next_batch()
        assert batch is not None
        waited = 0 if batch.lane is Lane.BULK else waited + 1
        num_bulk -= batch.lane is Lane.BULK
        assert waited < bulk_turn or not num_bulk


class SchedulerMachine(RuleBasedStateMachine):
    """Jobs come, leave and run in any order: each text runs once or is withdrawn, and the books balance."""

    jobs: Bundle[Job] = Bundle("jobs")

    def __init__(self) -> None:
        super().__init__()
        self.scheduler = Scheduler(LIMITS)
        self.waiting: dict[tuple[Job, int], int] = {}

    @rule(
        target=jobs,
        model=st.sampled_from("ab"),
        tenant=st.sampled_from("xyz"),
        lane=st.sampled_from(list(Lane)),
        lengths=st.lists(st.integers(0, 700), min_size=1, max_size=12),
    )
    def submit(self, model: str, tenant: str, lane: Lane, lengths: list[int]) -> Job:
        submitted = Job(model, tenant, lane, tuple(lengths))
        self.scheduler.submit(submitted)
        self.waiting |= {(submitted, index): length for index, length in enumerate(lengths)}
        return submitted

    @rule(left=jobs)
    def cancel(self, left: Job) -> None:
        self.scheduler.cancel(left)
        self.waiting = {text: length for text, length in self.waiting.items() if text[0] is not left}

    @rule()
    def run(self) -> None:
        batch = self.scheduler.next_batch()
        assert (batch is None) == (not self.waiting)
        if batch is not None:
            lengths = [
                self.waiting.pop((slot.job, slot.index)) for slot in batch.slots
            ]  # a KeyError is a text run twice
            assert len(lengths) == 1 or max(lengths) * len(lengths) <= LIMITS.max_batch_tokens
            assert batch.num_tokens == sum(lengths)

    @invariant()
    def queued_tokens_are_those_that_wait(self) -> None:
        assert self.scheduler.queued_tokens == sum(self.waiting.values())

    def teardown(self) -> None:
        while self.waiting:
            self.run()
        self.run()


TestSchedulerMachine = SchedulerMachine.TestCase
TestSchedulerMachine.settings = settings(max_examples=60, stateful_step_count=40)


def test_a_tenants_short_request_is_not_held_up_by_its_long_one() -> None:
    scheduler = queue(job("t", *[500] * 20), job("t", 10))
    lengths = [batch.slots[0].job.lengths for batch in (scheduler.next_batch(), scheduler.next_batch()) if batch]
    assert (10,) in lengths


def test_full_queue_refuses_and_says_how_long() -> None:
    scheduler = queue(job("t", *[500] * 199))
    with pytest.raises(OverloadedError) as caught:
        scheduler.submit(job("t", 500, 500))
    assert 1 <= caught.value.retry_after_s <= 60
    scheduler.note_speed(1000, 1.0)
    assert scheduler.drain_s() == 60.0


def test_room_held_for_work_to_come_counts_as_queued() -> None:
    scheduler = queue(job("t", 500))
    scheduler.reserve(99_000)
    with pytest.raises(OverloadedError):
        scheduler.submit(job("t", 501))
    with pytest.raises(OverloadedError):
        scheduler.reserve(501)
    scheduler.note_speed(9_950, 1.0)
    assert scheduler.drain_s() == pytest.approx(10.0)
    scheduler.release(99_000)
    scheduler.submit(job("t", *[500] * 199))


def test_an_empty_queue_takes_a_job_of_any_size() -> None:
    assert drain(queue(job("t", *[500] * 300)))


def test_cancelled_work_leaves_no_trace() -> None:
    staying, leaving = job("t", 100, 100), job("t", 300, 300)
    scheduler = queue(staying, leaving)
    scheduler.cancel(leaving)
    scheduler.cancel(leaving)
    assert scheduler.queued_tokens == 200
    assert {slot.job for batch in drain(scheduler) for slot in batch.slots} == {staying}
