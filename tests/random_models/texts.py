"""The texts that every random model embeds, and the words its tokenizer knows."""

from __future__ import annotations

from typing import Final

WORDS: Final = tuple(
    """the of and to in is a that it for was on with as by at from he be his are this or had not but what all were when
    we there can an your which their said if do will each about how up out them then she many some so these would other
    into has more her two like him see time could no make than first been its who now people my made over did down only
    way find use may water long little very after words called just where most know ember gate vector search text model
    token mask query document window local global river bank light house stone north south winter summer green quick
    brown fox jumps lazy dog""".split()  # noqa: SIM905 - a list of 150 quoted words is no easier to read
)

# Repeats with a twist, so that every position and window sees another mixture of words.
_PARAGRAPH: Final = " ".join(WORDS[(7 * i + i * i // 5) % len(WORDS)] for i in range(260))

TEXTS: Final = (
    "",
    "a",
    "The quick brown fox jumps over the lazy dog.",
    "the QUICK brown FOX jumps over the lazy dog",
    "What is the vector of a text, and how long may it be?",
    "Ünïcödé, naïve café; 日本語 текст — “quotes” … 🔥🚪",
    "\tdef gate(x):\n    return x['ember'] + 3.14 * 10**-7  # comment\n",
    "   spaces   before,   between   and   after   ",
    "supercalifragilisticexpialidocious antidisestablishmentarianism",
    "1234567890 987,654,321.00 2026-11-22T23:59:60Z",
    " ".join(WORDS[20:70]),
    _PARAGRAPH,
)
