"""Which network addresses are the public Internet's, decided. Resolves no name and opens no connection."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Network = IPv4Network | IPv6Network

NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052: a gateway turns the last 32 bits into an IPv4 address
GLOBAL_UNICAST = IPv6Network("2000::/3")  # RFC 4291: all that is given to the public, and nothing else


def is_reachable(address: str, networks: Sequence[Network] = ()) -> bool:
    """Whether the server may connect there for a stranger: a public address, or one of `networks`.

    An IPv6 address that stands for an IPv4 one is judged as what it stands for.
    """
    try:
        found = _unwrapped(ip_address(address))
    except ValueError:
        return False
    return _is_public(found) or any(found in network for network in networks)


def _unwrapped(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in NAT64:
            return IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def _is_public(address: IPv4Address | IPv6Address) -> bool:
    if not address.is_global or address.is_multicast or address.is_reserved:
        return False
    # 6to4 wraps an IPv4 address as well, and has no lawful use any more (RFC 7526)
    return isinstance(address, IPv4Address) or (address in GLOBAL_UNICAST and address.sixtofour is None)
