"""A filter's shape, before anyone knows which fields there are.

Source: https://google.aip.dev/160
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Part:
    """One name or literal; `stars` are the indexes of the `*` in it that no backslash precedes."""

    text: str
    position: int
    is_quoted: bool = False
    stars: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Member:
    """Parts joined by dots: a field on the left of a comparator, a literal on its right or alone."""

    parts: tuple[Part, ...]

    @property
    def text(self) -> str:
        """Return it as it was meant: without quotes, with its dots."""
        return ".".join(part.text for part in self.parts)

    @property
    def position(self) -> int:
        """Return where it starts."""
        return self.parts[0].position


@dataclass(frozen=True, slots=True)
class Function:
    """A call, which no filter here knows: it parses, so that the error can say so."""

    name: str
    arguments: tuple[Argument, ...]
    position: int


@dataclass(frozen=True, slots=True)
class Group:
    """An expression in parentheses where a value is expected."""

    expression: Expression
    position: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """The comparator of a restriction and what stands on its right."""

    operator: str
    position: int
    argument: Argument


@dataclass(frozen=True, slots=True)
class Restriction:
    """A comparable with or without a comparison."""

    comparable: Member | Function
    comparison: Comparison | None = None


@dataclass(frozen=True, slots=True)
class Negation:
    """NOT or a minus before a term."""

    term: Expression


@dataclass(frozen=True, slots=True)
class Conjunction:
    """Two or more expressions with AND, or nothing but a space, between them."""

    terms: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Disjunction:
    """Two or more terms with OR between them."""

    terms: tuple[Expression, ...]


Argument = Member | Function | Group
Expression = Restriction | Negation | Conjunction | Disjunction
