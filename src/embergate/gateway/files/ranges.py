"""Byte ranges in headers: which part is asked for, and which part is sent.

Source: https://www.rfc-editor.org/rfc/rfc9110#name-range-requests,
https://cloud.google.com/storage/docs/performing-resumable-uploads
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from embergate.errors import InvalidRequestError, RangeNotSatisfiableError

RANGE: Final = re.compile(r"bytes=\s*([0-9]{0,18})-([0-9]{0,18})\s*", re.IGNORECASE)
CONTENT_RANGE: Final = re.compile(r"bytes (?:([0-9]{1,18})-([0-9]{1,18})|\*)/([0-9]{1,18}|\*)", re.IGNORECASE)
LENGTH_RANGE: Final = re.compile(r"([0-9]{1,18}),([0-9]{1,18})")


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes from `start` up to, and without, `end`."""

    start: int
    end: int


def asked_range(header: str | None, size: int) -> Span | None:
    """Return the part of `size` bytes that a Range header asks for; None for all, as where it asks for several parts.

    Raises: RangeNotSatisfiableError if there are no such bytes.
    """
    match = RANGE.fullmatch(header or "")
    if match is None or match.group(1, 2) == ("", ""):
        return None
    first, last = match.groups()
    if first and last and int(last) < int(first):
        return None  # is no range at all
    span = Span(int(first), min(int(last or size), size - 1) + 1) if first else Span(max(0, size - int(last)), size)
    if span.start >= size:
        error = RangeNotSatisfiableError(f"the file has {size} bytes, and none of {header}")
        error.headers = {"content-range": f"bytes */{size}"}
        raise error
    return span


def sent_range(header: str, size: int) -> Span | None:
    """Return which part of an upload of `size` bytes a Content-Range header says the body is; None if it asks how far it is.

    Raises: InvalidRequestError if it cannot be a part of it.
    """
    match = CONTENT_RANGE.fullmatch(header.strip())
    if match is None:
        raise InvalidRequestError(
            "Content-Range must be `bytes first-last/total`, or `bytes */total` to ask how far an upload is"
        )
    first, last, total = match.groups()
    if total != "*" and int(total) != size:
        raise InvalidRequestError(f"Content-Range says {total} bytes in all, and the URL is for {size}")
    if first is None:
        return None
    if not int(first) <= int(last) < size:
        raise InvalidRequestError(f"Content-Range {header[:100]!r} is no part of {size} bytes")
    return Span(int(first), int(last) + 1)


def check_length_range(header: str | None, size: int) -> None:
    """Be sure that X-Goog-Content-Length-Range, if it is sent, allows the size. Raises: InvalidRequestError."""
    if header is None:
        return
    match = LENGTH_RANGE.fullmatch(re.sub(r"\s", "", header))
    if match is None or not int(match.group(1)) <= size <= int(match.group(2)):
        raise InvalidRequestError(f"X-Goog-Content-Length-Range does not allow the {size} bytes that the URL is for")
