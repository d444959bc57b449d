"""Keys of objects: `segment/segment/…`, which are safe as paths of files and mean the same in every store."""

from __future__ import annotations

import re
from typing import Final

from embergate.errors import InvalidRequestError

# A bucket takes 1,024 bytes, its prefix included; a file system 255 for a segment.
MAX_KEY_CHARACTERS: Final = 900
MAX_SEGMENT_CHARACTERS: Final = 200
# No segment begins with a dot: that rules out `.` and `..`, and leaves such names to the store itself.
SEGMENT: Final = re.compile(rf"[A-Za-z0-9_-][A-Za-z0-9._-]{{0,{MAX_SEGMENT_CHARACTERS - 1}}}")


def segments_of(key: str) -> tuple[str, ...]:
    """Return the segments of a key. Raises: InvalidRequestError if it is none."""
    segments = tuple(key.split("/"))
    if len(key) > MAX_KEY_CHARACTERS or not all(SEGMENT.fullmatch(segment) for segment in segments):
        raise InvalidRequestError(
            f"{key[:200]!r} is not a key: its parts between slashes hold only A-Z, a-z, 0-9, '.', '_' and '-', do not "
            f"begin with a dot, and have {MAX_SEGMENT_CHARACTERS} characters at most, {MAX_KEY_CHARACTERS} together"
        )
    return segments


def folder_of(prefix: str) -> tuple[str, ...]:
    """Return the segments of a prefix, which ends at a whole segment: `a/b` or `a/b/` is of `a/b/c` and not of `a/bc`.

    The empty prefix is of every key.
    Raises: InvalidRequestError if no key begins with it.
    """
    return segments_of(prefix.removesuffix("/")) if prefix else ()
