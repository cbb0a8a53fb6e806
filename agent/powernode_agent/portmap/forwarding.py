"""IPv4 forwarding for what mappings bring in, no wider than needed.

The kernel asks the link by which a packet comes in (`ip_forward` would do for every link of the host).
So it is turned on where mapped packets come in: on the link that holds the external address, or, where
that is on `lo` or on none, because it is routed here, on the link of the default route. IPv6 forwarding
is on on every hub already, and so is IPv4's on overlay links (the room `links`).

It is never set back: others may have come to depend on it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address
from typing import Final

from powernode_agent.errors import AgentError
from powernode_agent.portmap.port import Kernel, Sysctls

_ANYWHERE: Final = IPv4Address("192.88.99.1")
"""Given back by RFC 7526: nobody has a route of its own to it, so the default route leads there."""


async def incoming_links(
    kernel: Kernel, addresses: Iterable[IPv4Address]
) -> Mapping[IPv4Address, frozenset[str]]:
    """The links by which packets to each of these external addresses come in. Raises `NetlinkError`."""
    held: dict[IPv4Address, set[str]] = {address: set() for address in addresses}
    if not held:
        return {}
    for index, link in kernel.links().items():
        if link.name == "lo":
            continue
        for each in kernel.addresses(index):
            if isinstance(each.address, IPv4Address) and each.address in held:
                held[each.address].add(link.name)
    default = frozenset[str]()
    if not all(held.values()):
        route = await kernel.route_to(_ANYWHERE)
        out = None if route is None or route.oif is None else kernel.links().get(route.oif)
        if out is not None and out.name != "lo":
            default = frozenset({out.name})
    return {address: frozenset(links) or default for address, links in held.items()}


def forwarding_of(link: str) -> str:
    """The setting that lets packets that come in by a link be forwarded."""
    return f"net/ipv4/conf/{link}/forwarding"


def missing(keys: Iterable[str], sysctls: Sysctls) -> tuple[str, ...]:
    """Those of `keys` that are not 1. One that cannot be read is missing: setting it says why."""
    found: list[str] = []
    for key in sorted(keys):
        try:
            value = sysctls.read(key)
        except AgentError:
            value = None
        if value != "1":
            found.append(key)
    return tuple(found)
