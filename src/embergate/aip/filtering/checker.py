"""A parsed filter, checked against the fields of a message: what comes out can be run as it is.

Source: https://google.aip.dev/160
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from embergate.aip.errors import InvalidArgumentError
from embergate.aip.fields import FieldType, Kind, did_you_mean, find_name
from embergate.aip.filtering import syntax
from embergate.aip.filtering.checked import (
    And,
    Compare,
    Contains,
    FieldPath,
    HasElement,
    HasKey,
    Like,
    Node,
    Not,
    Operator,
    Or,
    Present,
    Search,
    Value,
)
from embergate.aip.filtering.errors import filter_error
from embergate.aip.filtering.literals import parse_literal
from embergate.aip.filtering.operands import is_bare, member_of, refuse_null, split_stars
from embergate.aip.filtering.parser import parse_filter

# What has parts rather than a value.
COMPOUND: Final = {Kind.MESSAGE, Kind.MAP, Kind.LIST, Kind.STRUCT}
EQUALITY_ONLY: Final = {Kind.BOOL, Kind.ENUM}
EQUALITY: Final = {"=", "!="}
# What a store is asked at most, in comparisons of one field each; SQLite parses no expression deeper than 1,000.
MAX_CONDITIONS: Final = 100
# What other languages write, and AIP-160 takes for texts to search for.
FOREIGN_OPERATORS: Final = {"&&": "AND", "||": "OR"}


def compile_filter(
    text: str,
    fields: Mapping[str, FieldType],
    *,
    aliases: Mapping[str, str] | None = None,
    searched: Sequence[str] = (),
) -> Node | None:
    """Return what a filter asks of a message with `fields`; None, which is everything, for an empty one.

    `aliases` are more names for fields: {"email": "principal"}; the target may have dots. `searched` are the dotted paths
    that a bare word is looked for in, which need not be fields; without them, every string field.
    Raises: InvalidArgumentError(field="filter") for a filter that does not parse, a name that is no field, a value
        that does not fit its field or a comparison that its type has not; the message has the column and the mend.
    """
    expression = parse_filter(text)
    return None if expression is None else _Checker(text, fields, aliases or {}, searched).check(expression)


@dataclass(frozen=True, slots=True)
class _Target:
    """What the left side of a comparison names.

    `element_names` lead on inside a list's elements; `entry` asks whether a map has the entry that is named.
    """

    path: FieldPath
    element_names: tuple[str, ...] = ()
    element: FieldType | None = None
    entry: HasKey | None = None


class _Checker:
    def __init__(
        self, text: str, fields: Mapping[str, FieldType], aliases: Mapping[str, str], searched: Sequence[str]
    ) -> None:
        self._text = text
        self._fields = fields
        self._aliases = aliases
        self._searched = searched
        self._num_conditions = 0

    def check(self, expression: syntax.Expression) -> Node:
        match expression:
            case syntax.Conjunction(terms):
                return And(tuple(self._flattened(terms)))
            case syntax.Disjunction(terms):
                return Or(tuple(self.check(term) for term in terms))
            case syntax.Negation(term):
                return Not(self.check(term))
        member = member_of(expression.comparable, self._text)
        if expression.comparison is not None:
            self._count(1, member.position)
            return self._compare(member, expression.comparison)
        self._count(len(self._string_fields), member.position)
        return self._search(member)

    def _count(self, num_conditions: int, position: int) -> None:
        self._num_conditions += num_conditions
        if self._num_conditions > MAX_CONDITIONS:
            raise self._error(
                f"more than {MAX_CONDITIONS} comparisons; a bare word is one for each of {len(self._string_fields)} fields",
                position,
            )

    def _flattened(self, terms: tuple[syntax.Expression, ...]) -> Iterator[Node]:
        for term in terms:
            node = self.check(term)
            yield from node.terms if isinstance(node, And) else (node,)

    def _search(self, member: syntax.Member) -> Search:
        if mend := FOREIGN_OPERATORS.get(member.text):
            raise self._error(f"write {mend} for {member.text}", member.position)
        text, _, _ = split_stars(member, self._text)
        return Search(text, self._string_fields)

    @cached_property
    def _string_fields(self) -> tuple[FieldPath, ...]:
        if self._searched:
            return tuple(FieldPath(tuple(path.split(".")), FieldType(Kind.STRING)) for path in self._searched)
        return tuple(_string_fields(self._fields))

    def _compare(self, member: syntax.Member, comparison: syntax.Comparison) -> Node:
        literal = member_of(comparison.argument, self._text)
        target = self._find(member)
        refuse_null(member, comparison, literal, self._text)
        if comparison.operator == ":":
            return self._has(target, literal, is_star=is_bare(literal, "*"))
        path = target.path
        if target.element is not None:
            raise self._error(
                f"{_shown(path)} is a list, whose elements are asked for by : as in {member.text}:{literal.text}",
                comparison.position,
            )
        if path.type.kind in COMPOUND:
            raise self._error(
                f"{_shown(path)} is {path.type.kind.value}, which {comparison.operator} cannot compare; "
                f"{_inside(path)}write {member.text}:* for its presence",
                comparison.position,
            )
        if path.type.kind in EQUALITY_ONLY and comparison.operator not in EQUALITY:
            raise self._error(
                f"{_shown(path)} is {path.type.kind.value}, which has no order; compare it by = or !=",
                comparison.position,
            )
        return self._compare_scalar(path, Operator(comparison.operator), literal)

    def _compare_scalar(self, path: FieldPath, operator: Operator, literal: syntax.Member) -> Compare | Like:
        if path.type.kind is Kind.STRING and operator.value in EQUALITY:
            text, leading, trailing = split_stars(literal, self._text)
            if leading or trailing:
                return Like(path, text, leading, trailing, negated=operator is Operator.NE)
        return Compare(path, operator, self._value(path.type, literal, path))

    def _has(self, target: _Target, literal: syntax.Member, *, is_star: bool) -> Node:
        """Check `field:literal`, which means something else for each kind of field."""
        path = target.path
        if target.element is not None and (target.element_names or not is_star):
            return self._has_element(target, target.element, literal)
        if is_star:
            return target.entry or Present(path)
        match path.type.kind:
            case Kind.MAP if path.key is None:
                return HasKey(path, literal.text)
            case Kind.MESSAGE if path.key is None:
                inner = self._find_inside(path.names, path.type.fields, literal.parts)
                return self._has(inner, literal, is_star=True)
            case Kind.STRING if path.key is None:
                return Contains(path, split_stars(literal, self._text)[0])
        if path.type.kind in COMPOUND:
            raise self._error(
                f"{_shown(path)} is {path.type.kind.value}; only {_shown(path)}:* can be asked", literal.position
            )
        return self._compare_scalar(path, Operator.EQ, literal)

    def _has_element(self, target: _Target, element: FieldType, literal: syntax.Member) -> HasElement:
        path, names = target.path, target.element_names
        if element.kind in COMPOUND:
            raise self._error(
                f"{'.'.join((_shown(path), *names))} has {element.kind.value} in each element; "
                "name a field of it that is a single value",
                literal.position,
            )
        if any(part.stars for part in literal.parts):
            raise self._error("a list's elements are compared whole; write \\* in quotes for a star", literal.position)
        return HasElement(path, self._value(element, literal, path), names)

    def _value(self, field_type: FieldType, literal: syntax.Member, path: FieldPath) -> Value:
        try:
            return parse_literal(field_type, literal.text)
        except ValueError as error:
            raise self._error(
                f"{_shown(path)} is {field_type.kind.value}, not {literal.text[:60]!r}; {error}", literal.position
            ) from None

    def _find(self, member: syntax.Member) -> _Target:
        first, *rest = member.parts
        if find_name(self._fields, first.text) is None:
            alias = find_name(self._aliases, first.text)
            names = self._aliases[alias].split(".") if alias else [first.text]
            parts = (*(syntax.Part(name, first.position) for name in names), *rest)
        else:
            parts = member.parts
        return self._find_inside((), self._fields, parts)

    def _find_inside(
        self, outer: tuple[str, ...], fields: Mapping[str, FieldType], parts: tuple[syntax.Part, ...]
    ) -> _Target:
        """Follow `parts` from a message's fields through messages, into a map's entry or a list's elements."""
        names, rest = outer, parts
        while True:
            part, rest = rest[0], rest[1:]
            name = find_name(fields, part.text)
            if name is None:
                known = [*fields, *self._aliases] if not names else fields
                owner = f" in {'.'.join(names)}" if names else ""
                raise self._error(
                    f"there is no field {part.text[:60]!r}{owner}; {did_you_mean(part.text, known)}", part.position
                )
            names, field_type = (*names, name), fields[name]
            if field_type.kind is not Kind.MESSAGE or not rest:
                break
            fields = field_type.fields
        path = FieldPath(names, field_type)
        element = field_type.element
        if field_type.kind is Kind.LIST and element is not None:
            return self._find_element(path, element, rest)
        if not rest:
            return _Target(path)
        if field_type.kind is not Kind.MAP or element is None:
            raise self._error(f"{_shown(path)} is {field_type.kind.value}, which has no fields", rest[0].position)
        if element.kind in COMPOUND and len(rest) > 1:
            raise self._error(f"what is inside an entry of {_shown(path)} cannot be compared", rest[1].position)
        # The rest is one key: where a map's values are single values, what looks like a path has dots in the key.
        key = ".".join(part.text for part in rest)
        return _Target(FieldPath(names, element, key), entry=HasKey(path, key))

    def _find_element(self, path: FieldPath, element: FieldType, parts: tuple[syntax.Part, ...]) -> _Target:
        if not parts:
            return _Target(path, (), element)
        if element.kind is not Kind.MESSAGE:
            raise self._error(f"{_shown(path)} is a list of elements without fields", parts[0].position)
        inner = self._find_inside((), element.fields, parts).path
        if inner.key is not None:
            raise self._error(f"keys of maps inside the list {_shown(path)} cannot be asked for", parts[0].position)
        return _Target(path, inner.names, inner.type)

    def _error(self, message: str, position: int) -> InvalidArgumentError:
        return filter_error(message, self._text, position)


def _string_fields(fields: Mapping[str, FieldType], outer: tuple[str, ...] = ()) -> Iterator[FieldPath]:
    for name, field_type in fields.items():
        if field_type.kind is Kind.STRING:
            yield FieldPath((*outer, name), field_type)
        elif field_type.kind is Kind.MESSAGE:
            yield from _string_fields(field_type.fields, (*outer, name))


def _shown(path: FieldPath) -> str:
    return ".".join(path.names if path.key is None else (*path.names, path.key))


def _inside(path: FieldPath) -> str:
    """Return what could be compared instead of a whole message or map."""
    if path.type.kind is Kind.MAP:
        return f"compare an entry, {_shown(path)}.key, or "
    if path.type.kind is Kind.MESSAGE and path.type.fields and path.key is None:
        return f"compare a field of it, such as {_shown(path)}.{next(iter(path.type.fields))}, or "
    return ""
