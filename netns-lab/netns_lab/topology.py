"""The lab's internet as data: who stands where, and every underlay address. Pure.

The shape is a tree. The `router` is the internet; every other namespace has exactly one uplink,
called `eth0`, to the router or to the site gateway (NAT or firewall) it stands behind. Only
documentation addresses are used on the internet (RFC 5737, RFC 3849), so that a leak is
recognisable; behind NAT stands a private IPv4 LAN and nothing else, as in most homes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)
from typing import Final, NewType

from netns_lab.errors import LabError

NodeName = NewType("NodeName", str)

ROUTER: Final = NodeName("router")
PLATFORM: Final = NodeName("platform")
UPLINK: Final = "eth0"
"""The underlay device of every namespace but the router; the other end carries the node's name."""

NODE_NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,13}")
"""A node's name is also the name of a network device (15 characters at most) and of files."""

HUB_POOL: Final = IPv4Network("203.0.113.0/24")
SPOKE_POOL: Final = IPv4Network("198.51.100.0/24")
FIREWALLED_POOL: Final = IPv4Network("192.0.2.0/24")


class Role(Enum):
    ROUTER = "router"
    PLATFORM = "platform"
    HUB = "hub"
    SPOKE = "spoke"
    NAT = "nat"
    FIREWALL = "firewall"
    LAPTOP = "laptop"


AGENT_ROLES: Final = frozenset({Role.HUB, Role.SPOKE})


class Access(Enum):
    """How a spoke reaches the internet: directly, or through a gateway of its own."""

    OPEN = "open"
    NAT = "nat"
    FIREWALL = "firewall"


@dataclass(frozen=True, slots=True)
class Site:
    """A spoke to build, or a user's laptop, which runs no agent. `gateway` names its NAT or firewall;
    empty for an open one."""

    name: str
    access: Access = Access.OPEN
    gateway: str = ""
    role: Role = Role.SPOKE


@dataclass(frozen=True, slots=True)
class Node:
    """One namespace."""

    name: NodeName
    role: Role

    @property
    def runs_agent(self) -> bool:
        return self.role in AGENT_ROLES


@dataclass(frozen=True, slots=True)
class Link:
    """A veth pair: device `lower` in namespace `upper`, device `eth0` in namespace `lower`.

    Addresses carry their prefix length. IPv6 is None on both ends of a LAN behind NAT.
    """

    upper: NodeName
    lower: NodeName
    upper_ipv4: IPv4Interface
    lower_ipv4: IPv4Interface
    upper_ipv6: IPv6Interface | None
    lower_ipv6: IPv6Interface | None


@dataclass(frozen=True, slots=True)
class Topology:
    """Nodes and links in the order in which they are made: a gateway before what is behind it."""

    nodes: tuple[Node, ...]
    links: tuple[Link, ...]

    def node(self, name: str) -> Node:
        """Raise `LabError` if there is no such node, naming those that are."""
        for node in self.nodes:
            if node.name == name:
                return node
        raise LabError(
            "no such node in the lab",
            value=name,
            expected="one of " + ", ".join(each.name for each in self.nodes),
        )

    def uplink(self, name: str) -> Link:
        """The link by which a node reaches the internet; every node but the router has one."""
        for link in self.links:
            if link.lower == name:
                return link
        raise LabError(
            "this node has no uplink", value=name, expected="a node other than the router"
        )

    def agents(self) -> tuple[Node, ...]:
        """The nodes that run an agent, hubs first as they were given."""
        return tuple(node for node in self.nodes if node.runs_agent)

    def underlay_ipv4(self, name: str) -> IPv4Address:
        """The node's own address on its uplink: private for a node behind NAT."""
        return self.uplink(name).lower_ipv4.ip

    def underlay_ipv6(self, name: str) -> IPv6Address | None:
        """The node's own IPv6 address on its uplink; None behind NAT."""
        address = self.uplink(name).lower_ipv6
        return None if address is None else address.ip

    def seen_as(self, name: str) -> tuple[IPv4Address | IPv6Address, ...]:
        """The addresses that the internet sees a node's packets come from."""
        link = self.uplink(name)
        if self.node(link.upper).role is Role.NAT:
            return (self.underlay_ipv4(link.upper),)
        ipv6 = self.underlay_ipv6(name)
        own: tuple[IPv4Address | IPv6Address, ...] = (self.underlay_ipv4(name),)
        return own if ipv6 is None else (*own, ipv6)

    def router_device(self, name: str) -> str:
        """The router's device towards a node: that of its gateway, if it stands behind one."""
        link = self.uplink(name)
        return str(link.lower if link.upper == ROUTER else link.upper)


def reference_topology() -> Topology:
    """The lab of `make lab`: two hubs, a spoke behind NAT, behind a firewall, and in the open, and a
    user's laptop behind the NAT of a cafe."""
    return build(
        hubs=("hub-1", "hub-2"),
        spokes=(
            Site("spoke-nat", Access.NAT, "nat"),
            Site("spoke-fw", Access.FIREWALL, "firewall"),
            Site("spoke-open"),
            Site("laptop", Access.NAT, "cafe", Role.LAPTOP),
        ),
    )


def two_account_topology() -> Topology:
    """As `reference_topology`, and a hub and a spoke in the open for a second account."""
    return build(
        hubs=("hub-1", "hub-2", "hub-b"),
        spokes=(
            Site("spoke-nat", Access.NAT, "nat"),
            Site("spoke-fw", Access.FIREWALL, "firewall"),
            Site("spoke-open"),
            Site("spoke-b"),
            Site("laptop", Access.NAT, "cafe", Role.LAPTOP),
        ),
    )


def plain_topology(*, hubs: int = 1, spokes: int = 2, platform: bool = True) -> Topology:
    """`hub-1`.. and `spoke-1`.., all in the open: the quick lab of most tests."""
    return build(
        hubs=tuple(f"hub-{number}" for number in range(1, hubs + 1)),
        spokes=tuple(Site(f"spoke-{number}") for number in range(1, spokes + 1)),
        platform=platform,
    )


def build(*, hubs: Sequence[str], spokes: Sequence[Site], platform: bool = True) -> Topology:
    """Lay out an internet. Addresses depend only on the order of the arguments.

    The platform always takes the first addresses of 203.0.113.0/24, hubs the next ones, whether or
    not there is a platform, so that adding one renumbers nobody. Raises `LabError` for a bad or
    repeated name, a site whose gateway does not fit its access, or a pool that is used up (64 links
    a pool).
    """
    hub_pairs, spoke_pairs, firewalled_pairs = (
        _pairs(pool) for pool in (HUB_POOL, SPOKE_POOL, FIREWALLED_POOL)
    )
    nodes = [Node(ROUTER, Role.ROUTER)]
    links: list[Link] = []

    def add(name: str, role: Role, upper: NodeName, pairs: Iterator[IPv4Network]) -> NodeName:
        node = Node(_checked(name, nodes), role)
        nodes.append(node)
        links.append(_link(upper, node.name, next(pairs), _ipv6_of(len(nodes))))
        return node.name

    if platform:
        add(PLATFORM, Role.PLATFORM, ROUTER, hub_pairs)
    else:
        next(hub_pairs)
    for name in hubs:
        add(name, Role.HUB, ROUTER, hub_pairs)
    behind_nat = 0
    for site in spokes:
        if (site.access is Access.OPEN) != (site.gateway == ""):
            raise LabError(
                "a site's gateway does not fit its access",
                which=f"site {site.name}",
                value=f"access {site.access.value}, gateway {site.gateway!r}",
                expected="a gateway's name behind NAT or a firewall, none in the open",
            )
        match site.access:
            case Access.OPEN:
                add(site.name, site.role, ROUTER, spoke_pairs)
            case Access.FIREWALL:
                firewall = add(site.gateway, Role.FIREWALL, ROUTER, spoke_pairs)
                add(site.name, site.role, firewall, firewalled_pairs)
            case Access.NAT:
                behind_nat += 1
                nat = add(site.gateway, Role.NAT, ROUTER, spoke_pairs)
                name = _checked(site.name, nodes)
                nodes.append(Node(name, site.role))
                links.append(_link(nat, name, IPv4Network(f"192.168.{behind_nat}.0/24"), None))
    return Topology(tuple(nodes), tuple(links))


def _pairs(pool: IPv4Network) -> Iterator[IPv4Network]:
    yield from pool.subnets(new_prefix=30)
    raise LabError(
        "no addresses left for another link", value=str(pool), expected="at most 64 links"
    )


def _ipv6_of(number: int) -> IPv6Network:
    return IPv6Network(f"2001:db8:0:{number:x}::/64")


def _link(upper: NodeName, lower: NodeName, ipv4: IPv4Network, ipv6: IPv6Network | None) -> Link:
    return Link(
        upper,
        lower,
        IPv4Interface((ipv4[1], ipv4.prefixlen)),
        IPv4Interface((ipv4[2], ipv4.prefixlen)),
        None if ipv6 is None else IPv6Interface((ipv6[1], ipv6.prefixlen)),
        None if ipv6 is None else IPv6Interface((ipv6[2], ipv6.prefixlen)),
    )


def _checked(name: str, existing: Iterable[Node]) -> NodeName:
    if not NODE_NAME.fullmatch(name):
        raise LabError("bad name of a node", value=name, expected="a-z, 0-9 and '-', at most 14")
    if name == UPLINK or name in {node.name for node in existing}:
        raise LabError("the name of a node is taken", value=name, expected="a name of its own")
    return NodeName(name)
