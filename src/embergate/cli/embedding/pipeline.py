"""The run itself: read, embed, append, one chunk at a time, from wherever an earlier run stopped.

It must not know the command line, nor which engine computes: that is an `Encoder`.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

import embergate
from embergate.cli.embedding.chunks import Chunk, ContentDigest, cut_chunks, number_rows
from embergate.cli.embedding.readers import Fields, Row, read_rows
from embergate.cli.embedding.resume import Finished, PartialOutput, StaleRunError
from embergate.cli.embedding.sources import Source
from embergate.cli.embedding.writers import EmbeddedRows, OutputFormat, Writer
from embergate.errors import EmbergateError, InvalidRequestError

SURVEY_REPORT_ROWS: Final = 10_000


class Encoded(Protocol):
    """Vectors of a list of texts, and the tokens of each."""

    @property
    def vectors(self) -> NDArray[np.float32]:
        """Shapes: (n, dimensions)."""
        ...

    @property
    def num_tokens(self) -> list[int]:
        """One count a text."""
        ...


class Encoder(Protocol):
    """What a run needs of a model; `LoadedModel` is one."""

    @property
    def fingerprint(self) -> str:
        """Two encoders with one fingerprint give the same vectors."""
        ...

    def encode_counted(
        self,
        texts: Sequence[str],
        *,
        dimensions: int | None = None,
        normalize: bool | None = None,
        prompt_name: str | None = None,
        truncate: bool = False,
    ) -> Encoded:
        """Embed texts. Raises: InvalidRequestError with param `input[i]` for a text it does not take."""
        ...


@dataclass(frozen=True, slots=True)
class EncodeSettings:
    """How texts are embedded; `width` is the length of the vectors that come out."""

    width: int
    dimensions: int | None = None
    normalize: bool | None = None
    prompt_name: str | None = None
    prompt: str = ""
    precision: str = "auto"
    truncate: bool = False


@dataclass(frozen=True, slots=True)
class InputPlan:
    """Which rows are embedded."""

    source: Source
    fields: Fields
    skip_empty: bool = False

    def rows(self) -> Iterator[tuple[int, Row]]:
        """Read the numbered rows that have a text."""
        return number_rows(read_rows(self.source, self.fields), self.source, skip_empty=self.skip_empty)


@dataclass(frozen=True, slots=True)
class EmbedRun:
    """What is embedded, how, and into which format."""

    input: InputPlan
    settings: EncodeSettings
    output_format: OutputFormat
    batch_rows: int

    def manifest(self, encoder: Encoder) -> dict[str, Any]:
        """Return everything that the bytes of the output depend on."""
        return {
            "embergate": embergate.__version__,
            "input": self.input.source.identity(),
            "input_format": self.input.source.format.value,
            "output_format": self.output_format.value,
            "text_field": self.input.fields.text,
            "id_field": self.input.fields.id,
            "skip_empty": self.input.skip_empty,
            "batch_rows": self.batch_rows,
            "model_fingerprint": encoder.fingerprint,
            **asdict(self.settings),
        }


@dataclass(frozen=True, slots=True)
class Survey:
    """What reading the whole input once, before anything is embedded, has found."""

    num_rows: int
    digest: str


def survey(plan: InputPlan, report: Callable[[int], None]) -> Survey:
    """Read and check every row, so that a bad line is found now and not after hours. Not for streams.

    Raises: InvalidRequestError naming the first bad row.
    """
    digest = ContentDigest()
    num_rows = 0
    for number, row in plan.rows():
        digest.update(number, row)
        num_rows += 1
        if num_rows % SURVEY_REPORT_ROWS == 0:
            report(num_rows)
    return Survey(num_rows, digest.hexdigest())


def embed_rows(
    run: EmbedRun,
    encoder: Encoder,
    writer: Writer,
    partial: PartialOutput,
    *,
    surveyed: Survey | None = None,
    report: Callable[[Finished], None],
) -> Finished:
    """Embed what `partial` has not finished, and make it the output. `report` hears of each finished chunk.

    Raises: InvalidRequestError naming the row that cannot be embedded; StaleRunError if the input is not what it was.
    """
    partial.begin(run.manifest(encoder), writer.beginning())
    if partial.is_complete:
        finished = partial.finished
        partial.tidy()
        return finished
    digest = ContentDigest()
    rows = run.input.rows()
    _pass_finished(run, rows, partial.finished, digest)
    report(partial.finished)
    for chunk in cut_chunks(rows, batch_rows=run.batch_rows):
        encoded = _encode(run, encoder, chunk)
        for number, row in zip(chunk.numbers, chunk.rows, strict=True):
            digest.update(number, row)
        payload = writer.chunk(EmbeddedRows(chunk.numbers, [row.id for row in chunk.rows], encoded.vectors))
        num_tokens = sum(encoded.num_tokens)
        report(partial.append(payload, num_rows=len(chunk.rows), num_tokens=num_tokens, digest=digest.hexdigest()))
    finished = partial.finished
    if surveyed is not None and surveyed != Survey(finished.num_rows, digest.hexdigest()):
        raise StaleRunError(f"{run.input.source.name} was changed while it was read; pass --restart to begin again")
    partial.publish(writer.finish(partial.data, finished.num_rows))
    return finished


def _pass_finished(run: EmbedRun, rows: Iterator[tuple[int, Row]], finished: Finished, digest: ContentDigest) -> None:
    """Read past the rows done, and check that they are the rows that were done."""
    for number, row in itertools.islice(rows, finished.num_rows):
        digest.update(number, row)
    if finished.num_rows and digest.hexdigest() != finished.digest:
        raise StaleRunError(
            f"the first {finished.num_rows} rows of {run.input.source.name} are not those of the unfinished run; pass "
            "--restart to begin again"
        )


def _encode(run: EmbedRun, encoder: Encoder, chunk: Chunk) -> Encoded:
    settings = run.settings
    try:
        encoded = encoder.encode_counted(
            [row.text for row in chunk.rows],
            dimensions=settings.dimensions,
            normalize=settings.normalize,
            prompt_name=settings.prompt_name,
            truncate=settings.truncate,
        )
    except InvalidRequestError as error:
        raise _error_of_row(run, chunk, error) from error
    if encoded.vectors.shape != (len(chunk.rows), settings.width):
        raise EmbergateError(
            f"{len(chunk.rows)} texts gave vectors of shape {encoded.vectors.shape}, not of length {settings.width}. "
            "This is a bug."
        )
    finite = np.isfinite(encoded.vectors).all(axis=1)
    if not finite.all():
        row = chunk.rows[int(np.argmin(finite))]
        raise run.input.source.error(row.line, "the model gave a vector that is not finite; try --precision f32")
    return encoded


def _error_of_row(run: EmbedRun, chunk: Chunk, error: InvalidRequestError) -> InvalidRequestError:
    """Turn an error about `input[i]` into one about the row's line."""
    found = re.fullmatch(r"input\[(\d+)\]", error.param or "")
    if found is None or int(found[1]) >= len(chunk.rows):
        return error
    index = int(found[1])
    message = error.message.replace(found[0], f"the text of row {chunk.numbers[index]}", 1)
    mend = "" if run.settings.truncate else ", or pass --truncate to embed its beginning (rows done are kept)"
    return run.input.source.error(chunk.rows[index].line, message + mend)
