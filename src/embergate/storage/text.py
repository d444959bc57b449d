"""What "whatever its case" means, in SQLite and in PostgreSQL alike.

Two texts are alike if their characters are, each in its own lower case (Unicode's simple mapping), a final sigma counting
as a sigma. So `Ä` is `ä`, `ẞ` is `ß`, `Σ` is `ς` and `İ` is `i`; but `ß` is not `ss`, `ı` is not `i`, and a letter with its
accent in one character is not the letter and its accent in two. Letters that are newer than the Unicode of either
program may differ.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import ColumnElement, String, func, literal

SQLITE_FUNCTION: Final = "embergate_fold_case"
# The database's own collation would make `I` a dotless `ı` in Turkish, and nothing of `Ä` in C. There since PostgreSQL 17.
POSTGRESQL_COLLATION: Final = "pg_c_utf8"
FINAL_SIGMA: Final = "ς"
SIGMA: Final = "σ"
# What Python's `lower` maps otherwise than character by character: to two, or by what follows.
SIMPLE: Final = str.maketrans({"İ": "i", "Σ": SIGMA, FINAL_SIGMA: SIGMA})


def fold_case(text: str) -> str:
    """Return the form in which texts that differ only in case are equal."""
    return text.lower() if text.isascii() else text.translate(SIMPLE).lower()


def fold_case_in_sqlite(value: object) -> object:
    """Return the folded text, or what is not a text as it is. Registered on each SQLite connection."""
    return fold_case(value) if isinstance(value, str) else value


def contains_in_sqlite(column: ColumnElement[Any], text: str) -> ColumnElement[bool]:
    """Return whether a string holds `text`, whatever its case; NULL where the string is NULL."""
    return func.instr(func.embergate_fold_case(column), literal(fold_case(text), String())) > 0


def contains_in_postgresql(column: ColumnElement[Any], text: str) -> ColumnElement[bool]:
    """Return whether a string holds `text`, whatever its case; NULL where the string is NULL."""

    # The text is folded by the database too, which may know letters that our Python does not.
    def folded(value: ColumnElement[Any]) -> ColumnElement[str]:
        return func.replace(func.lower(value.collate(POSTGRESQL_COLLATION)), FINAL_SIGMA, SIGMA)

    return func.strpos(folded(column), folded(literal(text, String()))) > 0
