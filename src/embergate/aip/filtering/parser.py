"""A filter's tokens as a tree, by recursive descent: each function's docstring has the rule that it parses.

Unlike in most languages OR binds tighter than AND, and terms may stand side by side, which is an AND that binds tighter
than the written one: `a b AND c OR d` is `(a b) AND (c OR d)`.

Source: https://google.aip.dev/160
"""

from __future__ import annotations

from typing import Final, NoReturn

from embergate.aip.errors import InvalidArgumentError
from embergate.aip.filtering.errors import filter_error
from embergate.aip.filtering.lexer import Token, TokenKind, tokenize
from embergate.aip.filtering.syntax import (
    Argument,
    Comparison,
    Conjunction,
    Disjunction,
    Expression,
    Function,
    Group,
    Member,
    Negation,
    Part,
    Restriction,
)

MAX_CHARACTERS: Final = 2_000
MAX_DEPTH: Final = 32


def parse_filter(text: str) -> Expression | None:
    """Parse `filter = [expression]`; None for an empty one.

    Raises: InvalidArgumentError(field="filter") with the column of what does not fit, or the bound that it is beyond.
    """
    if len(text) > MAX_CHARACTERS:
        raise InvalidArgumentError(
            f"filter: it has {len(text):,} characters, at most {MAX_CHARACTERS:,} are allowed", field="filter"
        )
    return _Parser(text).parse()


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = tokenize(text)
        self._index = 0
        self._depth = 0

    def parse(self) -> Expression | None:
        """Parse `filter = [expression]`."""
        if self._is_next(TokenKind.END):
            return None
        expression = self._expression()
        if not self._is_next(TokenKind.END):
            self._refuse_leftover()
        return expression

    def _expression(self) -> Expression:
        """Parse `expression = sequence { "AND" sequence }`."""
        sequences = [self._sequence()]
        while self._take_keyword("AND"):
            sequences.append(self._sequence())
        return sequences[0] if len(sequences) == 1 else Conjunction(tuple(sequences))

    def _sequence(self) -> Expression:
        """Parse `sequence = factor { space factor }`."""
        factors = [self._factor()]
        while self._starts_term():
            if not self._next.follows_space:
                self._refuse(f"write a space, AND or OR before {self._shown()}")
            factors.append(self._factor())
        return factors[0] if len(factors) == 1 else Conjunction(tuple(factors))

    def _factor(self) -> Expression:
        """Parse `factor = term { "OR" term }`."""
        terms = [self._term()]
        while self._take_keyword("OR"):
            terms.append(self._term())
        return terms[0] if len(terms) == 1 else Disjunction(tuple(terms))

    def _term(self) -> Expression:
        """Parse `term = [ "NOT" | "-" ] simple`; nothing may stand between a minus and what it negates."""
        if self._take_keyword("NOT"):
            return Negation(self._simple())
        if self._is_next(TokenKind.MINUS):
            self._take()
            if self._next.follows_space:
                self._refuse("a - stands directly before what it negates")
            return Negation(self._simple())
        return self._simple()

    def _simple(self) -> Expression:
        """Parse `simple = restriction | "(" expression ")"`."""
        if self._is_next(TokenKind.LEFT):
            return self._group().expression
        return self._restriction()

    def _group(self) -> Group:
        """Parse `"(" expression ")"`."""
        left = self._open()
        expression = self._expression()
        self._close(left)
        return Group(expression, left.position)

    def _restriction(self) -> Restriction:
        """Parse `restriction = comparable [ comparator argument ]`."""
        comparable = self._comparable("a field or a text to search for")
        if not self._is_next(TokenKind.COMPARATOR):
            return Restriction(comparable)
        comparator = self._take()
        return Restriction(comparable, Comparison(comparator.text, comparator.position, self._argument(comparator)))

    def _comparable(self, expected: str) -> Member | Function:
        """Parse `comparable = member | function`, with

        `member = value { "." field }`, `value = TEXT | STRING`, `field = value | keyword` and
        `function = name { "." name } "(" [ argument { "," argument } ] ")"`.
        No space may stand around the dots, or before the function's parenthesis.
        """
        if not self._is_next(TokenKind.TEXT, TokenKind.STRING):
            self._refuse(f"{expected} is missing: found {self._shown()}{self._hint()}")
        parts = [self._part()]
        while self._is_next(TokenKind.DOT) and not self._next.follows_space:
            self._take()
            if not self._is_next(TokenKind.TEXT, TokenKind.STRING) or self._next.follows_space:
                self._refuse("a name follows a dot directly; quote it if it has characters that mean something here")
            parts.append(self._part())
        member = Member(tuple(parts))
        is_call = self._is_next(TokenKind.LEFT) and not self._next.follows_space
        if is_call and not any(part.is_quoted for part in parts):
            return self._function(member)
        return member

    def _part(self) -> Part:
        """Parse `TEXT | STRING`."""
        token = self._take()
        return Part(token.text, token.position, token.kind is TokenKind.STRING, token.stars)

    def _function(self, name: Member) -> Function:
        """Parse `"(" [ argument { "," argument } ] ")"`."""
        left = self._open()
        arguments: list[Argument] = []
        if not self._is_next(TokenKind.RIGHT):
            arguments.append(self._argument(left))
            while self._is_next(TokenKind.COMMA):
                arguments.append(self._argument(self._take()))
        self._close(left)
        return Function(name.text, tuple(arguments), name.position)

    def _argument(self, before: Token) -> Argument:
        """Parse `argument = comparable | "(" expression ")"`."""
        if self._is_next(TokenKind.LEFT):
            return self._group()
        return self._comparable(f"a value after {before.text}")

    @property
    def _next(self) -> Token:
        return self._tokens[self._index]

    def _is_next(self, *kinds: TokenKind) -> bool:
        return self._next.kind in kinds

    def _take(self) -> Token:
        token = self._next
        self._index += 1
        return token

    def _take_keyword(self, word: str) -> bool:
        is_next = self._is_next(TokenKind.KEYWORD) and self._next.text == word
        self._index += is_next
        return is_next

    def _starts_term(self) -> bool:
        if self._is_next(TokenKind.KEYWORD):
            return self._next.text == "NOT"
        return self._is_next(TokenKind.TEXT, TokenKind.STRING, TokenKind.MINUS, TokenKind.LEFT)

    def _open(self) -> Token:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            self._refuse(f"parentheses are nested more than {MAX_DEPTH} deep")
        return self._take()

    def _close(self, left: Token) -> None:
        if self._is_next(TokenKind.END):
            raise filter_error("this ( is never closed; add )", self._text, left.position)
        if not self._is_next(TokenKind.RIGHT):
            self._refuse_leftover()
        self._take()
        self._depth -= 1

    def _refuse(self, message: str) -> NoReturn:
        raise filter_error(message, self._text, self._next.position)

    def _refuse_leftover(self) -> NoReturn:
        """Refuse what cannot follow a whole expression: `)`, a comma, a dot or a comparator."""
        hints = {
            TokenKind.RIGHT: "this ) closes nothing",
            TokenKind.COMMA: "write AND or OR in place of the comma; quote a text that has one",
            TokenKind.DOT: "no space may stand before a dot; quote a text that has one",
        }
        default = f"{self._shown()} is misplaced: a comparison has one field, one comparator and one value"
        self._refuse(hints.get(self._next.kind, default))

    def _shown(self) -> str:
        if self._is_next(TokenKind.END):
            return "the end"
        source = self._text[self._next.position : self._next.end]
        return source if len(source) <= 40 else source[:40] + "…"

    def _hint(self) -> str:
        """Return what to write instead, where a value or term is missing."""
        if self._is_next(TokenKind.KEYWORD):
            return "; a keyword stands between or before terms, and in quotes it is a text"
        if self._is_next(TokenKind.COMPARATOR):
            return "; the comparators are = != < <= > >= and :"
        return ""
