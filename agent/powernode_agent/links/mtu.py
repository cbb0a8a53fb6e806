"""The MTU of a link: what fits into one underlay packet. Pure.

WireGuard adds 32 bytes (type, receiver, counter, tag), UDP 8, and the outer IP header 40 or 20: 80
bytes over IPv6, 60 over IPv4 (WireGuard white paper, section 5.4.6). 1420 over 1500 is exact for an
IPv6 underlay. One link serves all peers, so the narrowest way counts.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv6Address
from typing import Final

from powernode_agent.model.network import MAX_MTU, MIN_MTU
from powernode_agent.model.values import Address

OVERHEAD_IPV6: Final = 80
OVERHEAD_IPV4: Final = 60
FALLBACK_MTU: Final = 1420
"""Ethernet less the larger overhead: for a node that has neither an endpoint nor a default route."""


def derive_mtu(
    fixed: int | None,
    underlay: Iterable[tuple[Address, int]],
    default_route_mtu: int | None,
    *,
    pods: bool = False,
) -> int:
    """MTU in bytes, 1280 to 9000.

    `fixed` is what desired state asks for, and wins. `underlay` has each endpoint's address with the
    MTU of the route to it; where it is empty (a hub that only listens) the default route's MTU stands
    in, with the larger overhead, since the peers may come by either family. Below 1280 IPv6 does not
    run, so an underlay too narrow for that makes WireGuard's packets fragment, which still works.

    `pods`: the network carries pods, which have the MTU of their own node's link and cross those of
    others. The larger overhead then counts for all, so that over equal underlays all links are equal,
    whichever family a node happens to know its peers by.
    """
    if fixed is not None:
        return fixed
    fitting = [
        mtu - (OVERHEAD_IPV6 if pods or isinstance(address, IPv6Address) else OVERHEAD_IPV4)
        for address, mtu in underlay
    ]
    if not fitting and default_route_mtu is not None:
        fitting = [default_route_mtu - OVERHEAD_IPV6]
    return max(MIN_MTU, min(MAX_MTU, *fitting)) if fitting else FALLBACK_MTU
