"""Breaking a run off anywhere and starting it again gives the bytes of a run without interruption.

Run as a program, this module ends itself at one file operation after the other; see the last test.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from embergate.cli.embedding.pipeline import EmbedRun, EncodeSettings, InputPlan, embed_rows, survey
from embergate.cli.embedding.readers import Fields
from embergate.cli.embedding.resume import Finished, PartialOutput, StaleRunError
from embergate.cli.embedding.sources import Source
from embergate.cli.embedding.writers import OutputFormat, open_writer
from embergate.errors import InvalidRequestError

DIMENSIONS = 4
MAX_CHARACTERS = 40
TEXTS = [f"text number {index}" for index in range(7)]
FORMATS = list(OutputFormat)
SETTINGS = EncodeSettings(width=DIMENSIONS)


class PowerCutError(BaseException):
    """The process died here, as far as the code under test can tell."""


@dataclass(frozen=True)
class HashVectors:
    vectors: NDArray[np.float32]
    num_tokens: list[int]


@dataclass
class HashEncoder:
    """Vectors are hashes of the texts; it can be told to die at its n-th call."""

    fingerprint: str = "hash"
    dies_at_call: int | None = None
    encoded_texts: list[str] = field(default_factory=list)
    num_calls: int = 0
    asked: tuple[int | None, bool | None, str | None] | None = None

    def encode_counted(
        self,
        texts: Sequence[str],
        *,
        dimensions: int | None = None,
        normalize: bool | None = None,
        prompt_name: str | None = None,
        truncate: bool = False,
    ) -> HashVectors:
        self.num_calls += 1
        self.asked = (dimensions, normalize, prompt_name)
        if self.num_calls == self.dies_at_call:
            raise PowerCutError
        for index, text in enumerate(texts):
            if len(text) > MAX_CHARACTERS and not truncate:
                raise InvalidRequestError(f"input[{index}] is {len(text)} tokens long", param=f"input[{index}]")
        self.encoded_texts.extend(texts)
        hashes = [hashlib.sha256(text[:MAX_CHARACTERS].encode()).digest()[:DIMENSIONS] for text in texts]
        vectors = np.frombuffer(b"".join(hashes), np.uint8).reshape(-1, DIMENSIONS).astype(np.float32)
        return HashVectors(vectors, [len(text) for text in texts])


@dataclass(frozen=True)
class Place:
    """A folder with an input, and the run that embeds it."""

    folder: Path
    output_format: OutputFormat = OutputFormat.NPY
    batch_rows: int = 2
    settings: EncodeSettings = SETTINGS
    text_field: str = "text"
    skip_empty: bool = False

    @property
    def input(self) -> Path:
        return self.folder / "in.txt"

    @property
    def output(self) -> Path:
        return self.folder / f"out.{self.output_format}"

    @property
    def partial(self) -> Path:
        return self.folder / f"{self.output.name}.partial"

    def write(self, texts: Sequence[str]) -> Place:
        self.input.write_text("".join(text + "\n" for text in texts))
        return self

    def embed(self, encoder: HashEncoder | None = None, *, restart: bool = False) -> Finished:
        plan = InputPlan(Source.from_argument(str(self.input)), Fields(self.text_field), self.skip_empty)
        run = EmbedRun(plan, self.settings, self.output_format, self.batch_rows)
        writer = open_writer(self.output_format, DIMENSIONS)
        surveyed = survey(plan, lambda _: None)
        with PartialOutput(self.output, restart=restart) as partial:
            return embed_rows(run, encoder or HashEncoder(), writer, partial, surveyed=surveyed, report=lambda _: None)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path).write(TEXTS)


def break_off(place: Place, *, at_call: int = 3) -> None:
    with pytest.raises(PowerCutError):
        place.embed(HashEncoder(dies_at_call=at_call))


def num_finished(place: Place) -> int:
    with PartialOutput(place.output) as partial:
        return partial.finished.num_rows


def bytes_without_interruption(place: Place) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        straight = replace(place, folder=Path(folder))
        straight.input.write_bytes(place.input.read_bytes())
        straight.embed()
        assert not straight.partial.exists()
        return straight.output.read_bytes()


@settings(max_examples=30)
@given(
    texts=st.lists(st.text("abc é", min_size=1, max_size=9), max_size=12),
    output_format=st.sampled_from(FORMATS),
    batch_rows=st.integers(1, 4),
    deaths=st.lists(st.integers(1, 6), max_size=4),
    torn=st.binary(max_size=9),
)
def test_any_deaths_give_the_same_bytes(
    texts: list[str], output_format: OutputFormat, batch_rows: int, deaths: list[int], torn: bytes
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        place = Place(Path(folder), output_format, batch_rows).write(texts)
        expected = bytes_without_interruption(place)
        for call in deaths:
            try:
                place.embed(HashEncoder(dies_at_call=call))
            except PowerCutError:
                if (place.partial / "data").exists():  # a write that was under way when the power went
                    with (place.partial / "data").open("ab") as stream:
                        stream.write(torn)
                    (place.partial / "state.json.new").write_bytes(torn)
            else:
                break
        if not place.output.exists():
            place.embed()
        assert place.output.read_bytes() == expected
        assert sorted(path.name for path in place.folder.iterdir()) == ["in.txt", place.output.name]


@pytest.mark.parametrize("output_format", FORMATS)
def test_finished_chunks_are_not_embedded_again(place: Place, output_format: OutputFormat) -> None:
    place = replace(place, output_format=output_format)
    break_off(place)
    assert not place.output.exists()
    encoder = HashEncoder()
    finished = place.embed(encoder)
    assert encoder.encoded_texts == TEXTS[4:]
    assert (finished.num_rows, finished.num_tokens) == (7, sum(map(len, TEXTS)))


def test_an_input_without_rows_gives_an_empty_array(place: Place) -> None:
    place.write([]).embed()
    assert np.load(place.output).shape == (0, DIMENSIONS)


def test_skipped_rows_keep_their_numbers(place: Place) -> None:
    place = replace(place, output_format=OutputFormat.JSONL, skip_empty=True).write(["a", "", "b", "", "", "c"])
    break_off(place, at_call=2)
    place.embed()
    assert [line.split(b",")[0] for line in place.output.read_bytes().splitlines()] == [
        b'{"row":0',
        b'{"row":2',
        b'{"row":5',
    ]


# --- only the same run goes on


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"batch_rows": 3}, "batch_rows was 2 and is now 3"),
        ({"text_field": "body"}, 'text_field was "text" and is now "body"'),
        ({"skip_empty": True}, "skip_empty was false and is now true"),
        ({"settings": replace(SETTINGS, dimensions=4)}, "dimensions was null and is now 4"),
        ({"settings": replace(SETTINGS, normalize=True)}, "normalize was null and is now true"),
        ({"settings": replace(SETTINGS, precision="int8")}, 'precision was "auto" and is now "int8"'),
        ({"settings": replace(SETTINGS, prompt="query: ")}, 'prompt was "" and is now "query: "'),
    ],
)
def test_other_arguments_are_named_with_the_mend(place: Place, change: dict[str, Any], named: str) -> None:
    break_off(place)
    with pytest.raises(StaleRunError, match="--restart") as caught:
        replace(place, **change).embed()
    assert named in caught.value.message
    place.embed()  # and what was finished is still there


def test_another_model_is_named(place: Place) -> None:
    break_off(place)
    with pytest.raises(StaleRunError, match='model_fingerprint was "hash" and is now "other"'):
        place.embed(HashEncoder(fingerprint="other"))


def test_a_changed_input_is_named(place: Place) -> None:
    break_off(place)
    place.write([*TEXTS, "one more"])
    with pytest.raises(StaleRunError, match=r"input \(.*size_bytes.*changed\)"):
        place.embed()


LONG_ROW_BYTES = 3_000
NUM_LONG_ROWS = 1_200  # of which the first and last 349 lie in the first and last MiB


def break_off_and_change_row(place: Place, number: int) -> Place:
    """Break off after 528 of the long rows, and change one row without a trace in the file's size, time or ends."""
    place = replace(place, batch_rows=1_000, settings=replace(SETTINGS, truncate=True))
    place.write([f"{index:06}".ljust(LONG_ROW_BYTES - 1, "x") for index in range(NUM_LONG_ROWS)])
    before = place.input.stat()
    break_off(place, at_call=7)
    assert num_finished(place) == 528
    with place.input.open("r+b") as stream:
        stream.seek(number * LONG_ROW_BYTES)
        stream.write(b"y")
    os.utime(place.input, ns=(before.st_atime_ns, before.st_mtime_ns))
    return place


def test_a_change_among_the_finished_rows_is_found(place: Place) -> None:
    place = break_off_and_change_row(place, 400)
    with pytest.raises(StaleRunError, match=r"first 528 rows .* are not those of the unfinished run"):
        place.embed()


def test_a_change_among_the_rows_to_do_is_embedded(place: Place) -> None:
    place = break_off_and_change_row(place, 700)
    place.embed()
    assert place.output.read_bytes() == bytes_without_interruption(place)


class ChangingEncoder(HashEncoder):
    """Changes the input behind the run's back."""

    input: Path

    def encode_counted(self, texts: Sequence[str], **options: Any) -> HashVectors:
        self.input.write_text("".join(f"other {index}\n" for index in range(len(TEXTS))))
        return super().encode_counted(texts, **options)


def test_an_input_that_changes_while_it_is_read_is_found(place: Place) -> None:
    place = replace(place, batch_rows=1, settings=replace(SETTINGS, truncate=True))
    place.write([text.ljust(9_000) for text in TEXTS])  # longer than what is read ahead
    encoder = ChangingEncoder()
    encoder.input = place.input
    with pytest.raises(StaleRunError, match=r"was changed while it was read.*--restart"):
        place.embed(encoder)
    assert not place.output.exists()


def test_settings_reach_the_encoder(place: Place) -> None:
    encoder = HashEncoder()
    settings = replace(SETTINGS, dimensions=DIMENSIONS, normalize=False, prompt_name="query")
    replace(place, settings=settings).embed(encoder)
    assert encoder.asked == (DIMENSIONS, False, "query")


def test_truncation_may_be_switched_on_midway(place: Place) -> None:
    place.write([*TEXTS, "x" * 99])
    with pytest.raises(InvalidRequestError):
        place.embed()
    cutting = replace(place, settings=replace(place.settings, truncate=True))
    encoder = HashEncoder()
    cutting.embed(encoder)
    assert encoder.encoded_texts == ["text number 6", "x" * 99]
    assert place.output.read_bytes() == bytes_without_interruption(cutting)


def test_truncation_may_not_be_switched_off_midway(place: Place) -> None:
    break_off(replace(place, settings=replace(place.settings, truncate=True)))
    with pytest.raises(StaleRunError, match="truncate was true and is now false"):
        place.embed()


def test_a_run_without_finished_rows_binds_nothing(place: Place) -> None:
    break_off(place, at_call=1)
    assert not place.partial.exists()
    replace(place, batch_rows=3).embed()


def test_restart_begins_again(place: Place) -> None:
    break_off(place)
    encoder = HashEncoder(fingerprint="other")
    place.embed(encoder, restart=True)
    assert encoder.encoded_texts == TEXTS


# --- errors


def test_a_text_that_is_too_long_is_named_by_its_line(place: Place) -> None:
    place.write([*TEXTS[:5], "x" * 99, "y"])
    with pytest.raises(InvalidRequestError) as caught:
        place.embed()
    assert f"{place.input}:6: the text of row 5 is 99 tokens long" in caught.value.message
    assert "--truncate" in caught.value.message
    assert num_finished(place) == 4


def test_a_bad_line_is_found_before_anything_is_embedded(place: Place) -> None:
    place.write([*TEXTS, ""])
    encoder = HashEncoder()
    with pytest.raises(InvalidRequestError, match=r"in\.txt:8: the text is empty"):
        place.embed(encoder)
    assert encoder.num_calls == 0


def test_data_that_was_cut_is_refused(place: Place) -> None:
    break_off(place)
    os.truncate(place.partial / "data", 100)
    with pytest.raises(StaleRunError, match=r"holds 100 bytes.*--restart"):
        place.embed()


def test_a_state_of_another_version_is_refused(place: Place) -> None:
    break_off(place)
    (place.partial / "state.json").write_text('{"version": 0}')
    with pytest.raises(StaleRunError, match="--restart"):
        place.embed()


def test_two_processes_do_not_write_one_output(place: Place) -> None:
    with (
        PartialOutput(place.output),
        pytest.raises(StaleRunError, match="another process is writing this output"),
        PartialOutput(place.output),
    ):
        pass


# --- an output that is there already


def test_an_output_is_not_replaced_unasked(place: Place) -> None:
    place.output.write_bytes(b"precious")
    with pytest.raises(StaleRunError, match=r"is there already.*--restart"):
        place.embed()
    assert place.output.read_bytes() == b"precious"
    assert not place.partial.exists()


def test_an_output_is_replaced_on_request_when_the_new_one_is_whole(place: Place) -> None:
    place.output.write_bytes(b"precious")
    with pytest.raises(PowerCutError):
        place.embed(HashEncoder(dies_at_call=3), restart=True)
    assert place.output.read_bytes() == b"precious"
    place.embed()  # goes on, and remembers that it may replace the output
    assert place.output.read_bytes() == bytes_without_interruption(place)


def test_an_output_that_came_up_meanwhile_is_not_replaced(place: Place) -> None:
    break_off(place)
    place.output.write_bytes(b"precious")
    with pytest.raises(StaleRunError, match="is there already"):
        place.embed()
    assert place.output.read_bytes() == b"precious"


# --- ends at every file operation


def rows_on_disk(place: Place) -> int:
    state = place.partial / "state.json"
    return int(json.loads(state.read_text())["finished"]["num_rows"]) if state.exists() else 0


def end_at_operation(place: Place, number: int, *, interrupted: bool) -> bool:
    """Embed in a child process that ends at its n-th file operation; tell whether it got there.

    It ends as by kill -9, without any clean-up, or `interrupted` as by Ctrl-C, and then must keep what was finished.
    """
    child = os.fork()
    if child == 0:
        count = 0
        num_finished_then = 0

        def hook(event: str, arguments: tuple[Any, ...]) -> None:
            nonlocal count, num_finished_then
            if event in {"open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate"}:
                count += 1
                if count == number and interrupted:
                    num_finished_then = rows_on_disk(place)
                    raise KeyboardInterrupt
                if count == number:
                    os._exit(9)

        sys.addaudithook(hook)
        status = 1
        try:
            place.embed()
            status = 0
        except KeyboardInterrupt:
            status = 9 if rows_on_disk(place) == num_finished_then or place.output.exists() else 2
        finally:
            os._exit(status)
    return {0: False, 9: True}[os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])]


def end_everywhere(place: Place) -> int:
    """For every n: end at the n-th file operation, start again, compare. Return how many there are."""
    expected = bytes_without_interruption(place)
    number = 0
    ended = True
    while ended:
        number += 1
        for interrupted in (False, True):
            ended = end_at_operation(place, number, interrupted=interrupted)
            if place.output.exists() and not (place.partial / "state.json").exists():
                with contextlib.suppress(StaleRunError):  # everything was done
                    place.embed()
            else:
                place.embed()
            assert place.output.read_bytes() == expected, f"at operation {number}"
            assert not place.partial.exists(), f"at operation {number}"
            place.output.unlink()
    return number


@pytest.mark.skipif(sys.platform == "win32", reason="needs fork")
@pytest.mark.parametrize("output_format", FORMATS)
def test_an_end_at_any_file_operation_loses_nothing(tmp_path: Path, output_format: OutputFormat) -> None:
    program = [sys.executable, "-W", "ignore::DeprecationWarning", __file__, str(tmp_path), output_format.value]
    done = subprocess.run(program, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 20


if __name__ == "__main__":
    sys.stdout.write(str(end_everywhere(Place(Path(sys.argv[1]), OutputFormat(sys.argv[2])).write(TEXTS[:5]))))
