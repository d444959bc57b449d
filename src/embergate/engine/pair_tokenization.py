"""A query and a document to one row of token ids, as a reranker was trained on them.

A cross-encoder's row is what its tokenizer makes of two texts. A judge's is a chat: the model is asked whether the document
meets the query, and its next word is the verdict. The query's side is tokenised once for all documents.

Source: https://huggingface.co/Qwen/Qwen3-Reranker-0.6B
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from embergate.engine.loading.spec import ModelSpec
from embergate.engine.loading.use import JUDGEMENT
from embergate.engine.tokenization import PROBE_TEXT, TextTokenizer, TokenizedText
from embergate.errors import InvalidRequestError, ModelError

DEFAULT_TASK: Final = "Given a web search query, retrieve relevant passages that answer the query"
JUDGE_PREFIX: Final = f"<|im_start|>system\n{JUDGEMENT}<|im_end|>\n<|im_start|>user\n"
JUDGE_SUFFIX: Final = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
# Documents whose first characters a tokenizer might join with what stands before them.
PROBE_DOCUMENTS: Final = ("a", "", ".", " a", "\n", "\n a", "1")


@dataclass(frozen=True, slots=True)
class Frame:
    """What stands around the two texts, in tokens.

    `second_offset` is how far behind the document's first token the second segment begins: not at all, or before it.
    """

    prefix: Sequence[int] = ()
    middle: Sequence[int] = ()
    suffix: Sequence[int] = ()
    second_offset: int | None = None

    @property
    def num_tokens(self) -> int:
        """What is left of a row without either text."""
        return len(self.prefix) + len(self.middle) + len(self.suffix)


@dataclass(frozen=True, slots=True)
class QuerySide:
    """A query in tokens, for any number of documents; `before` is all that stands before a document, if nothing is cut."""

    ids: Sequence[int]
    before: NDArray[np.int32]


class PairTokenizer:
    """A reranker's tokenizer. Raises: ModelError if the model's files cannot make pairs."""

    def __init__(self, spec: ModelSpec, texts: TextTokenizer) -> None:
        """Find out what stands around the texts."""
        self._texts = texts
        self._max_tokens = spec.max_tokens
        self._judges = spec.judges
        try:
            self._frame = _judge_frame(texts) if spec.judges else _pair_frame(texts, has_segments=spec.has_segments)
        except InvalidRequestError as error:
            raise ModelError(f"tokenizer.json: {error.message}") from error
        num_left = 2 if not spec.judges else 2 + len(self._query_ids("", None))
        if spec.max_tokens < self._frame.num_tokens + num_left:
            raise ModelError(
                f"{spec.name} takes {spec.max_tokens} tokens at most (max_seq_length, model_max_length or "
                "max_position_embeddings), and what stands around a query and a document leaves none for them"
            )

    def task_of(self, task: str | None) -> str:
        """Return what the model is told of a task: nothing if it is the usual one, or the model is told of none."""
        return task if self._judges and task and task != DEFAULT_TASK else ""

    def begin(self, query: str, task: str | None = None, *, truncate: bool = False) -> QuerySide:
        """Tokenise the query. Raises: InvalidRequestError if it alone is too long and not to be cut, or not valid Unicode."""
        with _named("input[0]", "query"):
            ids = self._query_ids(query, task)
        room = self._max_tokens - self._frame.num_tokens
        if len(ids) >= room and (self._judges or not truncate):
            raise InvalidRequestError(
                f"query is {len(ids)} tokens long; this model's limit is {self._max_tokens}, of which special tokens and a "
                f"document's first leave {room - 1}. Nothing is cut silently: shorten it",
                param="query",
            )
        return QuerySide(ids, self._before(ids))

    def encode(
        self, query: QuerySide, documents: Sequence[str], *, truncate: bool = False, first_index: int = 0
    ) -> list[TokenizedText]:
        """Tokenise documents, each with the query; with `truncate` the longer of the two is cut where they are too long.

        A judge's query is part of the question, and never cut.

        Raises: InvalidRequestError naming the first document that is too long (unless `truncate`) or not valid Unicode.
        """
        bare = self._bare(documents, refuse_giants=not truncate, first_index=first_index)
        return [self._row(query, ids, index, truncate=truncate) for index, ids in enumerate(bare, first_index)]

    def count(
        self, query: QuerySide, documents: Sequence[str], *, truncate: bool = False, first_index: int = 0
    ) -> list[int | None]:
        """Count the tokens of each pair, however many unless it may be cut; None for a document too long to be counted."""
        counted = [text if self._texts.is_countable(text) else "" for text in documents]
        bare = self._bare(counted, refuse_giants=False, first_index=first_index)
        around, most = self._frame.num_tokens + len(query.ids), self._max_tokens if truncate else sys.maxsize
        return [
            min(around + len(ids), most) if self._texts.is_countable(text) else None
            for text, ids in zip(documents, bare, strict=True)
        ]

    def _query_ids(self, query: str, task: str | None) -> list[int]:
        text = _asked(task or DEFAULT_TASK, query) if self._judges else query
        (ids,) = self._texts.encode_bare([text], refuse_giants=False)
        return ids

    def _bare(self, documents: Sequence[str], *, refuse_giants: bool, first_index: int) -> list[list[int]]:
        with _named("input[", "documents["):
            texts = [f" {text}" for text in documents] if self._judges else documents
            return self._texts.encode_bare(texts, refuse_giants=refuse_giants, first_index=first_index)

    def _row(self, query: QuerySide, document: list[int], index: int, *, truncate: bool) -> TokenizedText:
        frame, asked = self._frame, query.ids
        num_tokens = frame.num_tokens + len(asked) + len(document)
        if num_tokens > self._max_tokens:
            if not truncate:
                raise self._too_long(index, num_tokens)
            room = self._max_tokens - frame.num_tokens
            most = (len(asked), room - len(asked)) if self._judges else longest_first(len(asked), len(document), room)
            asked, document = asked[: most[0]], document[: most[1]]
        before = query.before if len(asked) == len(query.ids) else self._before(asked)
        ids = np.concatenate([before, np.array([*document, *frame.suffix], np.int32)])
        second_start = len(before) + frame.second_offset if frame.second_offset is not None else None
        return TokenizedText(ids, 0, num_tokens, second_start)

    def _before(self, query_ids: Sequence[int]) -> NDArray[np.int32]:
        return np.array([*self._frame.prefix, *query_ids, *self._frame.middle], np.int32)

    def _too_long(self, index: int, num_tokens: int) -> InvalidRequestError:
        return InvalidRequestError(
            f"documents[{index}] is {num_tokens} tokens long with the query, special tokens included; this model's limit is "
            f"{self._max_tokens}. Nothing is cut silently: split the document, shorten it, or ask for it to be cut (truncate)",
            param=f"documents[{index}]",
        )


def longest_first(first: int, second: int, room: int) -> tuple[int, int]:
    """Return how much of two texts is kept in `room` tokens that both do not fit into: the longer is cut, until they are equal.

    Source: truncate_encodings of https://github.com/huggingface/tokenizers
    """
    shorter = min(first, second)
    if shorter > room - shorter:
        return (room // 2, room - room // 2) if first <= second else (room - room // 2, room // 2)
    return (shorter, room - shorter) if first <= second else (room - shorter, shorter)


@contextmanager
def _named(inputs: str, ours: str) -> Iterator[None]:
    """Let errors about texts name them as a request for scores does."""
    try:
        yield
    except InvalidRequestError as error:
        error.message = error.message.replace(inputs, ours, 1)
        error.param = error.param and error.param.replace(inputs, ours, 1)
        raise


def _pair_frame(texts: TextTokenizer, *, has_segments: bool) -> Frame:
    """Return what the tokenizer's own post-processor puts around two texts."""
    ((bare,), pair) = texts.encode_bare([PROBE_TEXT]), texts.encode_pair(PROBE_TEXT, PROBE_TEXT)
    ids, owners = pair.ids, pair.sequence_ids
    first, second = [owners.index(number) if number in owners else -1 for number in (0, 1)]
    frame = Frame(ids[:first], ids[first + len(bare) : second], ids[second + len(bare) :])
    if min(first, second) < 0 or ids != [*frame.prefix, *bare, *frame.middle, *bare, *frame.suffix]:
        raise ModelError("tokenizer.json: its post-processor makes no pairs of two texts; it is not a reranker's")
    if not has_segments or 1 not in pair.type_ids:
        return frame
    start = pair.type_ids.index(1)
    if pair.type_ids != [0] * start + [1] * (len(ids) - start):
        raise ModelError("tokenizer.json: its segments are not one for each text; it is not a reranker's")
    return Frame(frame.prefix, frame.middle, frame.suffix, start - second)


def _judge_frame(texts: TextTokenizer) -> Frame:
    prefix, suffix = texts.encode_bare([JUDGE_PREFIX, JUDGE_SUFFIX])
    question = _asked(DEFAULT_TASK, PROBE_TEXT)
    for document in PROBE_DOCUMENTS:
        parts = texts.encode_bare([question, f" {document}"])
        (whole,) = texts.encode_bare([f"{question} {document}"])
        if whole != [*parts[0], *parts[1]]:
            raise ModelError(
                "tokenizer.json: it joins a document with what stands before it; it is not Qwen3-Reranker's"
            )
    return Frame(prefix=prefix, suffix=suffix)


def _asked(task: str, query: str) -> str:
    return f"<Instruct>: {task}\n<Query>: {query}\n<Document>:"
