"""Counting and charging, as the inference plane sees it: reserve before a call runs, settle before its answer leaves."""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Final, Protocol

from embergate.errors import EmbergateError, InvalidRequestError
from embergate.web.caller import Caller

ANNOTATIONS_HEADER: Final = "fireworks-annotations"
IDEMPOTENCY_HEADER: Final = "idempotency-key"
MAX_ANNOTATION_CHARACTERS: Final = 128
IDEMPOTENCY_KEY: Final = re.compile(r"[!-~]{1,255}")


class UsageKind(enum.StrEnum):
    """What a call is for, as bills tell it apart."""

    EMBEDDING = "EMBEDDING_INFERENCE_USAGE"
    RERANK = "RERANK_INFERENCE_USAGE"


@dataclass(frozen=True, slots=True)
class Annotations:
    """What a caller marks its calls with, for whoever reads the bill; empty where it marks nothing."""

    team: str = ""
    project: str = ""
    environment: str = ""


@dataclass(frozen=True, slots=True)
class Demand:
    """A call that asks to be run. `model` is a resource name, `list_price_nanos` what a token of it costs by its size.

    `request_digest` tells two bodies apart that come with the same idempotency key. A dry run is let in where money alone
    would keep it out, to be told so.
    """

    request_id: str
    caller: Caller
    model: str
    list_price_nanos: int
    annotations: Annotations = Annotations()
    idempotency_key: str | None = None
    request_digest: bytes | None = None
    is_dry_run: bool = False
    usage: UsageKind = UsageKind.EMBEDDING


@dataclass(frozen=True, slots=True)
class Quote:
    """What a call would cost and meet: `headers` say what is left of limits, `refusal` what would keep it out now.

    Units: billionths of a dollar; `price_nanos` is that of a token.
    """

    price_nanos: int
    cost_nanos: int
    headers: Mapping[str, str]
    refusal: EmbergateError | None = None


class Tab(Protocol):
    """One call's account while it runs."""

    async def reserve(self, num_tokens: Sequence[int]) -> None:
        """Set aside what the tokens of each input cost.

        Raises: SuspendedError if credit or the monthly limit does not reach; TooManyRequestsError beyond a limit.
        """
        ...

    async def settle(self) -> None:
        """Charge what was reserved; once this returns the charge is as durable as the settings say.

        Raises: SuspendedError if other servers have used up the credit meanwhile; UnavailableError if it cannot be written.
        """
        ...

    async def quote(self, num_tokens: int) -> Quote:
        """Tell what so many tokens would cost and meet, in place of all that; nothing is reserved or charged."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """What the answer's headers say of limits, a failure's too."""
        ...


class Meter(Protocol):
    """Whoever counts and charges."""

    def open(self, demand: Demand) -> AbstractAsyncContextManager[Tab]:
        """Let a call begin; what it reserved and did not settle is given back at the end of the block.

        Raises: SuspendedError if the account is suspended; TooManyRequestsError beyond a limit; InvalidRequestError for an
            idempotency key that came with another body before; on entering the block.
        """
        ...


def annotations_of(headers: Sequence[str]) -> Annotations:
    """Read `team=a,project=b,environment=c`, in UTF-8, of one header or several; other keys are dropped, as Fireworks does.

    Raises: InvalidRequestError for a value that is too long, or holds what cannot be printed.
    """
    found: dict[str, str] = {}
    for part in _decoded(",".join(headers)).split(","):
        key, _, value = (piece.strip() for piece in part.partition("="))
        if key not in Annotations.__slots__:
            continue
        if len(value) > MAX_ANNOTATION_CHARACTERS or not value.isprintable():
            raise InvalidRequestError(
                f"{ANNOTATIONS_HEADER}: {key} must have at most {MAX_ANNOTATION_CHARACTERS} printable characters",
                param=ANNOTATIONS_HEADER,
            )
        found[key] = value
    return Annotations(**found)


def _decoded(header: str) -> str:
    """Return a header's text; servers hand on its bytes as Latin-1, which some clients mean by them."""
    try:
        return header.encode("latin-1").decode()
    except UnicodeError:
        return header


def idempotency_key_of(header: str | None) -> str | None:
    """Return the key that a client names a call by, to send it again without being billed again.

    Raises: InvalidRequestError if it is not 1 to 255 visible ASCII characters.
    """
    if header is not None and not IDEMPOTENCY_KEY.fullmatch(header):
        raise InvalidRequestError(
            f"{IDEMPOTENCY_HEADER} must be 1 to 255 visible ASCII characters", param=IDEMPOTENCY_HEADER
        )
    return header
