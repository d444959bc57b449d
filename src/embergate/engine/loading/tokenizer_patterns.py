"""Regular expressions of a stranger's tokenizer: which of them surely take a time proportional to the text.

The library's engine backtracks, and a search of it cannot be stopped: on `a*a*$` a few thousand characters take minutes.
So a pattern is taken if it is one that models are published with, or of a form that cannot backtrack.
"""

from __future__ import annotations

import re
from typing import Final

MAX_PATTERN_CHARACTERS: Final = 10_000
_WORDS: Final = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+"
_SIGNS: Final = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_UPPER: Final = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]"
_LOWER: Final = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_ENDING: Final = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
_PATHS: Final = r" ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
# NOTE: each was read for what it does where it does not match: none looks at a character more than a few times.
PUBLISHED: Final = frozenset(
    {
        # GPT-2, and as tiktoken writes it
        r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
        r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
        # Llama 3, Qwen 2 and 3, Qwen 3.5
        rf"{_WORDS}|\p{{N}}{{1,3}}|{_SIGNS}",
        rf"{_WORDS}|\p{{N}}|{_SIGNS}",
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+"
        r"|\s+(?!\S)|\s+",
        # GPT-4o, Mistral's Tekken
        rf"{_UPPER}*{_LOWER}+{_ENDING}|{_UPPER}+{_LOWER}*{_ENDING}|\p{{N}}{{1,3}}|{_PATHS}",
        rf"{_UPPER}*{_LOWER}+|{_UPPER}+{_LOWER}*|\p{{N}}|{_PATHS}",
        # CLIP
        r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+",
        r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+",
        # BLOOM
        r" ?[^(\s|[.,!?…。，、।۔،])]+",
        # DeepSeek 3
        r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*"
        r"|\s*[\r\n]+|\s+(?!\S)|\s+".replace(r"\"", '"'),
        # SentencePiece models, as transformers converts them
        r"^▁+$",
    }
)
_ESCAPED: Final = r"\\[sSdDwWhHrntfv]|\\[pP]\{\^?[A-Za-z_]{1,40}\}|\\[^A-Za-z0-9]"
_CLASS: Final = rf"\[\^?(?:{_ESCAPED}|[^\\\[\]&])+\]"
_ATOM: Final = rf"(?:{_ESCAPED}|{_CLASS}|[^\\\[\](){{}}|*+?^$])"
# Nothing follows what is repeated, so that no repetition is ever tried at another length; no branch matches nothing.
_BRANCH: Final = rf"(?:{_ATOM}\??){{0,8}}{_ATOM}(?:\+|\{{[1-9][0-9]?(?:,[0-9]{{0,2}})?\}})?"
_LINEAR: Final = re.compile(rf"{_BRANCH}(?:\|{_BRANCH}){{0,31}}", re.DOTALL)


def is_linear(pattern: str) -> bool:
    """Tell whether a search with a pattern takes a time proportional to the text, and matches no empty text."""
    if len(pattern) > MAX_PATTERN_CHARACTERS:
        return False
    return pattern in PUBLISHED or _LINEAR.fullmatch(pattern) is not None
