"""A filter's text as tokens.

Three things depend on what stands before. A `-` at the start of a term is a negation, where a value is expected it
is the value's own sign. A number with a fraction and a timestamp are one token, except after a dot, where digits are
a field's or a key's name. And AND, OR, NOT are names after a dot.

Source: https://google.aip.dev/160
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from typing import Final

from embergate.aip.filtering.errors import filter_error

KEYWORDS: Final = ("AND", "OR", "NOT")
SPACE: Final = re.compile(r"\s+")
# What ends a TEXT: whitespace, the three quotes, and the grammar's own characters.
TEXT: Final = re.compile(r"""[^\s"'`(),.<>=!:]+""")
# Values with a dot or a colon inside; they count only when nothing else is glued to their end.
LITERAL: Final = re.compile(
    r"""(?: -?[0-9]+\.[0-9]+ (?:[eE][+-]?[0-9]+)? s?          # 2.997e9, -1.5, 1.2s
          | [0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9A-Za-z:.+-]*    # 2012-04-21T11:30:00.5-04:00; checked later
        ) (?= [\s"'`(),<>=!:] | $ )""",
    re.VERBOSE,
)
STRING: Final = re.compile(r""" "(?:[^"\\]|\\.)*" | '(?:[^'\\]|\\.)*' | `(?:[^`\\]|\\.)*` """, re.VERBOSE | re.DOTALL)
COMPARATOR: Final = re.compile(r"<=|>=|!=|[<>=:]")
CONTROL_ESCAPES: Final = {"n": "\n", "r": "\r", "t": "\t"}
# No database takes a NUL in a text, and no encoding half a surrogate pair.
UNSTORABLE: Final = re.compile("[\x00\ud800-\udfff]")


class TokenKind(enum.Enum):
    """What a token is in the grammar."""

    TEXT = "text"
    STRING = "string"
    KEYWORD = "keyword"
    COMPARATOR = "comparator"
    MINUS = "minus"
    DOT = "."
    COMMA = ","
    LEFT = "("
    RIGHT = ")"
    END = "the end"


PUNCTUATION: Final = {".": TokenKind.DOT, ",": TokenKind.COMMA, "(": TokenKind.LEFT, ")": TokenKind.RIGHT}


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of the filter: `text` without quotes and escapes, `stars` where a `*` in it is not an escaped one."""

    kind: TokenKind
    text: str
    position: int
    end: int
    follows_space: bool = False
    stars: tuple[int, ...] = ()


def tokenize(text: str) -> list[Token]:
    """Split a filter into tokens; the last one is END.

    Raises: InvalidArgumentError for a quote that is not closed, a `!` alone, or a character that no text can hold.
    """
    if unstorable := UNSTORABLE.search(text):
        raise filter_error(f"U+{ord(unstorable.group()):04X} is not a character", text, unstorable.start())
    tokens: list[Token] = []
    position = 0
    while True:
        space = SPACE.match(text, position)
        position = space.end() if space else position
        if position == len(text):
            tokens.append(Token(TokenKind.END, "", position, position, space is not None))
            return tokens
        token = _token(text, position, follows_space=space is not None, before=tokens)
        tokens.append(token)
        position = token.end


def _token(text: str, position: int, *, follows_space: bool, before: list[Token]) -> Token:
    character = text[position]
    if character in PUNCTUATION:
        return Token(PUNCTUATION[character], character, position, position + 1, follows_space)
    if match := COMPARATOR.match(text, position):
        return Token(TokenKind.COMPARATOR, match.group(), position, match.end(), follows_space)
    if match := STRING.match(text, position):
        content, stars = _unescape(match.group()[1:-1])
        return Token(TokenKind.STRING, content, position, match.end(), follows_space, stars)
    if character == "-" and not _expects_value(before, follows_space=follows_space):
        return Token(TokenKind.MINUS, "-", position, position + 1, follows_space)
    follows_dot = bool(before) and before[-1].kind is TokenKind.DOT
    match = (None if follows_dot else LITERAL.match(text, position)) or TEXT.match(text, position)
    if match is None:
        raise filter_error(_stray(character), text, position)
    word = match.group()
    kind = TokenKind.KEYWORD if word in KEYWORDS and not follows_dot else TokenKind.TEXT
    stars = tuple(index for index, letter in enumerate(word) if letter == "*")
    return Token(kind, word, position, match.end(), follows_space, stars)


def _expects_value(before: list[Token], *, follows_space: bool) -> bool:
    """Return whether a `-` here is part of a value: after a comparator, a comma, a dot, or a function's parenthesis."""
    match before:
        case [*_, Token(kind=TokenKind.COMPARATOR | TokenKind.COMMA)]:
            return True
        case [*_, Token(kind=TokenKind.DOT)]:
            return not follows_space
        case [*_, Token(kind=TokenKind.TEXT), Token(kind=TokenKind.LEFT, follows_space=False)]:
            return True
    return False


def _unescape(quoted: str) -> tuple[str, tuple[int, ...]]:
    """Return a string's content, and where its unescaped stars are."""
    characters: list[str] = []
    stars: list[int] = []
    letters = iter(quoted)
    for letter in letters:
        if letter == "*":
            stars.append(len(characters))
        elif letter == "\\":
            letter = next(letters)  # STRING takes a backslash only with its next character
            letter = CONTROL_ESCAPES.get(letter, letter)
        characters.append(letter)
    return "".join(characters), tuple(stars)


def _stray(character: str) -> str:
    if character == "!":
        return '"!" stands alone; write != for unequal, NOT or - to negate'
    return f"this {character} is never closed; add one at the end of the text, or write \\{character} inside quotes"
