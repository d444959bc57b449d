"""What a caller got wrong, said in a way that a person can mend."""

from __future__ import annotations


class InvalidArgumentError(ValueError):
    """A part of a request is not valid; `field` names it as the caller spells it: `filter`, `pageToken`, `user.email`."""

    def __init__(self, message: str, *, field: str | None = None) -> None:
        """Store the message, which names what is wrong and what to write instead."""
        self.message = message
        self.field = field
        super().__init__(message)
