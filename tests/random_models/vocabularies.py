"""Tiny tokenizers of the four kinds that embedding models are published with, each with its family's special tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import BPE, Unigram, WordPiece

from tests.random_models.texts import WORDS

_LETTERS: Final = "abcdefghijklmnopqrstuvwxyz"
_SIGNS: Final = "0123456789!\"#$%&'()*+,-./:;=?[]_{}"
_ACCENTED: Final = "éïüöñ日本т"
_QWEN_PATTERN: Final = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """A tokenizer, and what tokenizer_config.json says of it."""

    tokenizer: Tokenizer
    config: dict[str, Any]

    @property
    def size(self) -> int:
        """How many rows the embedding table needs at least."""
        return self.tokenizer.get_vocab_size(with_added_tokens=True)

    def id_of(self, token: str) -> int:
        """The id of a token that must be there."""
        found = self.tokenizer.token_to_id(token)
        assert found is not None, token
        return int(found)


def _special(tokenizer: Tokenizer, tokens: tuple[str, ...], *, mask: str | None = None) -> None:
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in tokens])
    if mask is not None:
        tokenizer.add_special_tokens([AddedToken(mask, special=True, normalized=False, lstrip=True)])


def _template(tokenizer: Tokenizer, single: str, second: str, names: tuple[str, ...]) -> processors.TemplateProcessing:
    pairs = [(name, tokenizer.token_to_id(name)) for name in names]
    return processors.TemplateProcessing(single=single, pair=f"{single} {second}", special_tokens=pairs)


def _wordpieces(specials: tuple[str, ...]) -> dict[str, int]:
    signs = _LETTERS + _LETTERS.upper() + _SIGNS + _ACCENTED
    pieces = [*specials, *signs, *(f"##{sign}" for sign in signs), *WORDS, "The", "QUICK", "##ing", "##al", "##s"]
    return {piece: index for index, piece in enumerate(dict.fromkeys(pieces))}


def wordpiece(*, lowercase: bool = True, tokenizer_class: str = "BertTokenizer") -> Vocabulary:
    """BERT's: [CLS] text [SEP], lower case unless told otherwise."""
    specials = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
    tokenizer = Tokenizer(WordPiece(_wordpieces(specials), unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    _special(tokenizer, specials)
    tokenizer.post_processor = _template(tokenizer, "[CLS]:0 $A:0 [SEP]:0", "$B:1 [SEP]:1", ("[CLS]", "[SEP]"))
    config = {
        "do_lower_case": lowercase,
        "unk_token": "[UNK]",
        "sep_token": "[SEP]",
        "pad_token": "[PAD]",
        "cls_token": "[CLS]",
        "mask_token": "[MASK]",
        "tokenize_chinese_chars": True,
        "strip_accents": None,
        "tokenizer_class": tokenizer_class,
    }
    return Vocabulary(tokenizer, config)


def mpnet_wordpiece() -> Vocabulary:
    """MPNet's: WordPiece between RoBERTa's special tokens, padding is id 1."""
    specials = ("<s>", "<pad>", "</s>", "[UNK]", "<mask>")
    tokenizer = Tokenizer(WordPiece(_wordpieces(specials), unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    _special(tokenizer, specials[:-1], mask="<mask>")
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    config = {
        "bos_token": "<s>",
        "eos_token": "</s>",
        "sep_token": "</s>",
        "cls_token": "<s>",
        "unk_token": "[UNK]",
        "pad_token": "<pad>",
        "mask_token": "<mask>",
        "do_lower_case": True,
        "tokenize_chinese_chars": True,
        "strip_accents": None,
        "tokenizer_class": "MPNetTokenizer",
    }
    return Vocabulary(tokenizer, config)


def _byte_pairs(first: tuple[str, ...], words: tuple[str, ...] = WORDS) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """A vocabulary that begins with `first` and the 256 bytes; its merges build our words, letter by letter."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces = dict.fromkeys([*first, *alphabet])
    merges: dict[tuple[str, str], None] = {}
    for form in (form for word in words for form in (f"Ġ{word}", word)):
        left = form[0]
        for letter in form[1:]:
            merges[left, letter] = None
            left += letter
            pieces[left] = None
    return {piece: index for index, piece in enumerate(pieces)}, list(merges)


def roberta_bytes() -> Vocabulary:
    """RoBERTa's: byte-level BPE, <s> text </s>, padding is id 1, positions begin at 2."""
    vocabulary, merges = _byte_pairs(("<s>", "<pad>", "</s>", "<unk>"))
    tokenizer = Tokenizer(BPE(vocabulary, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=True)
    tokenizer.decoder = decoders.ByteLevel()
    _special(tokenizer, ("<s>", "<pad>", "</s>", "<unk>"), mask="<mask>")
    tokenizer.post_processor = processors.RobertaProcessing(
        ("</s>", 2), ("<s>", 0), trim_offsets=True, add_prefix_space=False
    )
    config = {
        "unk_token": "<unk>",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "add_prefix_space": False,
        "sep_token": "</s>",
        "cls_token": "<s>",
        "pad_token": "<pad>",
        "mask_token": "<mask>",
        "tokenizer_class": "RobertaTokenizer",
    }
    return Vocabulary(tokenizer, config)


def xlm_roberta_pieces() -> Vocabulary:
    """XLM-RoBERTa's: SentencePiece unigrams, <s> text </s>, padding is id 1."""
    pieces = ["<s>", "<pad>", "</s>", "<unk>", "▁", *(f"▁{word}" for word in WORDS)]
    pieces += [*_LETTERS, *_LETTERS.upper(), *_SIGNS, *_ACCENTED, "ing", "al", "er"]
    scored = [(piece, 0.0 if index < 4 else -2.0 - 0.01 * index) for index, piece in enumerate(dict.fromkeys(pieces))]
    tokenizer = Tokenizer(Unigram(scored, unk_id=3, byte_fallback=False))
    # NOTE: no normalizer: transformers 5 rebuilds this tokenizer and keeps only SentencePiece's own "Precompiled" one.
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")]
    )
    tokenizer.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="always")
    _special(tokenizer, ("<s>", "<pad>", "</s>", "<unk>"), mask="<mask>")
    tokenizer.post_processor = _template(tokenizer, "<s> $A </s>", "</s> $B </s>", ("<s>", "</s>"))
    config = {
        "bos_token": "<s>",
        "eos_token": "</s>",
        "sep_token": "</s>",
        "cls_token": "<s>",
        "unk_token": "<unk>",
        "pad_token": "<pad>",
        "mask_token": "<mask>",
        "tokenizer_class": "XLMRobertaTokenizer",
    }
    return Vocabulary(tokenizer, config)


def modernbert_bytes() -> Vocabulary:
    """ModernBERT's: byte-level BPE with BERT's special tokens at the end of the vocabulary."""
    vocabulary, merges = _byte_pairs(("<|endoftext|>", "<|padding|>"))
    tokenizer = Tokenizer(BPE(vocabulary, merges))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=True)
    tokenizer.decoder = decoders.ByteLevel()
    _special(tokenizer, ("<|endoftext|>", "<|padding|>", "[UNK]", "[CLS]", "[SEP]", "[PAD]"), mask="[MASK]")
    tokenizer.post_processor = _template(tokenizer, "[CLS]:0 $A:0 [SEP]:0", "$B:1 [SEP]:1", ("[CLS]", "[SEP]"))
    config = {
        "clean_up_tokenization_spaces": True,
        "cls_token": "[CLS]",
        "mask_token": "[MASK]",
        "model_input_names": ["input_ids", "attention_mask"],
        "pad_token": "[PAD]",
        "sep_token": "[SEP]",
        "unk_token": "[UNK]",
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    return Vocabulary(tokenizer, config)


def qwen_judge_bytes() -> Vocabulary:
    """Qwen's form for a judge, whose verdicts are tokens of their own, and so is the mark of its thoughts."""
    vocabulary = qwen_bytes((*WORDS, "yes"))
    vocabulary.tokenizer.add_tokens(["<think>", "</think>"])
    vocabulary.tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    return vocabulary


def qwen_bytes(words: tuple[str, ...] = WORDS) -> Vocabulary:
    """Qwen's embedding form: byte-level BPE, text <|endoftext|>, padded on the left by the same token."""
    vocabulary, merges = _byte_pairs((), words)
    tokenizer = Tokenizer(BPE(vocabulary, merges))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_QWEN_PATTERN), behavior="isolated", invert=False),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    _special(tokenizer, ("<|endoftext|>", "<|im_start|>", "<|im_end|>"))
    end = [("<|endoftext|>", tokenizer.token_to_id("<|endoftext|>"))]
    template = processors.TemplateProcessing(
        single="$A <|endoftext|>", pair="$A <|endoftext|> $B:1 <|endoftext|>:1", special_tokens=end
    )
    tokenizer.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), template])
    config = {
        "add_bos_token": False,
        "add_prefix_space": False,
        "bos_token": None,
        "clean_up_tokenization_spaces": False,
        "eos_token": "<|im_end|>",
        "errors": "replace",
        "pad_token": "<|endoftext|>",
        "padding_side": "left",
        "split_special_tokens": False,
        "tokenizer_class": "Qwen2Tokenizer",
        "unk_token": None,
    }
    return Vocabulary(tokenizer, config)
