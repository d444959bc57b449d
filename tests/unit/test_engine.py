"""The asynchronous engine: what comes back, what happens side by side, what a caller who leaves takes along."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from embergate.engine.backends.fake import FakeBackend
from embergate.engine.backends.protocol import ComputeOptions
from embergate.engine.engine import PART_CHARACTERS, EmbedOptions, Engine
from embergate.engine.loaded_model import LoadedModel
from embergate.engine.loading.loader import FoundModel
from embergate.engine.scheduler import Lane, SchedulerLimits
from embergate.engine.tokenization import TextTokenizer, TokenizedText
from embergate.errors import InvalidRequestError, OverloadedError, ShuttingDownError
from tests.loaded import fake_model, found_model

DEADLINE_S = 60
PLAIN = EmbedOptions()


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> FoundModel:
    return found_model(tmp_path_factory.mktemp("engine") / "model", resizable=True, prompts={"query": "query: "})


@pytest.fixture
async def engine() -> AsyncIterator[Engine]:
    engine = Engine(SchedulerLimits(max_batch_tokens=64, max_queued_tokens=1000), num_streams=2, tokenizer_threads=2)
    yield engine
    engine.close()


class GatedTokenizer(TextTokenizer):
    """Holds texts back until `gate` is set, and says when it has some."""

    def __init__(self, found: FoundModel) -> None:
        super().__init__(found.spec)
        self.gate, self.has_texts = threading.Event(), threading.Event()
        self.parts: list[int] = []

    def encode_texts(
        self, texts: Sequence[str], *, prompt: str = "", truncate: bool = False, first_index: int = 0
    ) -> list[TokenizedText]:
        self.parts.append(len(texts))
        self.has_texts.set()
        assert self.gate.wait(DEADLINE_S)
        return super().encode_texts(texts, prompt=prompt, truncate=truncate, first_index=first_index)


class MeetingBackend(FakeBackend):
    """A pass ends only when another one runs at the same time."""

    def __init__(self) -> None:
        super().__init__()
        self.meeting = threading.Barrier(2)

    def forward(
        self, input_ids: NDArray[np.int32], lengths: NDArray[np.int32], second_starts: NDArray[np.int32] | None = None
    ) -> NDArray[np.float32]:
        self.meeting.wait(DEADLINE_S)
        return super().forward(input_ids, lengths, second_starts)


def load(found: FoundModel, backend: FakeBackend | None = None, tokenizer: TextTokenizer | None = None) -> LoadedModel:
    return LoadedModel(found, tokenizer or TextTokenizer(found.spec), backend or FakeBackend(), ComputeOptions())


async def until(holds: Callable[[], bool]) -> None:
    """Wait for what another thread does."""
    async with asyncio.timeout(DEADLINE_S):
        while not holds():  # noqa: ASYNC110 - a thread sets no event of this loop
            await asyncio.sleep(0.001)


async def test_vectors_and_counts_come_in_the_order_of_the_inputs(engine: Engine, found: FoundModel) -> None:
    model = load(found)
    texts = ["the " * length for length in (9, 1, 30, 2, 17)]
    result = await engine.embed(model, texts, PLAIN)
    assert result.num_tokens == (11, 3, 32, 4, 19)
    for vector, text in zip(result.vectors, texts, strict=True):
        np.testing.assert_allclose(vector, model.encode([text])[0], atol=1e-6)
    model.close()


async def test_ids_give_the_vectors_of_their_text(engine: Engine, found: FoundModel) -> None:
    model = load(found)
    (row,) = model.tokenizer.encode_texts(["the fox"])
    texts, ids = (
        await engine.embed(model, ["the fox"], PLAIN),
        await engine.embed(model, [row.input_ids.tolist()], PLAIN),
    )
    np.testing.assert_array_equal(texts.vectors, ids.vectors)
    assert texts.num_tokens == ids.num_tokens


async def test_options_decide_prompt_length_and_norm(engine: Engine, found: FoundModel) -> None:
    model = load(found)
    options = EmbedOptions(dimensions=4, normalize=True, prompt="query: ")
    result = await engine.embed(model, ["the fox"], options)
    expected = model.encode(["the fox"], dimensions=4, normalize=True, prompt_name="query")
    np.testing.assert_allclose(result.vectors, expected, atol=1e-6)
    assert np.linalg.norm(result.vectors[0]) == pytest.approx(1.0, abs=1e-6)
    model.close()


async def test_stages_of_a_request_take_no_negative_time(engine: Engine, found: FoundModel) -> None:
    timings = (await engine.embed(load(found), ["the"] * 50, PLAIN)).timings
    stages = (timings.tokenizer_queue_s, timings.tokenizer_s, timings.queue_s, timings.forward_s)
    assert all(seconds >= 0 for seconds in stages)


@pytest.mark.parametrize("dimensions", [0, -1, 49, 10**9])
async def test_length_that_the_model_does_not_give_is_refused_unrun(
    engine: Engine, found: FoundModel, dimensions: int
) -> None:
    backend = FakeBackend()
    with pytest.raises(InvalidRequestError) as caught:
        await engine.embed(load(found, backend), ["the"], EmbedOptions(dimensions=dimensions))
    assert caught.value.param == "dimensions"
    assert backend.shapes == []


async def test_one_text_too_long_refuses_the_request_unrun(engine: Engine, found: FoundModel) -> None:
    backend = FakeBackend()
    with pytest.raises(InvalidRequestError) as caught:
        await engine.embed(load(found, backend), ["the", "the " * 5000], PLAIN)
    assert caught.value.param == "input[1]"
    assert engine.runner.num_in_flight == 0
    assert backend.shapes == []


async def test_loop_turns_while_texts_are_tokenised(engine: Engine, found: FoundModel) -> None:
    tokenizer = GatedTokenizer(found)
    request = asyncio.create_task(engine.embed(load(found, tokenizer=tokenizer), ["the"], PLAIN))
    await until(tokenizer.has_texts.is_set)
    tokenizer.gate.set()  # a loop that waited for the thread would never come here
    assert (await request).num_tokens == (3,)


async def test_loop_turns_while_a_batch_runs(engine: Engine, found: FoundModel) -> None:
    backend = FakeBackend()
    backend.gate.clear()
    request = asyncio.create_task(engine.embed(load(found, backend), ["the"], PLAIN))
    await until(lambda: engine.runner.num_in_flight == 1 and engine.runner.queued_tokens == 0)
    assert not request.done()
    backend.gate.set()
    assert (await request).num_tokens == (3,)


async def test_two_requests_run_at_once_on_two_streams(engine: Engine, found: FoundModel) -> None:
    model = load(found, MeetingBackend())
    long = "the " * 60  # two of them do not fit one batch
    results = await asyncio.gather(*(engine.embed(model, [long], PLAIN) for _ in range(2)))
    assert [result.num_tokens for result in results] == [(62,), (62,)]


async def test_requests_that_wait_together_share_a_batch(engine: Engine, found: FoundModel) -> None:
    backend = FakeBackend()
    model = load(found, backend)
    backend.gate.clear()
    held = [asyncio.create_task(engine.embed(model, ["the " * 60], PLAIN)) for _ in range(2)]  # both streams
    await until(lambda: engine.runner.num_in_flight == 2 and engine.runner.queued_tokens == 0)
    waiting = [asyncio.create_task(engine.embed(model, ["the fox"], PLAIN)) for _ in range(8)]
    await until(lambda: engine.runner.num_in_flight == 10)
    backend.gate.set()
    await asyncio.gather(*held, *waiting)
    assert sorted(backend.shapes) == [(1, 64), (1, 64), (8, 8)]


async def test_interactive_request_overtakes_a_bulk_one(found: FoundModel) -> None:
    engine = Engine(SchedulerLimits(max_batch_tokens=64))
    backend = FakeBackend()
    model = load(found, backend)
    backend.gate.clear()
    held = asyncio.create_task(engine.embed(model, ["the " * 60], PLAIN))
    await until(lambda: engine.runner.num_in_flight == 1 and engine.runner.queued_tokens == 0)
    answered: list[str] = []

    async def ask(name: str, lane: Lane) -> None:
        await engine.embed(model, ["the " * 60], EmbedOptions(lane=lane))
        answered.append(name)

    bulk = asyncio.create_task(ask("bulk", Lane.BULK))
    await until(lambda: engine.runner.num_in_flight == 2)
    person = asyncio.create_task(ask("person", Lane.INTERACTIVE))
    await until(lambda: engine.runner.num_in_flight == 3)
    backend.gate.set()
    await asyncio.gather(held, bulk, person)
    engine.close()
    assert answered == ["person", "bulk"]


async def test_cancelled_request_leaves_the_queue_and_never_runs(engine: Engine, found: FoundModel) -> None:
    backend = FakeBackend()
    model = load(found, backend)
    backend.gate.clear()
    held = [asyncio.create_task(engine.embed(model, ["the " * 60], PLAIN)) for _ in range(2)]
    await until(lambda: engine.runner.num_in_flight == 2 and engine.runner.queued_tokens == 0)
    leaving = asyncio.create_task(engine.embed(model, ["the " * 40], PLAIN))
    await until(lambda: engine.runner.queued_tokens == 42)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    assert engine.runner.queued_tokens == 0
    assert engine.runner.num_in_flight == 2
    backend.gate.set()
    await asyncio.gather(*held)
    assert backend.shapes == [(1, 64), (1, 64)]


async def test_cancelled_request_that_runs_is_forgotten_and_the_next_is_answered(
    engine: Engine, found: FoundModel
) -> None:
    backend = FakeBackend()
    model = load(found, backend)
    backend.gate.clear()
    leaving = asyncio.create_task(engine.embed(model, ["the"], PLAIN))
    await until(lambda: engine.runner.num_in_flight == 1 and engine.runner.queued_tokens == 0)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    assert engine.runner.num_in_flight == 0
    backend.gate.set()
    assert (await engine.embed(model, ["the fox"], PLAIN)).num_tokens == (4,)


async def test_request_cancelled_while_it_is_tokenised_is_never_queued(engine: Engine, found: FoundModel) -> None:
    tokenizer, backend = GatedTokenizer(found), FakeBackend()
    texts = ["the " * 8, "x" * PART_CHARACTERS, "the"]  # three parts
    request = asyncio.create_task(engine.embed(load(found, backend, tokenizer), texts, PLAIN))
    await until(tokenizer.has_texts.is_set)
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    tokenizer.gate.set()
    other = await engine.embed(load(found, backend), ["the"], PLAIN)
    assert other.num_tokens == (3,)
    assert tokenizer.parts == [1]
    assert backend.shapes == [(1, 8)]


async def test_long_request_is_tokenised_in_parts_that_keep_their_numbers(engine: Engine, found: FoundModel) -> None:
    tokenizer = GatedTokenizer(found)
    tokenizer.gate.set()
    texts = [*["the " * 50] * (PART_CHARACTERS // 200 + 1), "the " * 5000]
    with pytest.raises(InvalidRequestError) as caught:
        await engine.embed(load(found, tokenizer=tokenizer), texts, PLAIN)
    assert caught.value.param == f"input[{len(texts) - 1}]"
    assert tokenizer.parts == [PART_CHARACTERS // 200, 2]


async def test_full_queue_refuses_and_what_waits_is_answered(engine: Engine, found: FoundModel) -> None:
    backend = FakeBackend()
    model = load(found, backend)
    backend.gate.clear()
    waiting = asyncio.create_task(engine.embed(model, ["the " * 60] * 20, PLAIN))
    await until(lambda: engine.runner.queued_tokens > 900)
    with pytest.raises(OverloadedError):
        await engine.embed(model, ["the " * 60], PLAIN)
    backend.gate.set()
    assert len((await waiting).vectors) == 20


async def test_backend_that_breaks_raises_in_its_request_only(engine: Engine, found: FoundModel) -> None:
    broken, whole = FakeBackend(1 << 60), FakeBackend()  # more states than any memory holds
    results = await asyncio.gather(
        engine.embed(load(found, broken), ["the"], PLAIN),
        engine.embed(load(found, whole), ["the"], PLAIN),
        return_exceptions=True,
    )
    assert isinstance(results[0], Exception)
    assert not isinstance(results[1], BaseException)
    assert results[1].num_tokens == (3,)


async def test_closed_engine_finishes_what_it_has_and_takes_no_more(found: FoundModel) -> None:
    engine = Engine(SchedulerLimits(max_batch_tokens=64))
    backend = FakeBackend()
    model = load(found, backend)
    backend.gate.clear()
    waiting = [asyncio.create_task(engine.embed(model, ["the " * 60], PLAIN)) for _ in range(3)]
    await until(lambda: engine.runner.num_in_flight == 3)
    closing = asyncio.create_task(asyncio.to_thread(engine.runner.close))
    backend.gate.set()
    assert [result.num_tokens for result in await asyncio.gather(*waiting)] == [(62,)] * 3
    await closing
    with pytest.raises(ShuttingDownError):
        await engine.embed(model, ["the"], PLAIN)
    engine.close()


def test_model_of_its_own_encodes_nothing_to_nothing(tmp_path: Path) -> None:
    model = fake_model(tmp_path / "model")
    assert model.encode([]).shape == (0, 48)
    model.close()
