"""How often somebody may try to log in: a moving window for each client and for each address, in this process's memory.

NOTE: not `limits`' own memory storage: it never drops the key of an address, and anybody can make addresses up.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict, deque
from typing import Final

from embergate.clock import monotonic_s
from embergate.errors import TooManyRequestsError
from embergate.gateway.sessions.rules import SessionRules

WINDOW_S: Final = 300.0
MAX_KEYS: Final = 10_000
# Whoever has one IPv6 address has the 2**64 of its network.
IPV6_NETWORK_BITS: Final = 64


class MovingWindow:
    """At most `limit` events of a key in any `WINDOW_S` seconds; of too many keys, those longest unseen are forgotten."""

    def __init__(self, limit: int) -> None:
        """Start with nothing counted."""
        self._limit = limit
        self._times: OrderedDict[str, deque[float]] = OrderedDict()

    def admit(self, key: str) -> float:
        """Count an event and return 0.0; or return the seconds until one would be admitted, and count nothing."""
        moment_s = monotonic_s()
        times = self._times.setdefault(key, deque(maxlen=self._limit))
        self._times.move_to_end(key)
        if len(self._times) > MAX_KEYS:
            self._times.popitem(last=False)
        if len(times) == self._limit and moment_s - times[0] < WINDOW_S:
            return WINDOW_S - (moment_s - times[0])
        times.append(moment_s)
        return 0.0


class LoginAttempts:
    """Counts attempts, successful ones too: which they are is known too late to stop others that run beside."""

    def __init__(self, rules: SessionRules) -> None:
        """Start with nothing counted."""
        self._by_client = MovingWindow(rules.attempts_per_client)
        self._by_address = MovingWindow(rules.attempts_per_address)

    def admit(self, client_ip: str, address: str | None) -> None:
        """Count an attempt from a client, at an address if it names one. Raises: TooManyRequestsError."""
        wait_s = self._by_client.admit(_network_of(client_ip))
        if not wait_s and address is not None:
            wait_s = self._by_address.admit(address)
        if wait_s:
            raise TooManyRequestsError("too many logins; try again later", retry_after_s=wait_s)


def _network_of(client_ip: str) -> str:
    try:
        address = ipaddress.ip_address(client_ip)
    except ValueError:
        return client_ip  # a Unix socket's client has none
    if isinstance(address, ipaddress.IPv4Address):
        return client_ip
    return str(ipaddress.ip_network((address.packed, IPV6_NETWORK_BITS), strict=False))
