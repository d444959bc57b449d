"""AIP-160's grammar once more, for lark: what the parser of `embergate.aip.filtering` is judged by.

It works another way than ours. lark's lexer knows at each place which terminals the LALR parser can take there: that
is how it tells a minus that negates from a number's sign. Spaces belong to the terminals beside them; only the space
between two terms is a terminal of its own.
"""

from __future__ import annotations

import re
from typing import Any, Final

from lark import Lark, Token, Transformer
from lark.exceptions import UnexpectedInput

GRAMMAR: Final = r"""
?start: expression
?expression: sequence ( AND sequence )*       -> conjunction
?sequence: factor ( BESIDE factor )*          -> conjunction
?factor: term ( OR term )*                    -> disjunction
?term: ( NOT | MINUS ) simple                 -> negation
     | simple
?simple: comparable [ COMPARATOR argument ]   -> restriction
       | group
group: LEFT expression RIGHT
?argument: value_path                         -> member
         | value_words CALL [ arguments ] RIGHT -> call
         | group
arguments: argument ( COMMA argument )*
?comparable: path                             -> member
           | words CALL [ arguments ] RIGHT   -> call

// A path all of whose parts are words can be called; one with a quoted part cannot.
path: words | quoted
words: WORD | words DOT FIELD
quoted: QUOTED | words DOT QUOTED | quoted DOT ( FIELD | QUOTED )
value_path: value_words | value_quoted
value_words: VALUE | value_words DOT FIELD
value_quoted: QUOTED | value_words DOT QUOTED | value_quoted DOT ( FIELD | QUOTED )

AND: /\s*AND(?=[\s"'`(),.<>=!:]|\Z)\s*/
OR: /\s*OR(?=[\s"'`(),.<>=!:]|\Z)\s*/
NOT: /NOT(?=[\s"'`(),.<>=!:]|\Z)\s*/
MINUS: "-"
BESIDE: /\s+(?![\s),.<>=!:]|\Z|(?:AND|OR)(?=[\s"'`(),.<>=!:]|\Z))/
COMPARATOR: /\s*(?:<=|<|>=|>|!=|=|:)\s*/
LEFT: /\(\s*/
CALL: /\(\s*/
RIGHT: /\s*\)/
COMMA: /\s*,\s*/
DOT: "."
QUOTED: /"(?:[^"\\]|\\[\s\S])*"|'(?:[^'\\]|\\[\s\S])*'|`(?:[^`\\]|\\[\s\S])*`/
FIELD: /[^\s"'`(),.<>=!:]+/
WORD: /(?!-)(?!(?:AND|OR|NOT)(?:[\s"'`(),.<>=!:]|\Z))(?:LITERAL|[^\s"'`(),.<>=!:]+)/
VALUE: /(?!(?:AND|OR|NOT)(?:[\s"'`(),.<>=!:]|\Z))(?:LITERAL|[^\s"'`(),.<>=!:]+)/
""".replace(
    "LITERAL",
    r"(?:-?[0-9]+\.[0-9]+(?:[eE][+-]?[0-9]+)?s?|[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9A-Za-z:.+-]*)"
    r"(?=[\s\"'`(),<>=!:]|\Z)",
)
PARSER: Final = Lark(GRAMMAR, parser="lalr", lexer="contextual", maybe_placeholders=False)
# A tree as nested tuples: ("and", …), ("or", …), ("not", …), ("member", texts), ("call", name, …), (operator, …).
Shape = tuple[Any, ...]


class _Shapes(Transformer[Token, Shape]):
    def conjunction(self, children: list[Any]) -> Shape:
        return _joined("and", children)

    def disjunction(self, children: list[Any]) -> Shape:
        return _joined("or", children)

    def negation(self, children: list[Any]) -> Shape:
        return ("not", children[1])

    def restriction(self, children: list[Any]) -> Shape:
        if len(children) == 1:
            return children[0]  # type: ignore[no-any-return]
        left, comparator, right = children
        return (comparator.strip(), left, right)

    def group(self, children: list[Any]) -> Shape:
        return children[1]  # type: ignore[no-any-return]

    def member(self, children: list[Any]) -> Shape:
        return ("member", children[0])

    def call(self, children: list[Any]) -> Shape:
        arguments = [child for child in children[1:] if isinstance(child, tuple)]
        return ("call", ".".join(children[0]), *(arguments[0] if arguments else ()))

    def arguments(self, children: list[Any]) -> Shape:
        return tuple(child for child in children if isinstance(child, tuple))

    def words(self, children: list[Any]) -> Shape:
        texts: list[str] = []
        for child in children:
            if isinstance(child, tuple):
                texts += child
            elif child.type == "QUOTED":
                texts.append(re.sub(r"\\([\s\S])", _unescaped, child[1:-1]))
            elif child.type != "DOT":
                texts.append(str(child))
        return tuple(texts)

    path = quoted = value_path = value_words = value_quoted = words


def _joined(word: str, children: list[Any]) -> Shape:
    terms = [child for child in children if isinstance(child, tuple)]
    return terms[0] if len(terms) == 1 else (word, *terms)


def _unescaped(match: re.Match[str]) -> str:
    return {"n": "\n", "r": "\r", "t": "\t"}.get(match.group(1), match.group(1))


def shape_by_grammar(text: str) -> Shape | None:
    """Return the tree of a filter that is not empty; None if the grammar has no place for it."""
    try:
        return _Shapes().transform(PARSER.parse(text.strip()))
    except UnexpectedInput:
        return None
