"""Rule sets that overlap as nastily as rules can, and packets at their edges.

Everything is drawn from small pools, so that rules meet: nested prefixes of both families, host
addresses inside them, ports at both ends of the range, few priorities and ages. Packets are drawn from
the edges of the very same prefixes and port ranges, one inside and one outside.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Final

from hypothesis import strategies as st
from tests.unit.firewall.firewall_reference import GRE, ICMP, ICMP6, SCTP, TCP, UDP, Packet

from powernode_agent.model.firewall import (
    AllSelector,
    CidrSelector,
    FirewallAction,
    FirewallDirection,
    FirewallPolicy,
    FirewallProtocol,
    FirewallRule,
    FirewallRuleId,
    FirewallSelector,
    FirewallTag,
    FirewallTagId,
    PeerSelector,
    PortRange,
    TagSelector,
)
from powernode_agent.model.values import Address, NetworkId, PeerId, Prefix

NETWORK: Final = NetworkId("net-core")

PREFIXES: Final[tuple[Prefix, ...]] = tuple(
    ip_network(text)
    for text in (
        "::/0",
        "fd00::/8",
        "fd00:1::/64",
        "fd00:1::a:0/112",
        "fd00:1::a:1/128",
        "fd00:1::a:2/127",
        "fd00:1::a:2/128",
        "fd00:1::b:1/128",
        "fd00:20::/48",
        "fd00:20:0:8000::/49",
        "fd00:20:0:1::/64",
        "fd00:20:0:1::7/128",
        "fd00:20:0:1::8/125",
        "2001:db8::/32",
        "0.0.0.0/0",
        "10.0.0.0/8",
        "10.9.0.0/16",
        "10.9.0.1/32",
        "10.9.0.2/31",
        "10.9.0.2/32",
        "10.20.0.0/16",
        "10.20.128.0/17",
        "10.20.1.0/24",
        "10.20.1.7/32",
        "198.51.100.0/24",
    )
)
HOSTS: Final = tuple(p for p in PREFIXES if p.prefixlen == p.max_prefixlen)
PORTS: Final = (1, 2, 22, 53, 80, 81, 443, 1024, 8443, 8480, 65534, 65535)
TAG_IDS: Final = tuple(FirewallTagId(f"tag-{n}") for n in range(4))
UNKNOWN_TAG: Final = FirewallTagId("tag-unknown")


@dataclass(frozen=True)
class Filtering:
    """What a network says about filtering."""

    rules: tuple[FirewallRule, ...]
    tags: dict[FirewallTagId, FirewallTag]
    policy: FirewallPolicy


prefixes = st.sampled_from(PREFIXES)
actions = st.sampled_from(FirewallAction)


@st.composite
def port_ranges(draw: st.DrawFn) -> PortRange:
    pool = st.sampled_from(PORTS) | st.integers(1, 65535)
    first, last = sorted((draw(pool), draw(pool)))
    return PortRange(first, first if draw(st.booleans()) else last)


def selectors() -> st.SearchStrategy[FirewallSelector]:
    few = st.lists(prefixes, max_size=4, unique=True).map(tuple)
    return st.one_of(
        st.builds(PeerSelector, st.sampled_from([PeerId("p1"), PeerId("p2")]), few),
        st.sampled_from(HOSTS).map(lambda host: PeerSelector(PeerId("p3"), (host,))),
        st.sampled_from((*TAG_IDS, UNKNOWN_TAG)).map(TagSelector),
        prefixes.map(CidrSelector),
        st.just(AllSelector()),
    )


@st.composite
def rules(draw: st.DrawFn, number: int) -> FirewallRule:
    direction = draw(st.sampled_from(FirewallDirection))
    selector = draw(selectors())
    protocol = draw(st.sampled_from(FirewallProtocol))
    if isinstance(selector, CidrSelector) and isinstance(selector.prefix, IPv4Network):
        # The model refuses the pair.
        protocol = FirewallProtocol.ANY if protocol is FirewallProtocol.ICMP6 else protocol
    ports = draw(st.none() | port_ranges()) if protocol.has_ports else None
    destinations: list[Prefix] = []
    if direction is FirewallDirection.INGRESS:
        destinations = draw(st.just([]) | st.lists(prefixes, max_size=3, unique=True))
    return FirewallRule(
        # Ids that do not sort as the rules are given: the id breaks ties.
        id=FirewallRuleId(f"fr-{number * 7 % 10}-{number}"),
        network_id=NETWORK,
        direction=direction,
        action=draw(actions),
        selector=selector,
        protocol=protocol,
        created_at_ms=draw(st.integers(1, 3)),
        port_range=ports,
        priority=draw(st.sampled_from((-1, 0, 0, 0, 5))),
        destinations=tuple(destinations),
    )


@st.composite
def filterings(draw: st.DrawFn, max_rules: int = 14, min_rules: int = 0) -> Filtering:
    count = draw(st.integers(min_rules, max_rules))
    tags = {
        tag_id: FirewallTag(tag_id, NETWORK, f"name of {tag_id}", frozenset(members))
        for tag_id in TAG_IDS
        for members in (
            draw(
                st.lists(st.sampled_from(HOSTS), max_size=4)  # hosts only
                | st.lists(prefixes, max_size=5)
            ),
        )
    }
    return Filtering(
        tuple(draw(rules(number)) for number in range(count)),
        tags,
        FirewallPolicy(draw(actions), draw(actions)),
    )


def _edges(prefix: Prefix) -> Iterable[Address]:
    first = int(prefix.network_address)
    last = int(prefix.broadcast_address)
    kind = type(prefix.network_address)
    for number in (first - 1, first, first + 1, last - 1, last, last + 1):
        if 0 <= number < 2**prefix.max_prefixlen:
            yield kind(number)


def _can_be_sent(address: Address) -> bool:
    """Whether a host would take it for a source or destination at all."""
    if address.version == 4:
        return 1 <= int(address) >> 24 <= 223 and not address.is_loopback
    return not (address.is_multicast or address.is_link_local or int(address) < 2**100)


ADDRESSES: Final[Sequence[Address]] = tuple(
    dict.fromkeys(
        address
        for prefix in PREFIXES
        for address in (*_edges(prefix), ip_address("fd00:99::1"), ip_address("203.0.113.9"))
        if _can_be_sent(address)
    )
)
ADDRESSES_OF: Final = {
    version: tuple(address for address in ADDRESSES if address.version == version)
    for version in (4, 6)
}


@st.composite
def packets(
    draw: st.DrawFn, filtering: Filtering, direction: FirewallDirection | None = None
) -> Packet:
    addresses = st.sampled_from(ADDRESSES_OF[draw(st.sampled_from((4, 6)))])
    protocol = draw(st.sampled_from((TCP, TCP, TCP, UDP, UDP, ICMP6, ICMP6, ICMP, SCTP, GRE)))
    edges = {
        port
        for rule in filtering.rules
        if (held := rule.port_range) is not None
        for port in (held.first - 1, held.first, held.last, held.last + 1)
        if 0 <= port <= 65535
    }
    port = draw(st.sampled_from(sorted(edges | set(PORTS)))) if protocol in (TCP, UDP) else None
    either = st.sampled_from((FirewallDirection.INGRESS, FirewallDirection.EGRESS))
    return Packet(
        direction=direction or draw(either),
        source=draw(addresses),
        destination=draw(addresses),
        protocol=protocol,
        port=port,
    )


def widest(version: int) -> Prefix:
    """Every address of a family."""
    return IPv4Network("0.0.0.0/0") if version == 4 else IPv6Network("::/0")
