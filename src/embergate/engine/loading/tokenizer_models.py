"""The model in a stranger's tokenizer.json, that which turns words into tokens: its kinds, and bounds on what each costs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any, Final

from embergate.errors import ModelError

SOURCE: Final = "tokenizer.json: model"
MAX_TOKENS: Final = 1 << 20  # XLM-V has 900,000
MAX_MERGES: Final = 2 << 20
MAX_MARK_CHARACTERS: Final = 64
# WordPiece looks up every part of a word, the square of this many; all published files have 100.
MAX_WORD_CHARACTERS: Final = 200
# A unigram model looks at so much at every place of a text; SentencePiece's own limit is 16 characters.
MAX_PIECE_BYTES: Final = 96
# Each node of the tree that the library makes of the pieces takes 300 bytes; XLM-RoBERTa has about a million.
MAX_NODES: Final = 2 << 20
MARKS: Final = ("unk_token", "continuing_subword_prefix", "end_of_word_suffix")


def check_model(model: Any) -> dict[str, Any]:
    """Return the model of a tokenizer.json with its kind named. Raises: ModelError naming what is refused."""
    if not isinstance(model, dict):
        raise ModelError(f"{SOURCE} must be an object")
    kind = model.get("type", _kind_of(model))
    if kind not in CHECKS:
        raise ModelError(
            f"{SOURCE} cannot be used: its type is {repr(kind)[:80]}, and these are supported: {', '.join(CHECKS)}"
        )
    for key in MARKS:
        mark = model.get(key)
        if mark is not None and (not isinstance(mark, str) or len(mark) > MAX_MARK_CHARACTERS):
            raise ModelError(f"{SOURCE} ({kind}): {key} must be a string of at most {MAX_MARK_CHARACTERS} characters")
    vocab = model.get("vocab")
    if not isinstance(vocab, list if kind == "Unigram" else dict) or len(vocab) > MAX_TOKENS:
        raise ModelError(f"{SOURCE} ({kind}): vocab must hold at most {MAX_TOKENS} tokens")
    CHECKS[kind](model)
    return {**model, "type": kind}


def _kind_of(model: Mapping[str, Any]) -> str:
    """Return the kind of a model that does not say it, as files of 2020 do not."""
    if "merges" in model:
        return "BPE"
    if isinstance(model.get("vocab"), list):
        return "Unigram"
    return "WordPiece" if "max_input_chars_per_word" in model else "WordLevel"


def _check_bpe(model: Mapping[str, Any]) -> None:
    merges = model.get("merges")
    if not isinstance(merges, list) or len(merges) > MAX_MERGES:
        raise ModelError(f"{SOURCE} (BPE): merges must be a list of at most {MAX_MERGES}")
    if model.get("dropout"):
        raise ModelError(f"{SOURCE} (BPE): dropout gives other tokens of the same text each time; set it to null")


def _check_wordpiece(model: Mapping[str, Any]) -> None:
    longest = model.get("max_input_chars_per_word", 100)
    if type(longest) is not int or not 1 <= longest <= MAX_WORD_CHARACTERS:
        raise ModelError(
            f"{SOURCE} (WordPiece): max_input_chars_per_word is {repr(longest)[:80]}, expected 1 to {MAX_WORD_CHARACTERS}"
        )


def _check_unigram(model: Mapping[str, Any]) -> None:
    pieces = []
    for index, piece in enumerate(model["vocab"]):
        if not isinstance(piece, list) or len(piece) != 2 or not isinstance(piece[0], str):
            raise ModelError(f"{SOURCE} (Unigram): piece {index} of vocab must be a text and its score")
        pieces.append(piece[0].encode("utf-8", "surrogatepass"))
        if len(pieces[-1]) > MAX_PIECE_BYTES:
            raise ModelError(f"{SOURCE} (Unigram): piece {index} of vocab has more than {MAX_PIECE_BYTES} bytes")
    pieces.sort()
    num_nodes = sum(len(piece) - _num_common(before, piece) for before, piece in pairwise([b"", *pieces]))
    if num_nodes > MAX_NODES:
        raise ModelError(
            f"{SOURCE} (Unigram): the pieces of vocab have {num_nodes} beginnings that differ, more than {MAX_NODES}"
        )


def _num_common(one: bytes, other: bytes) -> int:
    """Return how many bytes two texts begin with alike."""
    shorter = min(len(one), len(other))
    return next((place for place in range(shorter) if one[place] != other[place]), shorter)


def _check_wordlevel(_model: Mapping[str, Any]) -> None:
    """Look at nothing more: a word is looked up, and that is all."""


CHECKS: Final[Mapping[str, Callable[[Mapping[str, Any]], None]]] = {
    "BPE": _check_bpe,
    "WordPiece": _check_wordpiece,
    "Unigram": _check_unigram,
    "WordLevel": _check_wordlevel,
}
