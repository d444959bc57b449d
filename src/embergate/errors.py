"""The one tree of errors that a caller of Embergate can meet.

Every error carries the HTTP status and the code that its plane answers with, so no layer below HTTP builds a response,
and no layer above has to guess one. A class's docstring is its default message.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import ClassVar


class EmbergateError(Exception):
    """Something went wrong inside the server."""

    http_status: ClassVar[int] = 500
    code: ClassVar[str] = "INTERNAL"

    def __init__(self, message: str | None = None, *, param: str | None = None) -> None:
        """Store `message` (default: the class's docstring) and the request field that caused it."""
        self.message = message or (inspect.getdoc(type(self)) or "").split("\n\n")[0]
        self.param = param
        # What the answer's headers tell besides: of limits.
        self.headers: Mapping[str, str] = {}
        super().__init__(self.message)


class InvalidRequestError(EmbergateError):
    """The request is not valid."""

    http_status = 400
    code = "INVALID_REQUEST"


class UnauthorizedError(EmbergateError):
    """The API key is missing or not valid."""

    http_status = 401
    code = "UNAUTHORIZED"


class UnauthenticatedError(EmbergateError):
    """The token is not valid."""

    # NOTE: of a token in a body; a missing or bad key in a header is an UnauthorizedError.
    http_status = 401
    code = "UNAUTHENTICATED"


class ForbiddenError(EmbergateError):
    """The API key has no permission for this."""

    http_status = 403
    code = "FORBIDDEN"


class NotFoundError(EmbergateError):
    """There is nothing at this path."""

    http_status = 404
    code = "NOT_FOUND"


class ModelNotFoundError(NotFoundError):
    """Model not found, inaccessible, and/or not deployed"""

    # NOTE: fireworks-ai 0.x retries on this very sentence.


class MethodNotAllowedError(EmbergateError):
    """The path does not answer to this method."""

    http_status = 405
    code = "METHOD_NOT_ALLOWED"


class RequestTimeoutError(EmbergateError):
    """The request took longer than the server's limit."""

    http_status = 408
    code = "TIMEOUT"


class FingerprintMismatchError(EmbergateError):
    """The model served is not the one the request expects."""

    http_status = 409
    code = "FINGERPRINT_MISMATCH"


class AlreadyExistsError(EmbergateError):
    """There is one of this name already."""

    http_status = 409
    code = "ALREADY_EXISTS"


class FailedPreconditionError(EmbergateError):
    """The resource is not in a state that allows this."""

    http_status = 400
    code = "FAILED_PRECONDITION"


class SuspendedError(EmbergateError):
    """The account is suspended."""

    # NOTE: of the inference plane, where Fireworks answers so.
    http_status = 412
    code = "PRECONDITION_FAILED"


class TooManyRequestsError(EmbergateError):
    """Too many requests; try again after the time in retry-after."""

    http_status = 429
    code = "RESOURCE_EXHAUSTED"

    def __init__(self, message: str | None = None, *, retry_after_s: float = 1.0) -> None:
        """Store the seconds to wait."""
        super().__init__(message)
        self.retry_after_s = retry_after_s


class RateLimitedError(TooManyRequestsError):
    """A limit of the account is reached; try again after the time in retry-after."""

    code = "RATE_LIMIT_EXCEEDED"


class PayloadTooLargeError(EmbergateError):
    """The request body is larger than the server accepts."""

    http_status = 413
    code = "PAYLOAD_TOO_LARGE"


class RangeNotSatisfiableError(EmbergateError):
    """There are no such bytes."""

    http_status = 416
    code = "OUT_OF_RANGE"


class UnavailableError(EmbergateError):
    """Something that the server needs cannot be reached; try again."""

    http_status = 503
    code = "UNAVAILABLE"


class OverloadedError(EmbergateError):
    """The server's queue is full."""

    http_status = 503
    code = "OVERLOADED"

    def __init__(self, message: str | None = None, *, retry_after_s: float = 1.0) -> None:
        """Store how many seconds the queue needs to drain."""
        super().__init__(message)
        self.retry_after_s = retry_after_s


class ModelLoadingError(OverloadedError):
    """The server is still loading its models; try again after the time in retry-after."""

    code = "DEPLOYMENT_SCALING_UP"


class ShuttingDownError(OverloadedError):
    """The server is shutting down."""

    code = "SHUTTING_DOWN"


class ModelError(EmbergateError):
    """A model cannot be loaded: the message names the file or field and the mend."""

    http_status = 500
    code = "MODEL_ERROR"


class UnsupportedArchitectureError(ModelError):
    """The model's architecture is not built in."""


class ConfigurationError(EmbergateError):
    """A setting is not valid: the message names it and the mend."""
