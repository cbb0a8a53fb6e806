"""At which addresses outsiders may reach this node's WireGuard ports, as far as it can tell. Pure.

The node reports candidates; the platform, which sees where the node comes from, decides. Addresses
that the internet may route stand before private ones: a peer that cannot be reached at the first
candidate should fail for a good reason. Documentation ranges count as public, since networks that
are built to try this out use them as their internet; `ipaddress.is_global` has another opinion, so the
private ranges are listed here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Final

from powernode_agent.model.desired_state import DesiredState
from powernode_agent.model.status import EndpointCandidate
from powernode_agent.model.values import LINK_PREFIX, Address, Endpoint, Prefix

PRIVATE: Final[tuple[Prefix, ...]] = tuple(
    ip_network(text)
    for text in (
        "10.0.0.0/8",  # RFC 1918
        "172.16.0.0/12",
        "192.168.0.0/16",
        "100.64.0.0/10",  # RFC 6598, a carrier's NAT
        "198.18.0.0/15",  # RFC 2544, benchmarks
        "fc00::/7",  # RFC 4193, unique local
        "fec0::/10",  # RFC 3879, the former site-local
    )
)
"""Ranges that the internet does not route but a site may."""

NEVER: Final[tuple[Prefix, ...]] = tuple(
    ip_network(text)
    for text in (
        "0.0.0.0/8",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "224.0.0.0/3",  # multicast, reserved, broadcast
        "::/127",  # unspecified and loopback
        "::ffff:0:0/96",  # IPv4-mapped
        "fe80::/10",
        "ff00::/8",
    )
)
"""Ranges in which no peer on another host can ever reach anything."""


@dataclass(frozen=True, slots=True)
class InterfaceAddress:
    """One address of an interface of this host; the flags as in linux/if_addr.h."""

    interface: str
    address: Address
    deprecated: bool = False
    """IFA_F_DEPRECATED: past its preferred lifetime, about to go away."""
    temporary: bool = False
    """IFA_F_TEMPORARY: a privacy address (RFC 8981), gone within a day."""
    tentative: bool = False
    """IFA_F_TENTATIVE or IFA_F_DADFAILED: not usable, perhaps another host's."""


def endpoint_candidates(
    state: DesiredState | None, addresses: Iterable[InterfaceAddress]
) -> tuple[EndpointCandidate, ...]:
    """Every usable address with every network's port, best first within a network.

    Public before private, IPv4 before IPv6 (more peers can reach it), then by value: the order does
    not change between two looks at the same host.
    """
    if state is None:
        return ()
    pods = tuple(
        one.network.pod_subnet_prefix
        for one in state.networks.values()
        if one.network.pod_subnet_prefix is not None
    )
    # Behind the address of a bridge are pods of this node alone.
    usable = sorted(
        {a.address for a in addresses if _usable(a) and not _inside(a.address, pods)}, key=_rank
    )
    return tuple(
        EndpointCandidate(network_id, Endpoint(address, port))
        for network_id, port in sorted(
            (network_id, one.network.interface.listen_port)
            for network_id, one in state.networks.items()
        )
        for address in usable
    )


def is_private(address: Address) -> bool:
    """Whether the internet does not route to `address`."""
    return _inside(address, PRIVATE)


def _usable(candidate: InterfaceAddress) -> bool:
    if candidate.deprecated or candidate.temporary or candidate.tentative:
        return False
    # An overlay address as the way to the overlay would be a tunnel through itself.
    if candidate.interface.startswith(LINK_PREFIX) or candidate.interface == "lo":
        return False
    return not _inside(candidate.address, NEVER)


def _rank(address: Address) -> tuple[bool, int, int]:
    return is_private(address), address.version, int(address)


def _inside(address: Address, prefixes: tuple[Prefix, ...]) -> bool:
    return any(prefix.version == address.version and address in prefix for prefix in prefixes)
