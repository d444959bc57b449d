"""HTTP answers from a server that is not ours: no larger than a bound, whatever it says of their length."""

from __future__ import annotations

from typing import Final

import httpx2

from embergate.web.certificates import trusted_certificates

MAX_BYTES: Final = 1 << 20


class BoundedTransport(httpx2.AsyncBaseTransport):
    """Reads answers whole, and breaks off what is too large. A compressed one is refused: it could hold anything."""

    def __init__(self, inner: httpx2.AsyncBaseTransport | None = None) -> None:
        """Send requests by the network, or by `inner`."""
        self._inner = inner or httpx2.AsyncHTTPTransport(verify=trusted_certificates())

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request. Raises: httpx2.ReadError for an answer larger than `MAX_BYTES`."""
        request.headers["accept-encoding"] = "identity"
        response = await self._inner.handle_async_request(request)
        received = bytearray()
        try:
            if response.headers.get("content-encoding", "identity") != "identity":
                raise httpx2.ReadError("the answer is compressed", request=request)
            async for chunk in response.aiter_raw():
                received += chunk
                if len(received) > MAX_BYTES:
                    raise httpx2.ReadError("the answer is too large", request=request)
        finally:
            await response.aclose()
        return httpx2.Response(response.status_code, headers=response.headers, content=bytes(received))

    async def aclose(self) -> None:
        """Close the connections."""
        await self._inner.aclose()
