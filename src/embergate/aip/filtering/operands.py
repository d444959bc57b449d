"""The two sides of a comparison, as far as no field's type has a say in them.

Source: https://google.aip.dev/160
"""

from __future__ import annotations

from embergate.aip.filtering import syntax
from embergate.aip.filtering.errors import filter_error


def member_of(side: syntax.Argument, text: str) -> syntax.Member:
    """Return what a side is. Raises: InvalidArgumentError if it is a call or in parentheses."""
    match side:
        case syntax.Function(name, _, position):
            raise filter_error(f"there is no function {name[:60]}, nor any other", text, position)
        case syntax.Group(_, position):
            raise filter_error("one value stands here; write (a = 1 OR a = 2) for a choice", text, position)
    return side


def is_bare(literal: syntax.Member, word: str) -> bool:
    """Return whether a literal is this word, and without quotes."""
    return len(literal.parts) == 1 and not literal.parts[0].is_quoted and literal.text == word


def refuse_null(member: syntax.Member, comparison: syntax.Comparison, literal: syntax.Member, text: str) -> None:
    """Raise InvalidArgumentError where something is compared with null."""
    if is_bare(literal, "null"):
        presence = member.text if comparison.operator == "!=" else f"NOT {member.text}"
        raise filter_error(
            f"nothing equals null; write {presence}:* for {'set' if comparison.operator == '!=' else 'unset'}, "
            'or "null" for the text',
            text,
            literal.position,
        )


def split_stars(literal: syntax.Member, text: str) -> tuple[str, bool, bool]:
    """Return a text without the wildcards at its ends, and whether there was one at its start and at its end.

    Raises: InvalidArgumentError for one in its middle.
    """
    content, offset, stars = literal.text, 0, set[int]()
    for part in literal.parts:
        stars |= {offset + star for star in part.stars}
        offset += len(part.text) + 1
    leading = 0 in stars
    trailing = len(content) - 1 in stars and len(content) > 1
    if stars - {0, len(content) - 1}:
        raise filter_error(
            "a * stands at the start or end of a text; write \\* in quotes for a star", text, literal.position
        )
    return content[leading : len(content) - trailing], leading, trailing
