"""What a handler raises to say how it goes on; anything else that it raises is taken for a bug, and tried again."""

from __future__ import annotations


class JobError(Exception):
    """The job cannot be done, however often it is tried: it fails with this code and message, which its owner reads."""

    def __init__(self, code: str, message: str) -> None:
        """Store a code of google.rpc.Code, as INVALID_ARGUMENT, and what is wrong and how to mend it."""
        self.code = code
        self.message = message
        super().__init__(f"{code}: {message}")


class RetryLater(Exception):  # noqa: N818 - no error, but a request
    """The chunk cannot be done now, for no fault of its own; it is tried again, and no attempt is used up."""

    def __init__(self, after_s: float, reason: str) -> None:
        """Store the seconds to wait, and why."""
        self.after_s = after_s
        self.reason = reason
        super().__init__(reason)


class LeaseLostError(Exception):
    """Another worker has the chunk, or the job has stopped: what was done counts for nothing. For handlers to let pass."""
