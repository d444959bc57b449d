"""Tokenizers of strangers: what could take all memory or time is refused by its name; what models are published with is not."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from string import punctuation
from typing import Any, Final

import pytest
from tokenizers import Tokenizer

from embergate.engine.loading.loader import SourceOptions, find_model
from embergate.engine.loading.spec import ModelSpec
from embergate.engine.loading.text_growth import TextGrowth
from embergate.engine.loading.tokenizer_json import check_tokenizer, read_checked
from embergate.engine.loading.tokenizer_patterns import PUBLISHED, is_linear
from embergate.engine.tokenization import TextTokenizer
from embergate.errors import InvalidRequestError, ModelError
from tests.loaded import found_model
from tests.random_models import ARCHITECTURES, Case, cases_of

MINILM: Final = "sentence-transformers/all-MiniLM-L6-v2"
QWEN_PATTERN: Final = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> ModelSpec:
    return found_model(tmp_path_factory.mktemp("foreign") / "bert").spec


def opened(spec: ModelSpec, folder: Path, changes: dict[str, Any], *, is_foreign: bool = True) -> TextTokenizer:
    """Return a stranger's BERT tokenizer with some parts changed."""
    values = json.loads((spec.folder / "tokenizer.json").read_text())
    for key, value in changes.items():
        values[key] = {**values["model"], **value} if key == "model" else value
    folder.mkdir(exist_ok=True)
    (folder / "tokenizer.json").write_text(json.dumps(values))
    return TextTokenizer(replace(spec, folder=folder, is_foreign=is_foreign))


def replacement(pattern: dict[str, str], content: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": pattern, "content": content}


def sequence(*normalizers: dict[str, Any]) -> dict[str, Any]:
    return {"type": "Sequence", "normalizers": list(normalizers)}


def in_sequence(*pre_tokenizers: dict[str, Any]) -> dict[str, Any]:
    return {"type": "Sequence", "pretokenizers": list(pre_tokenizers)}


def split(regex: str) -> dict[str, Any]:
    return {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": False}


def charsmap(*texts: bytes) -> dict[str, Any]:
    content = struct.pack("<I", 4) + bytes(4) + b"\0".join(texts) + b"\0"
    return {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(content).decode()}


def template(*pieces: dict[str, Any], ids: int = 1) -> dict[str, Any]:
    token = {"id": "[CLS]", "ids": [2] * ids, "tokens": ["[CLS]"] * ids}
    return {"type": "TemplateProcessing", "single": list(pieces), "pair": [], "special_tokens": {"[CLS]": token}}


def nested(depth: int) -> dict[str, Any]:
    return sequence(nested(depth - 1)) if depth else {"type": "NFC"}


CLS: Final = {"SpecialToken": {"id": "[CLS]", "type_id": 0}}
TEXT: Final = {"Sequence": {"id": "A", "type_id": 0}}
DOUBLING: Final = replacement({"String": "z"}, "zz")
BYTES: Final = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
WORDS: Final = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
HOSTILE: dict[str, tuple[dict[str, Any], str]] = {
    "25 replacements that double": ({"normalizer": sequence(*[DOUBLING] * 25)}, "its normalizer can make a text"),
    "two that feed each other": (
        {"normalizer": sequence(*[DOUBLING, replacement({"String": "zz"}, "zzz")] * 10)},
        "its normalizer can make a text",
    ),
    "one that is long": ({"normalizer": replacement({"String": "z"}, "z" * 65)}, "content is longer"),
    "a class that grows": (
        {"normalizer": sequence(*[replacement({"Regex": "[a-z]+"}, "z" * 64)] * 3)},
        "its normalizer can make a text",
    ),
    "a map of characters to books": ({"normalizer": charsmap(b"x" * 5000)}, "its normalizer can make a text"),
    "a chain of prefixes": (
        {"normalizer": sequence(*[{"type": "Prepend", "prepend": "x" * 64}] * 2)},
        "its normalizer can make a text",
    ),
    "bytes of bytes": ({"pre_tokenizer": in_sequence(*[BYTES] * 20)}, "its pre_tokenizer can make a text"),
    "a cubic pattern": ({"pre_tokenizer": split("a*a*$")}, "pre_tokenizer (Split): the Regex 'a*a*$'"),
    "an exponential pattern": ({"pre_tokenizer": split("(?:a|a)+$")}, "the Regex"),
    "a quadratic pattern": ({"normalizer": replacement({"Regex": r"\s+x"}, "")}, "normalizer (Replace): the Regex"),
    "a pattern that finds nothing everywhere": ({"normalizer": replacement({"Regex": "z*"}, "zz")}, "the Regex"),
    "the same in a sequence": (
        {"pre_tokenizer": in_sequence(WORDS, split(r"(\w+)\s\1"))},
        "pre_tokenizer 1 (Split): the Regex",
    ),
    "a sequence too deep": ({"normalizer": nested(5)}, "4 levels deep"),
    "too many components": ({"normalizer": sequence(*[{"type": "NFC"}] * 65)}, "at most 64 normalizers"),
    "many in sequences of many": (
        {"normalizer": sequence(*[sequence(*[{"type": "Strip"}] * 33)] * 2)},
        "more than 64 normalizers",
    ),
    "an unknown normalizer": ({"normalizer": {"type": "Magic"}}, "normalizer (Magic) is not supported"),
    "a pre-tokenizer without a type": (
        {"pre_tokenizer": {"pattern": "x"}},
        "pre_tokenizer must be an object with a type",
    ),
    "words without an end": ({"model": {"max_input_chars_per_word": 10**6}}, "max_input_chars_per_word is 1000000"),
    "a prefix without an end": ({"model": {"continuing_subword_prefix": "#" * 65}}, "continuing_subword_prefix"),
    "pieces without an end": (
        {"model": {"type": "Unigram", "vocab": [["a" * length, -1.0] for length in range(1, 98)]}},
        "piece 96 of vocab has more than 96 bytes",
    ),
    "tokens by chance": ({"model": {"type": "BPE", "merges": [], "dropout": 0.5}}, "dropout"),
    "special tokens without number": ({"post_processor": template(CLS, TEXT, ids=33)}, "adds 33 tokens to every text"),
    "the text twice": ({"post_processor": template(CLS, TEXT, TEXT)}, "is 2 times"),
    "no text": ({"post_processor": template(CLS)}, "is 0 times"),
    "templates of templates": (
        {"post_processor": {"type": "Sequence", "processors": [template(CLS, TEXT, ids=20)] * 2}},
        "adds 40 tokens to every text",
    ),
    "added tokens without number": (
        {"added_tokens": [{"id": 0, "content": f"<{number}>"} for number in range(10_001)]},
        "at most 10000 tokens",
    ),
    "added tokens that are a book": (
        {"added_tokens": [{"id": 0, "content": f"{number:0256}"} for number in range(2049)]},
        "more than 524288 characters together",
    ),
    "a tree of pieces": (
        {"model": {"type": "Unigram", "vocab": [[f"{number:05}".ljust(96, "x"), -1.0] for number in range(23_100)]}},
        "beginnings that differ",
    ),
    "an added token without an end": ({"added_tokens": [{"id": 0, "content": "x" * 257}]}, "added token 0 must be"),
    "an option that is a book": (
        {"pre_tokenizer": {"type": "CharDelimiterSplit", "delimiter": ["x"] * 1000}},
        "delimiter is longer or deeper",
    ),
}


@pytest.mark.parametrize(("changes", "said"), HOSTILE.values(), ids=HOSTILE.keys())
def test_component_that_could_take_all_memory_or_time_is_named(
    spec: ModelSpec, tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(ModelError) as caught:
        opened(spec, tmp_path, changes)
    assert caught.value.message.startswith("tokenizer.json")
    assert said in caught.value.message


def test_truncation_and_padding_of_the_file_are_not_even_read(spec: ModelSpec, tmp_path: Path) -> None:
    tokenizer = opened(spec, tmp_path, {"truncation": {"max_length": "x"}, "padding": 5, "decoder": {"type": "Magic"}})
    assert len(tokenizer.encode_texts(["the fox"])[0].input_ids) == 4


def test_key_that_is_there_twice_means_the_same_to_the_check_and_the_library(spec: ModelSpec, tmp_path: Path) -> None:
    opened(spec, tmp_path, {})
    path = tmp_path / "tokenizer.json"
    hostile = json.dumps(sequence(*[DOUBLING] * 25))
    path.write_text(f'{{"normalizer": {hostile}, {path.read_text()[1:]}')
    tokenizer = TextTokenizer(replace(spec, folder=tmp_path, is_foreign=True))
    assert len(tokenizer.encode_texts(["z"])[0].input_ids) == 3


def test_file_of_more_lists_than_any_is_refused_unparsed(spec: ModelSpec, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_bytes(b"[" * ((4 << 20) + 1))
    with pytest.raises(ModelError, match="more than 4194304 lists and objects"):
        TextTokenizer(replace(spec, folder=tmp_path, is_foreign=True))


def test_text_that_a_permitted_normalizer_makes_much_of_is_refused_and_others_are_not(
    spec: ModelSpec, tmp_path: Path
) -> None:
    tokenizer = opened(spec, tmp_path, {"normalizer": sequence(*[DOUBLING] * 12)})
    assert len(tokenizer.encode_texts(["the fox"])[0].input_ids) == 4
    for call in (tokenizer.encode_texts, tokenizer.count):
        with pytest.raises(InvalidRequestError, match="times as long by this model's normalizer") as caught:
            call(["the fox", "z" * 1000])
        assert caught.value.param == "input[1]"


def test_panic_of_the_library_over_a_text_is_an_error_of_the_request(spec: ModelSpec, tmp_path: Path) -> None:
    tokenizer = opened(spec, tmp_path, {"pre_tokenizer": split("(?:a|a)+$")}, is_foreign=False)
    for call in (tokenizer.encode_texts, tokenizer.count):
        with pytest.raises(InvalidRequestError, match="retry-limit-in-match over"):
            call(["a" * 40 + "b"])
    assert len(tokenizer.encode_texts(["the"])[0].input_ids) == 3


# --- what models are published with -------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", [cases_of(name)[0] for name in ARCHITECTURES], ids=ARCHITECTURES)
def test_random_models_of_every_kind_pass_and_keep_their_tokens(tmp_path: Path, case: Case) -> None:
    spec = found_model(tmp_path / "model", case).spec
    trusted, foreign = TextTokenizer(spec), TextTokenizer(replace(spec, is_foreign=True))
    texts = ["The quick brown fox!", "日本 été 123", "  two   spaces\n", ""]
    assert [row.input_ids.tolist() for row in foreign.encode_texts(texts)] == [
        row.input_ids.tolist() for row in trusted.encode_texts(texts)
    ]


def test_published_tokenizer_passes(tmp_path: Path) -> None:
    spec = find_model(MINILM, SourceOptions(offline=True)).spec
    checked = read_checked(spec.folder / "tokenizer.json")
    assert checked.growth == 6
    assert Tokenizer.from_str(checked.content.decode()).get_vocab_size() == 30522


# As the converters of transformers 5 and model2vec write them.
COMPONENTS: dict[str, tuple[str, Any]] = {
    "XLM-RoBERTa": ("normalizer", sequence(charsmap(b"x" * 33), replacement({"Regex": " {2,}"}, " "))),
    "ALBERT": (
        "normalizer",
        sequence(
            replacement({"String": "``"}, '"'),
            replacement({"String": "''"}, '"'),
            {"type": "NFKD"},
            {"type": "StripAccents"},
            {"type": "Lowercase"},
            charsmap(b"x" * 33),
            replacement({"Regex": " {2,}"}, " "),
        ),
    ),
    "Llama 2 and Mistral": (
        "normalizer",
        sequence({"type": "Prepend", "prepend": "▁"}, replacement({"String": " "}, "▁")),
    ),
    "Gemma": ("normalizer", replacement({"String": " "}, "▁")),
    "CLIP": ("normalizer", sequence({"type": "NFC"}, replacement({"Regex": r"\s+"}, " "), {"type": "Lowercase"})),
    "model2vec": (
        "normalizer",
        sequence(
            {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None},
            *(replacement({"String": sign}, f" {sign} ") for sign in punctuation),
            replacement({"Regex": r"\s+"}, " "),
            {"type": "Strip", "strip_left": False, "strip_right": True},
        ),
    ),
    "T5": ("pre_tokenizer", in_sequence({"type": "WhitespaceSplit"}, WORDS)),
    "Qwen": ("pre_tokenizer", in_sequence(split(QWEN_PATTERN), BYTES)),
    "Falcon": (
        "pre_tokenizer",
        in_sequence(
            {"type": "Punctuation", "behavior": "Contiguous"},
            {**BYTES, "use_regex": True},
            {"type": "Digits", "individual_digits": False},
            split("[0-9][0-9][0-9]"),
        ),
    ),
    "Llama 3": (
        "post_processor",
        {"type": "Sequence", "processors": [{"type": "ByteLevel", "trim_offsets": False}, template(CLS, TEXT)]},
    ),
    "RoBERTa": (
        "post_processor",
        {"type": "RobertaProcessing", "sep": ["</s>", 2], "cls": ["<s>", 0], "trim_offsets": True},
    ),
}


@pytest.mark.parametrize(("part", "component"), COMPONENTS.values(), ids=COMPONENTS.keys())
def test_components_of_published_tokenizers_pass(part: str, component: Any) -> None:
    model = {"vocab": {"[UNK]": 0}, "unk_token": "[UNK]", "max_input_chars_per_word": 100}
    checked = check_tokenizer({part: component, "model": model})
    assert json.loads(checked.content)["model"]["type"] == "WordPiece"


@pytest.mark.parametrize("pattern", sorted(PUBLISHED))
def test_published_patterns_are_none_that_the_library_refuses(pattern: str) -> None:
    assert is_linear(pattern)
    values = {"model": {"vocab": {"u": 0}, "unk_token": "u"}, "pre_tokenizer": split(pattern)}
    tokenizer = Tokenizer.from_str(check_tokenizer(values).content.decode())
    for hostile in ("a" * 20_000, " " * 20_000 + "x", "A" * 20_000, "'" * 20_000, "1" * 20_000):
        tokenizer.encode(hostile)


@pytest.mark.parametrize(
    "pattern",
    [r"\s+", " {2,}", "[^a-z]+", r"\p{L}", r"\s{2,}|[\n\r\t]", "[0-9][0-9][0-9]", r"\s?\p{L}+", "[\\]^\\\\-]+"],
)
def test_classes_with_one_repetition_at_the_end_are_linear(pattern: str) -> None:
    assert is_linear(pattern)


@pytest.mark.parametrize(
    "pattern",
    [
        "",
        "a*",
        "a?",
        "a+b",
        "a+b+",
        "(a+)+",
        "a{2}{3}",
        "(?=a)",
        r"(a)\1",
        "a|",
        "[a&&b]",
        "^a",
        "a$",
        "a{0,}",
        "a+?",
        "a++",
    ],
)
def test_other_patterns_are_not_taken_for_linear(pattern: str) -> None:
    assert not is_linear(pattern)


@pytest.mark.parametrize(
    "pattern", ["[[:alpha:]]", r"\X", r"\b", "a{100,}", "x" * 10_001], ids=lambda pattern: pattern[:20]
)
def test_unknown_and_endless_patterns_are_not_taken_for_linear(pattern: str) -> None:
    assert not is_linear(pattern)


@pytest.mark.parametrize(
    ("steps", "most"),
    [
        ([], 1),
        ([lambda growth: growth.replace("z", "zz")] * 3, 8),
        ([lambda growth: growth.replace("a", "bb"), lambda growth: growth.replace("b", "aa")], 4),
        ([lambda growth, sign=sign: growth.replace(sign, f" {sign} ") for sign in punctuation], 3),
        ([lambda growth: growth.replace(" ", "▁")], 3),
        ([lambda growth: growth.replace("ab", "abab"), lambda growth: growth.replace("ab", "abab")], 4),
        ([lambda growth: growth.times(11), lambda growth: growth.times(33)], 363),
        ([lambda growth: growth.prepend("▁"), lambda growth: growth.prepend("▁")], 16),
        ([lambda growth: growth.replace_all("xx"), lambda growth: growth.replace("x", "yyy")], 6),
    ],
)
def test_growth_is_reckoned_through_the_chain(steps: list[Callable[[TextGrowth], None]], most: int) -> None:
    growth = TextGrowth()
    for step in reversed(steps):
        step(growth)
    assert growth.most() == most
