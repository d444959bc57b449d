"""HTTP itself, below the application: what the parser refuses gets the error body that everything else gets.

NOTE: h11, not httptools: with httptools uvicorn loses the body of a request that offers `Upgrade: h2c`, as Java's own
client does by default, and gathers headers of any size before a key is checked. h11 costs 0.15 ms a request more.

Source: https://github.com/Kludex/uvicorn/issues/2722
"""

from __future__ import annotations

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from embergate.errors import InvalidRequestError
from embergate.web.errors import error_response


class JSONErrorProtocol(H11Protocol):
    """uvicorn's protocol, with our body for what is not HTTP or has headers beyond 64 KiB."""

    def send_400_response(self, msg: str) -> None:
        """Answer, unless an answer is already on its way, and hang up."""
        if self.conn.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            body = bytes(error_response(InvalidRequestError(msg), None).body)
            head = f"content-type: application/json\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
            self.transport.write(b"HTTP/1.1 400 Bad Request\r\n" + head.encode() + body)
        self.transport.close()

    def _unsupported_upgrade_warning(self) -> None:
        """Say nothing: an offer to upgrade is declined by answering in HTTP/1.1."""
