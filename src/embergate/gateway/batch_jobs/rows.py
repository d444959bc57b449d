"""The rows of a batch job's input: what each must be, which there are twice, and how they are cut into chunks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import orjson

from embergate.errors import InvalidRequestError
from embergate.gateway.datasets.jsonl import BYTE_ORDER_MARK, MAX_LINE_BYTES, Lines
from embergate.storage.key_set import KeySet

# What a chunk has at most: as much as is lost and done again when a server dies.
CHUNK_ROWS: Final = 512
CHUNK_BYTES: Final = 4 << 20
# Their vectors are in memory together; the last row may go beyond, by as many as a request may have.
CHUNK_INPUTS: Final = 2_048
MAX_NAMED: Final = 100
MAX_ID_CHARACTERS: Final = 512
# `method` and `url` are those of OpenAI's rows, which say there what the job says elsewhere.
FIELDS: Final = frozenset({"custom_id", "body", "method", "url"})
METHOD: Final = "POST"
URL: Final = "/v1/embeddings"
MAX_PROBLEM_CHARACTERS: Final = 300
MAX_PARAM_CHARACTERS: Final = 100
NO_ROW: Final = "invalid_json_line"
# Returns how many inputs a body has.
CheckBody = Callable[[Mapping[str, Any]], int]


class RowProblem(Exception):  # noqa: N818 - one of many, counted
    """What is wrong with a row: `code` says it in a word, and `param` names the field that caused it."""

    def __init__(self, message: str, *, code: str = "invalid_request", param: str | None = None) -> None:
        """Store what is wrong."""
        self.message = message
        self.code = code
        self.param = param
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem as the input's owner is told of it: JSON in the job. `line` is None for what is wrong with all of the input."""

    message: str
    line: int | None
    code: str
    param: str | None


@dataclass(frozen=True, slots=True)
class Row:
    """One request, and what its owner calls it."""

    custom_id: str
    body: dict[str, Any]


def read_row(line: bytes, extra: Mapping[str, Any], *, is_openai: bool = False) -> Row:
    """Return the request of a line, its body with what all bodies are given.

    A row of OpenAI's must name method, url and model, as OpenAI asks for it. Raises: RowProblem.
    """
    if len(line) > MAX_LINE_BYTES:
        raise RowProblem(f"is longer than {MAX_LINE_BYTES} bytes", code=NO_ROW)
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise RowProblem(f"is not JSON: {error}", code=NO_ROW) from None
    if not isinstance(row, dict):
        raise RowProblem("is not a JSON object", code=NO_ROW)
    unknown = next((name for name in row if name not in FIELDS), None)
    if unknown is not None:
        raise RowProblem(f'unknown field "{unknown[:100]}"', code="unknown_parameter", param=unknown)
    if is_openai:
        _check_request_line(row)
    custom_id, body = row.get("custom_id"), row.get("body")
    if not isinstance(custom_id, str) or not 1 <= len(custom_id) <= MAX_ID_CHARACTERS:
        raise RowProblem(
            f"custom_id must be a string of 1 to {MAX_ID_CHARACTERS} characters",
            code="invalid_custom_id",
            param="custom_id",
        )
    if not isinstance(body, dict):
        raise RowProblem("body must be a JSON object, the request", code="invalid_body", param="body")
    if is_openai and "model" not in body:
        raise RowProblem("body.model is required", code="missing_required_parameter", param="body.model")
    return Row(custom_id, {**extra, **body})


def _check_request_line(row: Mapping[str, Any]) -> None:
    for name, expected in (("method", METHOD), ("url", URL)):
        if row.get(name) != expected:
            raise RowProblem(f'{name} must be "{expected}"', code=f"invalid_{name}", param=name)


def lines_of(content: bytes) -> Iterator[bytes]:
    """Yield the lines of a chunk that are rows."""
    for line in content.split(b"\n"):
        if line.strip():
            yield line


@dataclass(slots=True)
class _Chunk:
    """A run of lines of one file. `skipped` are the rows in it, by number, that are not to be done."""

    start: int
    length: int = 0
    num_rows: int = 0
    num_inputs: int = 0
    skipped: list[int] = field(default_factory=list)

    @property
    def is_full(self) -> bool:
        """Whether nothing more is to be added."""
        return self.num_rows >= CHUNK_ROWS or self.num_inputs >= CHUNK_INPUTS or self.length >= CHUNK_BYTES


class RowChecker:
    """Takes an input's files one after the other, their bytes as they come, and gives the chunks to do.

    Its calls block. `done` are the requests that an earlier job has answered, which are left out.
    """

    def __init__(
        self, check: CheckBody, extra: Mapping[str, Any], *, seen: KeySet, done: KeySet, is_openai: bool = False
    ) -> None:
        """Have seen nothing yet."""
        self.num_requests = 0
        self.num_problems = 0
        self.problems: list[Problem] = []
        self._check = check
        self._extra = extra
        self._is_openai = is_openai
        self._seen = seen
        self._done = done
        self._begin("", "")

    def begin_file(self, name: str, key: str) -> None:
        """Turn to the next file, which is kept under `key`."""
        self._begin(name, key)

    def _begin(self, name: str, key: str) -> None:
        self._name, self._key = name, key
        self._lines = Lines()
        self._line = self._offset = 0
        self._chunk = _Chunk(0)

    def take(self, content: bytes) -> list[dict[str, Any]]:
        """Look at the next bytes; return the chunks that are full."""
        return [chunk for line in self._lines.take(content) for chunk in self._take_line(line, len(line) + 1)]

    def finish_file(self) -> list[dict[str, Any]]:
        """Look at what comes behind the last line break; return the chunks that are left."""
        chunks = [chunk for line in self._lines.finish() for chunk in self._take_line(line, len(line))]
        return [*chunks, *self._cut()]

    def _take_line(self, line: bytes, num_bytes: int) -> Iterator[dict[str, Any]]:
        self._line += 1
        self._offset += num_bytes
        self._chunk.length += num_bytes
        if self._line == 1:
            line = line.removeprefix(BYTE_ORDER_MARK)
        if line.strip():
            self._take_row(line)
        if self._chunk.is_full:
            yield from self._cut()

    def _take_row(self, line: bytes) -> None:
        number = self._chunk.num_rows
        self._chunk.num_rows += 1
        try:
            row = read_row(line, self._extra, is_openai=self._is_openai)
            num_inputs = self._check_body(row.body)
            if not self._seen.add(row.custom_id):
                said = f"custom_id {row.custom_id[:80]!r} was there before"
                raise RowProblem(said, code="duplicate_custom_id", param="custom_id")
        except RowProblem as problem:
            self._note(problem)
            return
        if row.custom_id in self._done:
            self._chunk.skipped.append(number)
        else:
            self.num_requests += 1
            self._chunk.num_inputs += num_inputs

    def _check_body(self, body: Mapping[str, Any]) -> int:
        try:
            return self._check(body)
        except InvalidRequestError as error:
            code = "mismatched_model" if error.param == "model" else "invalid_request"
            raise RowProblem(error.message, code=code, param=f"body.{error.param}" if error.param else "body") from None

    def _note(self, problem: RowProblem) -> None:
        self.num_problems += 1
        if len(self.problems) < MAX_NAMED:
            message = _storable(f"{self._name} line {self._line} {problem.message}"[:MAX_PROBLEM_CHARACTERS])
            param = _storable(problem.param[:MAX_PARAM_CHARACTERS]) if problem.param is not None else None
            self.problems.append(Problem(message, self._line, problem.code, param))

    def _cut(self) -> Iterator[dict[str, Any]]:
        """Yield the chunk, if there is anything to do in it, and begin another."""
        chunk, self._chunk = self._chunk, _Chunk(self._offset)
        if chunk.num_rows > len(chunk.skipped):
            yield {"key": self._key, "start": chunk.start, "length": chunk.length, "skipped": chunk.skipped}

    def explain(self) -> str:
        """Return what is wrong with the input, of many problems the first ones."""
        if self.num_problems == 1:
            return f"Dataset has a syntax error: {self.problems[0].message}"
        named = "; ".join(problem.message for problem in self.problems)
        more = f" (the first {MAX_NAMED})" if self.num_problems > MAX_NAMED else ""
        return f"Dataset has a syntax error: {self.num_problems} problems{more}: {named}"

    def told(self) -> list[dict[str, Any]]:
        """Return what is wrong with the input, row by row, of many problems the first ones, as JSON."""
        named = list(self.problems)
        if self.num_problems > len(named):
            message = f"{self.num_problems} problems in all; only the first {len(named)} are named"
            named.append(Problem(message, None, "too_many_problems", None))
        return [asdict(problem) for problem in named]


def _storable(text: str) -> str:
    return text.replace("\0", "\\0")  # PostgreSQL keeps no NUL
