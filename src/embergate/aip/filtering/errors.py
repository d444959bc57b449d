"""How a wrong filter is shown to the person who wrote it: what is wrong, where, and what to write instead."""

from __future__ import annotations

import re
from typing import Final

from embergate.aip.errors import InvalidArgumentError

# Longer filters are shown around the position only, so that filter and caret fit into a terminal's line.
EXCERPT_CHARACTERS: Final = 72
# A message quotes what may be as long as the filter; the caret comes after it, and is not to be cut off.
MESSAGE_CHARACTERS: Final = 600


def filter_error(message: str, text: str, position: int) -> InvalidArgumentError:
    """Return an error that names the column and marks it by a caret under the filter.

    Shape of the message: `filter, column 7: <message>`, then the filter and the caret on lines of their own.
    """
    if len(message) > MESSAGE_CHARACTERS:
        message = message[:MESSAGE_CHARACTERS] + "…"
    start = max(0, min(position - EXCERPT_CHARACTERS // 2, len(text) - EXCERPT_CHARACTERS))
    end = start + EXCERPT_CHARACTERS
    # A line break or a tab would move the caret away from what it marks.
    shown = re.sub(r"\s", " ", text[start:end])
    before, after = "…" if start > 0 else "", "…" if end < len(text) else ""
    caret = " " * (position - start + len(before)) + "^"
    return InvalidArgumentError(
        f"filter, column {position + 1}: {message}\n  {before}{shown}{after}\n  {caret}", field="filter"
    )
