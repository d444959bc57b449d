"""A stranger's tokenizer.json: which of its components may be run, and by how much they may lengthen a text.

The library runs whatever a file asks for, in calls that cannot be stopped. What is not known here to take little more time
and memory than the text is refused, by the name of the component. What is run is written anew from what was read: no
second reader of the file sees something else in it.

Source: https://github.com/huggingface/tokenizers (v0.23)
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson

from embergate.engine.loading.config_reader import parse_json
from embergate.engine.loading.text_growth import MAX_GROWTH, TextGrowth
from embergate.engine.loading.tokenizer_models import check_model
from embergate.engine.loading.tokenizer_patterns import is_linear
from embergate.errors import ModelError

SOURCE: Final = "tokenizer.json"
# The largest published ones have some 35 MB. As Python's objects a file takes up to twelve times its size.
MAX_BYTES: Final = 48 << 20
# Lists and objects in it: a vocabulary of a million pieces has as many.
MAX_NESTED: Final = 4 << 20
MAX_COMPONENTS: Final = 64  # model2vec writes 35 normalizers
MAX_DEPTH: Final = 4
MAX_KEYS: Final = 16
MAX_TEXT: Final = 64
MAX_ADDED_TOKENS: Final = 10_000  # Gemma has 6,000
MAX_ADDED_CHARACTERS: Final = 256
MAX_ADDED_TOGETHER: Final = 1 << 19
MAX_SPECIAL_TOKENS: Final = 32
MAX_CHARSMAP_CHARACTERS: Final = 2 << 20  # SentencePiece's own have 320,000
# How many times longer the UTF-8 of a text may become.
# Source: https://unicode.org/faq/normalization.html, "maximum expansion factor"
NORMALIZERS: Final[Mapping[str, int]] = {
    "BertNormalizer": 6,
    "ByteLevel": 2,
    "Lowercase": 2,
    "NFC": 3,
    "NFD": 3,
    "NFKC": 11,
    "NFKD": 11,
    "Nmt": 1,
    "Strip": 1,
    "StripAccents": 1,
}
PRE_TOKENIZERS: Final = frozenset(
    {
        "BertPreTokenizer",
        "ByteLevel",
        "CharDelimiterSplit",
        "Digits",
        "FixedLength",
        "Metaspace",
        "Punctuation",
        "Split",
        "UnicodeScripts",
        "Whitespace",
        "WhitespaceSplit",
    }
)
POST_PROCESSORS: Final = frozenset({"BertProcessing", "ByteLevel", "RobertaProcessing", "TemplateProcessing"})
MAX_PRE_TOKENIZER_GROWTH: Final = 8


@dataclass(frozen=True, slots=True)
class CheckedTokenizer:
    """A tokenizer.json as the library may read it, and the most that its normalizers lengthen a text by."""

    content: bytes
    growth: int


def read_checked(path: Path) -> CheckedTokenizer:
    """Read and check a file that is there. Raises: ModelError naming the component that is refused."""
    if path.stat().st_size > MAX_BYTES:
        raise ModelError(f"{SOURCE} is larger than {MAX_BYTES} bytes, which no model's is; fetch it again")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{SOURCE} cannot be read: {error.strerror}") from error
    if content.count(b"[") + content.count(b"{") > MAX_NESTED:
        raise ModelError(f"{SOURCE} holds more than {MAX_NESTED} lists and objects, which no model's does")
    return check_tokenizer(parse_json(content, SOURCE, max_bytes=MAX_BYTES))


def check_tokenizer(values: Any) -> CheckedTokenizer:
    """Check what a tokenizer.json says. Raises: ModelError naming the component that is refused."""
    if not isinstance(values, dict):
        raise ModelError(f"{SOURCE} must hold a JSON object")
    normalizers = list(_flat(values.get("normalizer"), "normalizer", "normalizers"))
    pre_tokenizers = list(_flat(values.get("pre_tokenizer"), "pre_tokenizer", "pretokenizers"))
    post_processors = list(_flat(values.get("post_processor"), "post_processor", "processors"))
    growth = TextGrowth()
    for place, component in reversed(pre_tokenizers):
        growth.times(_pre_tokenizer_growth(place, component))
    if growth.most() > MAX_PRE_TOKENIZER_GROWTH:
        raise ModelError(f"{SOURCE}: its pre_tokenizer can make a text {growth.most()} times as long")
    for place, component in reversed(normalizers):
        _note_normalizer(place, component, growth)
    if growth.most() > MAX_GROWTH:
        raise ModelError(
            f"{SOURCE}: its normalizer can make a text more than {MAX_GROWTH} times as long, and no published one does"
        )
    num_special_tokens = sum(_num_special_tokens(place, component) for place, component in post_processors)
    if num_special_tokens > MAX_SPECIAL_TOKENS:
        raise ModelError(
            f"{SOURCE}: post_processor adds {num_special_tokens} tokens to every text, more than {MAX_SPECIAL_TOKENS}"
        )
    checked = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": _added_tokens(values.get("added_tokens")),
        "normalizer": values.get("normalizer"),
        "pre_tokenizer": values.get("pre_tokenizer"),
        "post_processor": values.get("post_processor"),
        "decoder": None,
        "model": check_model(values.get("model")),
    }
    return CheckedTokenizer(orjson.dumps(checked), growth.most())


def _flat(component: Any, place: str, members: str, depth: int = 0) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield components in their order, those of sequences one by one, with what errors call them."""
    if component is None and depth == 0:
        return
    if not isinstance(component, dict) or not isinstance(component.get("type"), str) or len(component) > MAX_KEYS:
        raise ModelError(f"{SOURCE}: {place} must be an object with a type")
    if component["type"] != "Sequence":
        yield f"{place} ({component['type'][:MAX_TEXT]})", component
        return
    listed = component.get(members)
    if not isinstance(listed, list) or len(listed) > MAX_COMPONENTS or depth == MAX_DEPTH:
        raise ModelError(f"{SOURCE}: {place} must list at most {MAX_COMPONENTS} {members}, {MAX_DEPTH} levels deep")
    num_found = 0
    for index, member in enumerate(listed):
        for found in _flat(member, f"{place} {index}", members, depth + 1):
            num_found += 1
            if num_found > MAX_COMPONENTS:
                raise ModelError(f"{SOURCE}: {place} has more than {MAX_COMPONENTS} {members}")
            yield found


def _check_scalars(place: str, component: Mapping[str, Any], *but: str) -> None:
    """Refuse whatever is not as short as the options of a component are, but for the keys that are looked at themselves."""
    for key, value in component.items():
        if key not in but and not _is_scalar(value):
            raise ModelError(f"{SOURCE}: {place}: {key[:MAX_TEXT]} is longer or deeper than any option")


def _is_scalar(value: Any) -> bool:
    return len(value) <= MAX_TEXT if isinstance(value, str) else value is None or isinstance(value, int | float)


def _note_normalizer(place: str, component: Mapping[str, Any], growth: TextGrowth) -> None:
    kind = component["type"]
    if kind == "Replace":
        _check_scalars(place, component, "pattern")
        content = component.get("content")
        if not isinstance(content, str):
            raise ModelError(f"{SOURCE}: {place}: content must be a string")
        literal = _literal_of(place, component)
        growth.replace_all(content) if literal is None else growth.replace(literal, content)
    elif kind == "Prepend":
        _check_scalars(place, component)
        growth.prepend(str(component.get("prepend")))
    elif kind == "Precompiled":
        _check_scalars(place, component, "precompiled_charsmap")
        growth.times(_longest_of_charsmap(place, component.get("precompiled_charsmap")))
    elif kind in NORMALIZERS:
        _check_scalars(place, component)
        growth.times(NORMALIZERS[kind])
    else:
        known = ", ".join(sorted({*NORMALIZERS, "Replace", "Prepend", "Precompiled"}))
        raise ModelError(f"{SOURCE}: {place} is not supported; these are: {known}")


def _literal_of(place: str, component: Mapping[str, Any]) -> str | None:
    """Return the text that a component looks for, None if it is a pattern. Raises: ModelError for a slow one."""
    pattern = component.get("pattern")
    kind, text = next(iter(pattern.items())) if isinstance(pattern, dict) and len(pattern) == 1 else (None, None)
    if kind not in {"String", "Regex"} or not isinstance(text, str) or not text:
        raise ModelError(f"{SOURCE}: {place}: pattern must be an object with a String or a Regex")
    if kind == "String":
        if len(text) > MAX_TEXT:
            raise ModelError(f"{SOURCE}: {place}: pattern has more than {MAX_TEXT} characters")
        return text
    if not is_linear(text):
        raise ModelError(
            f"{SOURCE}: {place}: the Regex {text[:80]!r} is none that models are published with, and may take very long; use "
            "one of theirs, or classes of characters with a + behind"
        )
    return None


def _longest_of_charsmap(place: str, charsmap: Any) -> int:
    """Return the length in bytes of the longest text that a map of SentencePiece puts for a character.

    Source: https://github.com/google/sentencepiece (v0.2), normalizer.cc: the size of a trie, the trie, texts that end in 0.
    """
    if not isinstance(charsmap, str) or len(charsmap) > MAX_CHARSMAP_CHARACTERS:
        raise ModelError(
            f"{SOURCE}: {place}: precompiled_charsmap must be {MAX_CHARSMAP_CHARACTERS} characters at most"
        )
    try:
        content = base64.b64decode(charsmap, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ModelError(f"{SOURCE}: {place}: precompiled_charsmap is not base64") from error
    texts = content[4 + int.from_bytes(content[:4], "little") :]
    return max(map(len, texts.split(b"\0")), default=0) or 1


def _pre_tokenizer_growth(place: str, component: Mapping[str, Any]) -> int:
    kind = component["type"]
    if kind not in PRE_TOKENIZERS:
        raise ModelError(f"{SOURCE}: {place} is not supported; these are: {', '.join(sorted(PRE_TOKENIZERS))}")
    _check_scalars(place, component, *(("pattern",) if kind == "Split" else ()))
    if kind == "Split":
        _literal_of(place, component)
    if kind == "ByteLevel":  # each byte of a text becomes a character of one or two
        return 4 if component.get("add_prefix_space", True) else 2
    return 4 if kind == "Metaspace" else 1


def _num_special_tokens(place: str, component: Mapping[str, Any]) -> int:
    """Return how many tokens a post-processor puts around a text."""
    kind = component["type"]
    if kind not in POST_PROCESSORS:
        raise ModelError(f"{SOURCE}: {place} is not supported; these are: {', '.join(sorted(POST_PROCESSORS))}")
    if kind == "TemplateProcessing":
        return _num_of_template(place, component)
    _check_scalars(place, component, "sep", "cls")
    for key in ("sep", "cls"):
        token = component.get(key, [])
        if not isinstance(token, list) or len(token) > 2 or not all(map(_is_scalar, token)):
            raise ModelError(f"{SOURCE}: {place}: {key} must be a token and its id")
    return 0 if kind == "ByteLevel" else 2


def _num_of_template(place: str, component: Mapping[str, Any]) -> int:
    single, tokens = component.get("single"), component.get("special_tokens")
    pieces_are_few = all(
        isinstance(component.get(key), list) and len(component[key]) <= 2 * MAX_SPECIAL_TOKENS
        for key in ("single", "pair")
    )
    if not pieces_are_few or not isinstance(tokens, dict) or len(tokens) > MAX_SPECIAL_TOKENS:
        raise ModelError(
            f"{SOURCE}: {place}: it must list at most {MAX_SPECIAL_TOKENS} special tokens and a text or two"
        )
    assert isinstance(single, list), "it was just looked at. This is a bug."
    num_texts = num_tokens = 0
    for piece in single:
        named = piece.get("SpecialToken") if isinstance(piece, dict) else None
        if named is None:
            num_texts += 1
            continue
        token = tokens.get(named.get("id")) if isinstance(named, dict) and isinstance(named.get("id"), str) else None
        ids = token.get("ids") if isinstance(token, dict) else None
        if not isinstance(ids, list):
            raise ModelError(f"{SOURCE}: {place} cannot be used: it names a special token that it does not describe")
        num_tokens += len(ids)
    if num_texts != 1:
        raise ModelError(
            f"{SOURCE}: {place} cannot be used: a single text must be in it once, and is {num_texts} times"
        )
    return num_tokens


def _added_tokens(tokens: Any) -> list[Any]:
    listed = [] if tokens is None else tokens
    if not isinstance(listed, list) or len(listed) > MAX_ADDED_TOKENS:
        raise ModelError(f"{SOURCE}: added_tokens must be a list of at most {MAX_ADDED_TOKENS} tokens")
    num_characters = 0
    for index, token in enumerate(listed):
        content = token.get("content") if isinstance(token, dict) and len(token) <= MAX_KEYS else None
        if not isinstance(content, str) or len(content) > MAX_ADDED_CHARACTERS:
            raise ModelError(
                f"{SOURCE}: added token {index} must be an object whose content has at most {MAX_ADDED_CHARACTERS} characters"
            )
        _check_scalars(f"added token {index}", token, "content")
        num_characters += len(content)
    if num_characters > MAX_ADDED_TOGETHER:
        raise ModelError(f"{SOURCE}: added_tokens have more than {MAX_ADDED_TOGETHER} characters together")
    return listed
