"""Which addresses a probe may connect to, so that a manifest cannot direct requests to an arbitrary address.

The decision is about the address of the connection, after the name was resolved, never about the name. An IPv6 address
that represents an IPv4 address (mapped, NAT64, 6to4) must be allowed as both.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

CONSUL_PORTS = frozenset({8300, 8301, 8302, 8500, 8501, 8502, 8503, 8600})

NAT64 = IPv6Network("64:ff9b::/96")
COMPATIBLE = IPv6Network("::/96")
"""Contains `::` and `::1` too, which represent no IPv4 address."""

BROADCAST = IPv4Address("255.255.255.255")

WITH_PORT = re.compile(r"(?:\[([^\[\]]+)\]|([^:\[\]]+))(?::([1-9][0-9]{0,4}))?")


@lru_cache(1024)
def is_address(text: str) -> bool:
    """Whether `text` is an IP address, with or without a zone, and not a name."""
    try:
        ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class Allowance:
    """A range of addresses that are allowed, although they are denied by default.

    `port` 0 means every port except those that are denied on every address: such a port must be named.
    """

    network: Network
    port: int = 0

    @classmethod
    def parse(cls, text: str) -> "Allowance":
        """Parses an address or `NETWORK/BITS`, each with or without `:PORT` (IPv6 in brackets then). Raises ValueError
        for any other form."""
        match = WITH_PORT.fullmatch(text)
        port = int(match[3] or 0) if match else 0
        try:
            network = ip_network((match[1] or match[2]) if match else text, strict=False)
        except ValueError:
            network = None
        if network is None or port > 65_535 or "%" in text:
            raise ValueError(f"expected an address or a network, perhaps with a port, got {text[:60]!r}")
        return cls(network, port)


@dataclass(frozen=True, slots=True)
class Guard:
    """The ports that are denied on every address, and the exceptions."""

    ports: frozenset[int] = CONSUL_PORTS
    allowed: tuple[Allowance, ...] = ()

    def objection(self, address: str, port: int) -> str:
        """Returns why a probe may not connect to `address` and `port`; "" if it may."""
        try:
            meanings = _meanings(ip_address(address.partition("%")[0]))
        except ValueError:
            return f"{address[:60]!r} is no address, and may not be probed"
        exceptions = {each.port for each in self.allowed if any(number in each.network for number in meanings)}
        kind = next(filter(None, map(_denied_kind, meanings)), "")
        if kind and not exceptions & {0, port}:
            return f"{address} is {kind}, and may not be probed"
        if port in self.ports and port not in exceptions:
            return f"port {port} is Consul's own, and may not be probed"
        return ""


def _meanings(number: Address) -> tuple[Address, ...]:
    """Returns the address and the IPv4 address that it represents, if any."""
    if isinstance(number, IPv4Address):
        return (number,)
    if number in NAT64 or (number in COMPATIBLE and int(number) > 0xFFFF):
        return number, IPv4Address(int(number) & 0xFFFF_FFFF)
    embedded = number.ipv4_mapped or number.sixtofour
    return (number, embedded) if embedded else (number,)


def _denied_kind(number: Address) -> str:
    if number.is_link_local:
        return "a link-local address"
    if number.is_multicast:
        return "a multicast address"
    if number.is_unspecified:
        return "the unspecified address"
    return "a broadcast address" if number == BROADCAST else ""
