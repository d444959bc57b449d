"""Texts to token ids, on worker threads, with a receipt for whatever was cut.

The files' own truncation and padding are switched off: a text is cut only where the caller asks for it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import orjson
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from embergate.engine.loading.spec import ModelSpec
from embergate.engine.loading.tokenizer_json import read_checked
from embergate.errors import InvalidRequestError, ModelError

PROBE_TEXT: Final = "a"
UNKNOWN_TEXT: Final = "\ua66e"  # a letter of one medieval manuscript, which next to no vocabulary holds
MAX_TOKENIZER_BYTES: Final = 256 << 20
# A text of more characters than both of these has too many tokens, or is one word without end: some 0.5 us a character,
# in one call that cannot be stopped.
MAX_CHARACTERS: Final = 1 << 18
MAX_CHARACTERS_A_TOKEN: Final = 64
# A text longer than this is first looked at piece by piece: each token costs half a kilobyte until it is an integer.
PIECE_CHARACTERS: Final = 1 << 16
# A stranger's normalizers may not make more of a text than so many times its bytes, and as many more as a short one needs;
# where they could, they are tried first, on so few characters at a time that what comes of them is bounded.
MAX_NORMALIZED_GROWTH: Final = 4
NORMALIZED_BYTES: Final = 1 << 20
SHORT_BYTES: Final = 4096
# How many tokens a piece may gain by its cuts: the rest of a word too long for WordPiece becomes up to 100 at each end.
CUT_TOKENS: Final = 256


@dataclass(frozen=True, slots=True)
class TokenizedText:
    """One text as the network will see it.

    `num_tokens_before_cut` is larger than `len(input_ids)` only where the caller allowed the text to be cut. Of two texts in
    one row `second_start` is where the second segment begins.
    """

    input_ids: NDArray[np.int32]
    num_prompt_tokens: int
    num_tokens_before_cut: int
    second_start: int | None = None


class TextTokenizer:
    """A model's tokenizer.

    Raises: ModelError if tokenizer.json is missing, broken, or knows ids beyond the network's vocabulary.
    """

    def __init__(self, spec: ModelSpec) -> None:
        """Read tokenizer.json and check it against the network's vocabulary."""
        self._max_tokens = spec.max_tokens
        self._max_characters = max(MAX_CHARACTERS, MAX_CHARACTERS_A_TOKEN * spec.max_tokens)
        self._vocab_size = spec.vocab_size
        self._add_special_tokens = spec.add_special_tokens
        self._lowercase = spec.lowercase
        self._tokenizer, self._growth = read_tokenizer(spec.folder / "tokenizer.json", is_foreign=spec.is_foreign)
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._normalizer = self._tokenizer.normalizer
        with _readable_errors():
            self._prefix, self._suffix = self._special_tokens()
            self._tokenizer.encode(UNKNOWN_TEXT)
        self._dropped_id = _unknown_id(self._tokenizer) if spec.drop_unknown else None
        self._check_vocabulary(spec)
        self._check_room(spec)

    def _special_tokens(self) -> tuple[list[int], list[int]]:
        """Return what the tokenizer puts before and behind every text."""
        if not self._add_special_tokens:
            return [], []
        bare = self._tokenizer.encode(PROBE_TEXT, add_special_tokens=False).ids
        full = self._tokenizer.encode(PROBE_TEXT, add_special_tokens=True).ids
        for start in range(len(full) - len(bare) + 1):
            if full[start : start + len(bare)] == bare:
                return full[:start], full[start + len(bare) :]
        raise ModelError("tokenizer.json: its post-processor changes the tokens of the text itself; it cannot be used")

    def _check_vocabulary(self, spec: ModelSpec) -> None:
        largest = max(self._tokenizer.get_vocab(with_added_tokens=False).values(), default=0)
        largest = max(largest, *self._prefix, *self._suffix, 0)
        added = max(self._tokenizer.get_added_tokens_decoder(), default=0)
        # Published files do add tokens that the network has no rows for; a text that holds one is refused by itself.
        self._knows_ids_beyond = added >= spec.vocab_size
        if largest >= spec.vocab_size:
            raise ModelError(
                f"tokenizer.json knows token id {largest} and config.json has vocab_size {spec.vocab_size}; "
                "the tokenizer belongs to another model: fetch both from one revision"
            )

    def _check_room(self, spec: ModelSpec) -> None:
        num_special_tokens = len(self._prefix) + len(self._suffix)
        if spec.max_tokens <= num_special_tokens:
            raise ModelError(
                f"{spec.name} takes {spec.max_tokens} tokens at most (max_seq_length, model_max_length or "
                f"max_position_embeddings) and tokenizer.json puts {num_special_tokens} around every text; none is left"
            )

    def encode_texts(
        self, texts: Sequence[str], *, prompt: str = "", truncate: bool = False, first_index: int = 0
    ) -> list[TokenizedText]:
        """Tokenise texts, each behind `prompt`; `first_index` is the number of the first one in its request.

        Raises: InvalidRequestError naming the first text that is too long (unless `truncate`) or is not valid Unicode.
        """
        if not truncate:
            self._refuse_endless(texts, first_index)
        prepared = [self._prepare(prompt + text) for text in texts]
        try:
            with _panics_told():
                self._refuse_grown(prepared, first_index)
                if not truncate:
                    self._refuse_giants(prepared, first_index)
                encodings = self._tokenizer.encode_batch_fast(prepared, add_special_tokens=self._add_special_tokens)
                num_prompt_tokens = self._count_prompt(prompt)
        except (TypeError, UnicodeEncodeError):
            raise _not_unicode(texts, first_index) from None
        return [
            self._checked(np.array(encoding.ids, np.int32), index, num_prompt_tokens, truncate=truncate)
            for index, encoding in enumerate(encodings, first_index)
        ]

    def encode_bare(self, texts: Sequence[str], *, refuse_giants: bool = True, first_index: int = 0) -> list[list[int]]:
        """Tokenise texts without special tokens, however many tokens they have.

        Raises: InvalidRequestError naming the first text that is not valid Unicode, has more characters than any that fits, or
            (with `refuse_giants`) surely has too many tokens.
        """
        self._refuse_endless(texts, first_index)
        prepared = [self._prepare(text) for text in texts]
        try:
            with _panics_told():
                self._refuse_grown(prepared, first_index)
                if refuse_giants:
                    self._refuse_giants(prepared, first_index)
                encodings = self._tokenizer.encode_batch_fast(prepared, add_special_tokens=False)
        except (TypeError, UnicodeEncodeError):
            raise _not_unicode(texts, first_index) from None
        bare: list[list[int]] = [encoding.ids for encoding in encodings]
        if self._knows_ids_beyond:
            for index, ids in enumerate(bare, first_index):
                self._refuse_beyond(ids, index)
        return bare

    def encode_pair(self, first: str, second: str) -> Encoding:
        """Return what the tokenizer itself makes of two texts. Raises: ModelError if it cannot."""
        with _readable_errors():
            return self._tokenizer.encode(first, second)

    def token_id(self, word: str) -> int:
        """Return the id of a word that is one token. Raises: ModelError if it is not."""
        found: int | None = self._tokenizer.token_to_id(word)
        if found is None or found >= self._vocab_size:
            raise ModelError(f"tokenizer.json has no token {word!r}, which this model answers with")
        return found

    def is_countable(self, text: str) -> bool:
        """Tell whether a text has no more characters than any that fits."""
        return len(text) <= self._max_characters

    def _refuse_endless(self, texts: Sequence[str], first_index: int) -> None:
        for index, text in enumerate(texts, first_index):
            if len(text) > self._max_characters:
                raise InvalidRequestError(
                    f"input[{index}] is {len(text)} characters long, more than {self._max_characters}; this model's "
                    f"limit is {self._max_tokens} tokens. Nothing is cut silently: split the text or shorten it",
                    param=f"input[{index}]",
                )

    def _refuse_grown(self, texts: Sequence[str], first_index: int) -> None:
        """Refuse a text that a stranger's normalizers make so much of that no memory would do."""
        if self._growth <= MAX_NORMALIZED_GROWTH or self._normalizer is None:
            return
        num_characters = NORMALIZED_BYTES // self._growth
        for index, text in enumerate(texts, first_index):
            most, num_bytes = MAX_NORMALIZED_GROWTH * len(text.encode()) + SHORT_BYTES, 0
            for start in range(0, len(text), num_characters):
                num_bytes += len(self._normalizer.normalize_str(text[start : start + num_characters]).encode())
                if num_bytes > most:
                    raise InvalidRequestError(
                        f"input[{index}] becomes more than {MAX_NORMALIZED_GROWTH} times as long by this model's normalizer; "
                        "leave out the characters that it replaces by long ones",
                        param=f"input[{index}]",
                    )

    def _refuse_giants(self, texts: Sequence[str], first_index: int) -> None:
        """Refuse a text of which one piece alone is too long, before the whole of it is tokenised."""
        for index, text in enumerate(texts, first_index):
            for start in range(0, len(text), PIECE_CHARACTERS) if len(text) > PIECE_CHARACTERS else ():
                piece = text[start : start + PIECE_CHARACTERS]
                (encoding,) = self._tokenizer.encode_batch_fast([piece], add_special_tokens=False)
                num_tokens = sum(token_id != self._dropped_id for token_id in encoding.ids) - CUT_TOKENS
                if num_tokens > self._max_tokens:
                    raise self._too_long(index, f"more than {num_tokens}")

    def encode_ids(
        self, inputs: Sequence[Sequence[int]], *, truncate: bool = False, first_index: int = 0
    ) -> list[TokenizedText]:
        """Take texts that come as token ids: special tokens are added as for a text, unless they are there already.

        Raises: InvalidRequestError naming the first id outside the vocabulary, or the first text that is too long.
        """
        rows = []
        # Unknown ids may be dropped, so that many ids are not always too many; but a list has its bound all the same.
        most = self._max_tokens if self._dropped_id is None else self._max_characters
        for index, ids in enumerate(inputs, first_index):
            num_special = 0 if self._has_special_tokens(ids) else len(self._prefix) + len(self._suffix)
            if len(ids) + num_special > most and not truncate:
                raise self._too_long(index, str(len(ids) + num_special))
            self._check_ids(ids, index)
            full = [*self._prefix, *ids, *self._suffix] if num_special else ids
            rows.append(self._checked(np.array(full, np.int32), index, 0, truncate=truncate))
        return rows

    def count(
        self, inputs: Sequence[str] | Sequence[Sequence[int]], *, prompt: str = "", first_index: int = 0
    ) -> list[int | None]:
        """Count the tokens of inputs, special ones included, however many; None for a text too long to be counted.

        Raises: InvalidRequestError for what is not valid Unicode, or an id outside the vocabulary.
        """
        if isinstance(inputs[0], str):
            counted = [text if self.is_countable(text) else "" for text in inputs]  # type: ignore[arg-type]
            rows = self.encode_texts(counted, prompt=prompt, truncate=True, first_index=first_index)  # type: ignore[arg-type]
        else:
            rows = self.encode_ids(inputs, truncate=True, first_index=first_index)  # type: ignore[arg-type]
        return [
            None if isinstance(given, str) and not self.is_countable(given) else _length_of(row, self._max_tokens)
            for given, row in zip(inputs, rows, strict=True)
        ]

    def _check_ids(self, ids: Sequence[int], index: int) -> None:
        for position, token_id in enumerate(ids):
            if not 0 <= token_id < self._vocab_size:
                raise InvalidRequestError(
                    f"input[{index}][{position}] is token id {token_id}; this model's ids run from 0 to "
                    f"{self._vocab_size - 1}. Are they another model's tokens? Send the text instead",
                    param=f"input[{index}][{position}]",
                )

    def _has_special_tokens(self, ids: Sequence[int]) -> bool:
        num_prefix, num_suffix = len(self._prefix), len(self._suffix)
        return (
            len(ids) >= num_prefix + num_suffix
            and list(ids[:num_prefix]) == self._prefix
            and list(ids[len(ids) - num_suffix :]) == self._suffix
        )

    def _prepare(self, text: str) -> str:
        return text.lower() if self._lowercase else text

    def _count_prompt(self, prompt: str) -> int:
        if not prompt:
            return 0
        ids = self._tokenizer.encode(self._prepare(prompt), add_special_tokens=self._add_special_tokens).ids
        return len(ids) - len(self._suffix)

    def _checked(
        self, input_ids: NDArray[np.int32], index: int, num_prompt_tokens: int, *, truncate: bool
    ) -> TokenizedText:
        num_tokens = len(input_ids)
        if self._dropped_id is not None:
            input_ids = input_ids[input_ids != self._dropped_id]
        if self._knows_ids_beyond:
            self._refuse_beyond(input_ids, index)
        if len(input_ids) > self._max_tokens:
            if not truncate:
                raise self._too_long(index, str(num_tokens))
            suffix = np.array(self._suffix, np.int32)
            input_ids = np.concatenate([input_ids[: self._max_tokens - len(suffix)], suffix])
        return TokenizedText(input_ids, num_prompt_tokens, num_tokens)

    def _refuse_beyond(self, ids: Sequence[int] | NDArray[np.int32], index: int) -> None:
        largest = max(ids, default=0)
        if largest >= self._vocab_size:
            raise InvalidRequestError(
                f"input[{index}] holds a special token, id {largest}, that this model has no embedding for (its "
                f"vocabulary ends at {self._vocab_size - 1}); remove it from the text",
                param=f"input[{index}]",
            )

    def _too_long(self, index: int, length: str) -> InvalidRequestError:
        return InvalidRequestError(
            f"input[{index}] is {length} tokens long, special tokens included; this model's limit is "
            f"{self._max_tokens}. Nothing is cut silently: split the text or shorten it",
            param=f"input[{index}]",
        )


def _length_of(row: TokenizedText, max_tokens: int) -> int:
    """Return how many tokens a text has that may have been cut to the most that the model takes."""
    num_tokens = len(row.input_ids)
    return row.num_tokens_before_cut if num_tokens == max_tokens else num_tokens


def read_tokenizer(path: Path, *, is_foreign: bool = False) -> tuple[Tokenizer, int]:
    """Read a tokenizer.json; also return how many times as long its normalizers may make a text, 1 where that is trusted.

    Raises: ModelError if it is missing, too large, or none, or if a stranger's does what only the operator's may.
    """
    if not path.is_file():
        raise ModelError(
            f"{path.parent.name} has no tokenizer.json; make it with transformers: "
            "AutoTokenizer.from_pretrained(folder).save_pretrained(folder)"
        )
    if path.stat().st_size > MAX_TOKENIZER_BYTES:
        raise ModelError(f"tokenizer.json is larger than {MAX_TOKENIZER_BYTES} bytes")
    with _readable_errors():
        if is_foreign:
            checked = read_checked(path)
            return Tokenizer.from_str(checked.content.decode()), checked.growth
        return Tokenizer.from_str(path.read_text(encoding="utf-8")), 1


@contextlib.contextmanager
def _panics_told() -> Iterator[None]:
    """Turn a panic of `tokenizers` over a text into an error of the request."""
    try:
        yield
    except BaseException as error:
        if not _is_panic(error):
            raise
        raise InvalidRequestError(
            f"this model's tokenizer cannot take the input: {error}; shorten or change it", param="input"
        ) from error


def _is_panic(error: BaseException) -> bool:
    # NOTE: what panics in Rust arrives as a PanicException, which is no Exception and cannot be imported.
    return not isinstance(error, Exception) and type(error).__name__ == "PanicException"


@contextlib.contextmanager
def _readable_errors() -> Iterator[None]:
    """Turn whatever `tokenizers` raises while a tokenizer is made and tried into a ModelError."""
    try:
        yield
    except ModelError:
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and not _is_panic(error):
            raise
        raise ModelError(f"tokenizer.json cannot be used: {error}; fetch the model's files again") from error


def _unknown_id(tokenizer: Tokenizer) -> int | None:
    """Return the id of unknown words: by name in most vocabularies, by number in unigram ones."""
    token = getattr(tokenizer.model, "unk_token", None)
    if token is not None:
        unknown: int | None = tokenizer.token_to_id(token)
        return unknown
    found: int | None = orjson.loads(tokenizer.to_str())["model"].get("unk_id")
    return found


def _not_unicode(texts: Sequence[str], first_index: int) -> InvalidRequestError:
    for index, text in enumerate(texts, first_index):
        try:
            text.encode()
        except UnicodeEncodeError as error:
            return InvalidRequestError(
                f"input[{index}] holds a lone surrogate at character {error.start}, which is not valid Unicode; "
                "repair or remove it",
                param=f"input[{index}]",
            )
    return InvalidRequestError("input must be text", param="input")
