"""The loop: every request gets its own vectors, once, or its own error."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy.typing import NDArray

from embergate.engine.runner import Runner, Ticket
from embergate.engine.scheduler import Scheduler, SchedulerLimits
from embergate.engine.tokenization import TokenizedText
from embergate.errors import ShuttingDownError

DEADLINE_S = 30


class SumNetwork:
    """A text's vector is the sum of its ids; id 13 breaks the batch; `gate` holds batches back."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()

    def run(self, rows: Sequence[TokenizedText]) -> NDArray[np.float32]:
        assert self.gate.wait(DEADLINE_S)
        if any(13 in row.input_ids for row in rows):
            raise RuntimeError("thirteen")
        return np.array([[row.input_ids.sum()] for row in rows], np.float32)


def rows_of(*texts: Sequence[int]) -> list[TokenizedText]:
    return [TokenizedText(np.array(ids, np.int32), 0) for ids in texts]


def submit(runner: Runner, network: SumNetwork, *texts: Sequence[int]) -> tuple[Ticket, threading.Semaphore]:
    done = threading.Semaphore(0)
    return runner.submit(network, rows_of(*texts), done.release), done


@pytest.mark.parametrize("num_streams", [1, 3])
def test_every_request_gets_its_own_vectors(num_streams: int) -> None:
    runner = Runner(Scheduler(SchedulerLimits(max_batch_tokens=64)), num_streams=num_streams)
    network = SumNetwork()

    def ask(number: int) -> bool:
        texts = [[number] * length for length in range(1, 20)]
        ticket, done = submit(runner, network, *texts)
        assert done.acquire(timeout=DEADLINE_S)
        assert ticket.vectors is not None
        return bool((ticket.vectors[:, 0] == [sum(text) for text in texts]).all())

    numbers = [number for number in range(60) if number != 13]
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, numbers))
    runner.close()
    assert runner.num_in_flight == 0


def test_failing_batch_fails_its_requests_only() -> None:
    runner, network = Runner(Scheduler(SchedulerLimits(max_batch_tokens=64))), SumNetwork()
    broken, broken_done = submit(runner, network, [13] * 40, [1])
    assert broken_done.acquire(timeout=DEADLINE_S)
    assert isinstance(broken.error, RuntimeError)
    fine, fine_done = submit(runner, network, [2, 3])
    assert fine_done.acquire(timeout=DEADLINE_S)
    assert fine.vectors is not None
    assert fine.vectors.tolist() == [[5.0]]
    runner.close()
    assert not broken_done.acquire(blocking=False), "on_done is called once"


def test_cancelled_request_is_not_answered_and_others_are() -> None:
    runner, network = Runner(Scheduler(SchedulerLimits(max_batch_tokens=64))), SumNetwork()
    network.gate.clear()
    running, running_done = submit(runner, network, [1] * 60)
    waiting, waiting_done = submit(runner, network, [2] * 60)
    staying, staying_done = submit(runner, network, [3] * 60)
    runner.cancel(running)
    runner.cancel(waiting)
    network.gate.set()
    assert staying_done.acquire(timeout=DEADLINE_S)
    runner.close()
    assert staying.vectors is not None
    assert waiting.vectors is None
    assert not running_done.acquire(blocking=False)
    assert not waiting_done.acquire(blocking=False)


def test_close_finishes_what_is_queued_and_takes_nothing_more() -> None:
    runner, network = Runner(Scheduler(SchedulerLimits(max_batch_tokens=64))), SumNetwork()
    tickets = [submit(runner, network, [number] * 50) for number in range(10)]
    runner.close()
    for ticket, done in tickets:
        assert done.acquire(blocking=False)
        assert ticket.vectors is not None
    with pytest.raises(ShuttingDownError):
        submit(runner, network, [1])
