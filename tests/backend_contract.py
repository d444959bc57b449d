"""What every backend promises, whatever computes: one suite, run over each of them."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Barrier

import numpy as np
from numpy.typing import NDArray

from embergate.engine.backends.protocol import Backend, ComputeOptions
from embergate.engine.loading.spec import Precision

NUM_STREAMS = 2
COMPUTE = ComputeOptions(num_threads=2, num_streams=NUM_STREAMS)
DEADLINE_S = 60


@dataclass(frozen=True)
class OpenedBackend:
    """A backend of two streams, its sizes, and how far apart two runs of one row may be."""

    backend: Backend
    hidden_size: int
    vocab_size: int
    atol: float

    def rows(self, *lengths: int) -> list[NDArray[np.int32]]:
        """Return rows of token ids, always the same ones."""
        generator = np.random.default_rng(len(lengths))
        return [generator.integers(0, self.vocab_size, length).astype(np.int32) for length in lengths]

    def forward(
        self, rows: Sequence[NDArray[np.int32]], *, seqlen: int | None = None, padding: int = 0
    ) -> list[NDArray[np.float32]]:
        """Run one batch and return a copy of each row's own states."""
        lengths = np.array([len(row) for row in rows], np.int32)
        input_ids = np.full((len(rows), seqlen or int(lengths.max())), padding, np.int32)
        for padded, row in zip(input_ids, rows, strict=True):
            padded[: len(row)] = row
        states = self.backend.forward(input_ids, lengths)
        assert states.shape == (*input_ids.shape, self.hidden_size)
        assert states.dtype == np.float32
        return [state[:length].copy() for state, length in zip(states, lengths, strict=True)]

    def assert_same(self, some: Sequence[NDArray[np.float32]], others: Sequence[NDArray[np.float32]]) -> None:
        """Compare states row by row."""
        for one, other in zip(some, others, strict=True):
            np.testing.assert_allclose(one, other, atol=self.atol, rtol=0)


class BackendContract:
    """Subclass it where a fixture `opened` gives an `OpenedBackend`."""

    def test_precision_is_a_real_one(self, opened: OpenedBackend) -> None:
        assert opened.backend.precision is not Precision.AUTO
        assert opened.backend.computes_in in {"f32", "bf16"}

    def test_every_token_has_a_finite_state(self, opened: OpenedBackend) -> None:
        for state in opened.forward(opened.rows(1, 7, 16)):
            assert np.isfinite(state).all()

    def test_the_same_batch_gives_the_same_states(self, opened: OpenedBackend) -> None:
        rows = opened.rows(5, 9)
        for one, other in zip(opened.forward(rows), opened.forward(rows), strict=True):
            np.testing.assert_array_equal(one, other)

    def test_other_texts_give_other_states(self, opened: OpenedBackend) -> None:
        one, other = opened.forward(opened.rows(9, 9))
        assert np.abs(one - other).max() > 0.1

    def test_row_does_not_depend_on_the_others_of_its_batch(self, opened: OpenedBackend) -> None:
        rows = opened.rows(3, 16, 1, 9)
        opened.assert_same(opened.forward(rows), [opened.forward([row])[0] for row in rows])

    def test_order_of_the_rows_is_the_order_of_the_states(self, opened: OpenedBackend) -> None:
        rows = opened.rows(3, 16, 1, 9)
        opened.assert_same(opened.forward(rows)[::-1], opened.forward(rows[::-1]))

    def test_padding_changes_nothing_whatever_stands_there(self, opened: OpenedBackend) -> None:
        rows = opened.rows(3, 9)
        plain = opened.forward(rows)
        opened.assert_same(plain, opened.forward(rows, seqlen=24))
        opened.assert_same(plain, opened.forward(rows, seqlen=24, padding=opened.vocab_size - 1))

    def test_input_is_left_as_it_was(self, opened: OpenedBackend) -> None:
        (row,) = opened.rows(8)
        input_ids, lengths = row[None].copy(), np.array([8], np.int32)
        opened.backend.forward(input_ids, lengths)
        assert input_ids.tolist() == [row.tolist()]
        assert lengths.tolist() == [8]

    def test_streams_side_by_side_do_not_mix_their_states(self, opened: OpenedBackend) -> None:
        batches = [opened.rows(12, 5), opened.rows(7, 8, 9)]
        expected = [opened.forward(rows) for rows in batches]
        together = Barrier(NUM_STREAMS)

        def run(number: int) -> None:
            for _ in range(20):
                together.wait(DEADLINE_S)
                opened.assert_same(opened.forward(batches[number]), expected[number])

        with ThreadPoolExecutor(NUM_STREAMS) as pool:
            list(pool.map(run, range(NUM_STREAMS)))

    def test_states_stay_while_another_stream_runs(self, opened: OpenedBackend) -> None:
        row, other = opened.rows(9, 9)
        lengths = np.array([9], np.int32)
        states = opened.backend.forward(row[None], lengths)
        before = states.copy()
        with ThreadPoolExecutor(1) as pool:
            pool.submit(opened.backend.forward, other[None], lengths).result()
        np.testing.assert_array_equal(states, before)
