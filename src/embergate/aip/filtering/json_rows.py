"""A filter over JSON objects of which nobody knows the fields: each value says by itself how it is compared.

The grammar is that of every filter. What stands right of a comparator is a number where the field is one, a text where it
is one, and true or false where it is a boolean. A field that is not there, or null, fits nothing, not even `!=`.

Source: https://google.aip.dev/160
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from embergate.aip.errors import InvalidArgumentError
from embergate.aip.filtering import syntax
from embergate.aip.filtering.checker import FOREIGN_OPERATORS, MAX_CONDITIONS
from embergate.aip.filtering.errors import filter_error
from embergate.aip.filtering.literals import NUMBER
from embergate.aip.filtering.operands import is_bare, member_of, refuse_null, split_stars
from embergate.aip.filtering.parser import parse_filter

Test = Callable[[Any], bool]
ORDERS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
INTEGER: Final = re.compile("-?[0-9]+")
# What SQL has, and AIP-160 takes for words to search for.
SQL_WORDS: Final = {
    "and": "AND",
    "or": "OR",
    "not": "NOT",
    "like": 'field = "text*" or field:text',
    "in": "(field = 1 OR field = 2)",
    "between": "field >= 1 AND field <= 2",
    "is": "field:* or NOT field:*",
}


def compile_json_filter(text: str) -> Test | None:
    """Return what tells whether a JSON object passes; None, which is every object, for an empty filter.

    Raises: InvalidArgumentError(field="filter") with the column of what does not fit, and the mend.
    """
    expression = parse_filter(text)
    return None if expression is None else _Compiler(text).test_of(expression)


class _Compiler:
    def __init__(self, text: str) -> None:
        self._text = text
        self._num_conditions = 0

    def test_of(self, expression: syntax.Expression) -> Test:
        match expression:
            case syntax.Conjunction(terms):
                tests = [self.test_of(term) for term in terms]
                return lambda row: all(test(row) for test in tests)
            case syntax.Disjunction(terms):
                tests = [self.test_of(term) for term in terms]
                return lambda row: any(test(row) for test in tests)
            case syntax.Negation(term):
                negated = self.test_of(term)
                return lambda row: not negated(row)
        member = member_of(expression.comparable, self._text)
        self._num_conditions += 1
        if self._num_conditions > MAX_CONDITIONS:
            raise self._error(f"more than {MAX_CONDITIONS} comparisons", member.position)
        return self._search(member) if expression.comparison is None else self._compare(member, expression.comparison)

    def _search(self, member: syntax.Member) -> Test:
        mends = {**FOREIGN_OPERATORS, **SQL_WORDS}
        word = member.text if len(member.parts) == 1 and not member.parts[0].is_quoted else ""
        if mend := mends.get(word.lower()):
            raise self._error(f"write {mend} for {word}, or quote it to search for the text", member.position)
        text = split_stars(member, self._text)[0].lower()
        return lambda row: any(text in value.lower() for value in _texts_in(row))

    def _compare(self, member: syntax.Member, comparison: syntax.Comparison) -> Test:
        literal = member_of(comparison.argument, self._text)
        refuse_null(member, comparison, literal, self._text)
        path = tuple(part.text for part in member.parts)
        if comparison.operator == ":":
            has = _is_there if is_bare(literal, "*") else self._has(literal)
            return lambda row: any(has(value) for value in _follow(row, path, into_lists=True))
        fits = self._comparison(comparison.operator, literal)
        return lambda row: any(fits(value) for value in _follow(row, path, into_lists=False))

    def _comparison(self, sign: str, literal: syntax.Member) -> Test:
        if sign in ORDERS:
            return _ordered(ORDERS[sign], literal.text)
        equals = _equal(*split_stars(literal, self._text))
        if sign == "=":
            return equals
        return lambda value: not isinstance(value, dict | list) and not equals(value)

    def _has(self, literal: syntax.Member) -> Test:
        text, _, _ = split_stars(literal, self._text)
        lowered, equals = text.lower(), _equal(text, leading=False, trailing=False)

        def has(value: Any) -> bool:
            match value:
                case str():
                    return lowered in value.lower()
                case dict():
                    return text in value
                case list():
                    return any(equals(element) for element in value)
            return equals(value)

        return has

    def _error(self, message: str, position: int) -> InvalidArgumentError:
        return filter_error(message, self._text, position)


def _follow(value: Any, path: tuple[str, ...], *, into_lists: bool) -> Iterator[Any]:
    """Yield what a path leads to, unless that is null; a number leads to a list's element, or `into_lists` any name to all."""
    for depth, name in enumerate(path):
        if isinstance(value, list):
            if into_lists and not INTEGER.fullmatch(name):
                for element in value:
                    yield from _follow(element, path[depth:], into_lists=True) if isinstance(element, dict) else ()
                return
            value = _element(value, name)
        else:
            value = value.get(name) if isinstance(value, dict) else None
    if value is not None:
        yield value


def _element(values: list[Any], name: str) -> Any:
    is_index = name.isascii() and name.isdigit() and len(name) <= len(str(len(values)))
    return values[int(name)] if is_index and int(name) < len(values) else None


def _is_there(_value: Any) -> bool:
    return True


def _number_of(text: str) -> int | float | None:
    """Return a number exactly, where it is a whole one; None for what is none."""
    if not NUMBER.fullmatch(text):
        return None
    return int(text) if INTEGER.fullmatch(text) else float(text)


def _equal(text: str, leading: bool, trailing: bool) -> Test:
    number = None if leading or trailing else _number_of(text)

    def equals(value: Any) -> bool:
        match value:
            case str() if leading and trailing:
                return text in value
            case str() if leading:
                return value.endswith(text)
            case str() if trailing:
                return value.startswith(text)
            case str():
                return value == text
            case bool():
                return ("true" if value else "false") == text
            case int() | float():
                return number is not None and bool(value == number)
        return False

    return equals


def _ordered(is_so: Callable[[Any, Any], bool], text: str) -> Test:
    number = _number_of(text)

    def fits(value: Any) -> bool:
        match value:
            case str():
                return is_so(value, text)
            case bool():
                return False
            case int() | float():
                return number is not None and is_so(value, number)
        return False

    return fits


def _texts_in(value: Any) -> Iterator[str]:
    """Yield every text at whatever depth; a stack of our own, for rows are as deep as their owner likes."""
    stack = [value]
    while stack:
        match stack.pop():
            case str() as text:
                yield text
            case dict() as fields:
                stack += fields.values()
            case list() as elements:
                stack += elements
