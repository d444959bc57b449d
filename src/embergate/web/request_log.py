"""What the log says of requests: a line for each at its end, and in every line written meanwhile whose request it was.

Only ids that are ours, patterns and numbers. Never a text, a credential, or what else a caller wrote.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from structlog.contextvars import bind_contextvars, clear_contextvars, get_contextvars

# What monitors ask all the time; ready says 503 as long as models are being loaded.
QUIET_ROUTES: Final = frozenset({"/health/live", "/health/ready", "/metrics"})
REFUSALS: Final = frozenset({401, 403, 412, 429})


@contextmanager
def logging_of(request_id: str) -> Iterator[None]:
    """Put a request's id, and what is noted of it, into every line that is logged until the end of the block."""
    before = get_contextvars()
    # NOTE: a pipelined request's task is begun by the task of the one before it, and has its context.
    clear_contextvars()
    bind_contextvars(request_id=request_id)
    try:
        yield
    finally:
        clear_contextvars()
        bind_contextvars(**before)


def note(**facts: str | int) -> None:
    """Put facts into every further line that is logged of the request; what is empty is left out."""
    bind_contextvars(**{name: fact for name, fact in facts.items() if fact != ""})


def level_of(route: str, status: int, *, is_write: bool) -> int:
    """Return the level that a request's line is logged at: what an operator would ask about stands out."""
    if route in QUIET_ROUTES:
        return logging.DEBUG
    if status >= 500:
        return logging.WARNING
    return logging.INFO if is_write or status in REFUSALS else logging.DEBUG


def stack_of(error: BaseException) -> str:
    """Return where an error comes from, and those that caused it, without their messages: they may quote a text."""
    lines: list[str] = []
    cause: BaseException | None = error
    seen: set[int] = set()
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        lines = [*traceback.format_tb(cause.__traceback__), type(cause).__qualname__, "\n", *lines]
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    return "".join(lines).rstrip()
