"""How often somebody may try to log in: a moving window for each client and for each address, in this process's memory."""

from __future__ import annotations

import ipaddress
from typing import Final

from embergate.errors import TooManyRequestsError
from embergate.gateway.moving_window import MovingWindow
from embergate.gateway.sessions.rules import SessionRules

# Whoever has one IPv6 address has the 2**64 of its network.
IPV6_NETWORK_BITS: Final = 64
# What one client may try at an address, this many clients together may: a single one cannot lock the address's owner out.
CLIENTS_AN_ADDRESS: Final = 10


class LoginAttempts:
    """Counts attempts, successful ones too: which they are is known too late to stop others that run beside."""

    def __init__(self, rules: SessionRules) -> None:
        """Start with nothing counted."""
        self._by_client = MovingWindow(rules.attempts_per_client)
        self._by_client_at_address = MovingWindow(rules.attempts_per_address)
        self._by_address = MovingWindow(rules.attempts_per_address * CLIENTS_AN_ADDRESS)

    def admit(self, client_ip: str, address: str | None) -> None:
        """Count an attempt from a client, at an address if it names one. Raises: TooManyRequestsError."""
        network = _network_of(client_ip)
        wait_s = self._by_client.admit(network)
        if not wait_s and address is not None:
            wait_s = self._by_client_at_address.admit((network, address)) or self._by_address.admit(address)
        if wait_s:
            raise TooManyRequestsError("too many logins; try again later", retry_after_s=wait_s)


def _network_of(client_ip: str) -> str:
    try:
        address = ipaddress.ip_address(client_ip)
    except ValueError:
        return client_ip  # a Unix socket's client has none
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is None:
            return str(ipaddress.ip_network((address.packed, IPV6_NETWORK_BITS), strict=False))
        address = address.ipv4_mapped  # as a socket for both versions, or a proxy behind one, spells an IPv4 address
    return str(address)
