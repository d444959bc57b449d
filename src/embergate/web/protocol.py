"""HTTP itself, below the application: what the parser refuses gets the error body that everything else gets, and a
connection that costs more than it asks for is closed.

NOTE: h11, not httptools: with httptools uvicorn loses the body of a request that offers `Upgrade: h2c`, as Java's own
client does by default, and gathers headers of any size before a key is checked. h11 is Python: it costs 0.15 ms a request
more, and some 10 us for every chunk of a body, on the event loop and before a key is checked. Hence the bound on chunks.

Source: https://github.com/Kludex/uvicorn/issues/2722
"""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar, Final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from embergate.errors import EmbergateError, InvalidRequestError, OverloadedError
from embergate.web.errors import error_response

MAX_HEAD_BYTES: Final = 64 << 10
# A body may come in this many pieces, whatever their size; in more only if they hold MIN_PIECE_BYTES on average.
MAX_SMALL_PIECES: Final = 10_000
MIN_PIECE_BYTES: Final = 64


class BoundedConnection(h11.Connection):
    """h11's parser, for which a body in very many tiny pieces is not valid HTTP."""

    def __init__(self) -> None:
        """Start as a server."""
        super().__init__(h11.SERVER, MAX_HEAD_BYTES)
        self._num_pieces = self._num_bytes = 0

    def next_event(self) -> Any:
        """Parse the next event. Raises: h11.RemoteProtocolError if it is not HTTP, or not reasonable."""
        event = super().next_event()
        if isinstance(event, h11.Data):
            self._num_pieces += 1
            self._num_bytes += len(event.data)
            if self._num_pieces > MAX_SMALL_PIECES and self._num_bytes < MIN_PIECE_BYTES * self._num_pieces:
                raise h11.RemoteProtocolError(f"more than {MAX_SMALL_PIECES} tiny chunks")
        elif isinstance(event, h11.Request):
            self._num_pieces = self._num_bytes = 0
        return event


class JSONErrorProtocol(H11Protocol):
    """uvicorn's protocol, with our body for what is not HTTP, has a head beyond 64 KiB, or is one connection too many."""

    # Seconds for a request's head to come, from the connection's start or the last answer's end.
    head_timeout_s: ClassVar[float] = 10.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Do as uvicorn's, with a bounded parser; `limit_concurrency` is kept to in `connection_made`."""
        super().__init__(*args, **kwargs)
        self.conn = BoundedConnection()
        self.limit_concurrency = None  # uvicorn would answer in plain text
        self._head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take one more connection, unless there are too many."""
        super().connection_made(transport)
        limit = self.config.limit_concurrency
        if limit is not None and len(self.connections) > limit:
            self._hang_up_with(
                OverloadedError("too many connections are open; try again after the time in retry-after")
            )
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        if self._head_timer is not None:
            self._head_timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what has come; hang up if it is the body of a request that is answered already."""
        if self.cycle is not None and self.cycle.response_complete and self.conn.their_state is h11.SEND_BODY:
            self.transport.close()
        else:
            super().data_received(data)

    def on_response_complete(self) -> None:
        """Await the next request."""
        self._await_head()
        super().on_response_complete()

    def _await_head(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
        self._head_timer = self.loop.call_later(self.head_timeout_s, self._check_head)

    def _check_head(self) -> None:
        if self.conn.their_state is h11.IDLE:  # uvicorn's keep-alive timer stops at the first byte of a head
            self.transport.close()

    def send_400_response(self, msg: str) -> None:
        """Answer, unless an answer is already on its way, and hang up."""
        self._hang_up_with(InvalidRequestError(msg))

    def _hang_up_with(self, error: EmbergateError) -> None:
        if self.conn.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            response = error_response(error, None)
            response.headers["connection"] = "close"
            lines = [f"HTTP/1.1 {response.status_code} ".encode(), *(b"%s: %s" % pair for pair in response.raw_headers)]
            self.transport.write(b"\r\n".join([*lines, b"", bytes(response.body)]))
        self.transport.close()

    def _unsupported_upgrade_warning(self) -> None:
        """Say nothing: an offer to upgrade is declined by answering in HTTP/1.1."""
