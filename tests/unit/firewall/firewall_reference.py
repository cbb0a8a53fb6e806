"""What the runbook says of a packet, written down as plainly as it can be: the first rule that matches.

The compiler and the kernel are held against this, so it shares nothing with them but the model's
classes: the order is spelled out anew, prefixes are compared one by one, nothing is merged or sorted
into sets. It is slow and means to be.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from powernode_agent.model.firewall import (
    AllSelector,
    CidrSelector,
    FirewallAction,
    FirewallDirection,
    FirewallPolicy,
    FirewallProtocol,
    FirewallRule,
    FirewallTag,
    FirewallTagId,
    PeerSelector,
    TagSelector,
)
from powernode_agent.model.values import Address, Prefix

ICMP, TCP, UDP, GRE, ICMP6, SCTP = 1, 6, 17, 47, 58, 132


@dataclass(frozen=True)
class Packet:
    """A packet that opens a conversation, as the holding peer sees it cross its link. `protocol` is the
    number of the IPv4 protocol or of the IPv6 upper layer; `port` the destination port, of TCP and
    UDP only."""

    direction: FirewallDirection
    source: Address
    destination: Address
    protocol: int
    port: int | None = None

    def __post_init__(self) -> None:
        assert self.direction is not FirewallDirection.BOTH
        assert self.source.version == self.destination.version
        assert (self.port is not None) == (self.protocol in (TCP, UDP))

    @property
    def far_end(self) -> Address:
        """Who a selector is about: the source of what comes in, the destination of what goes out."""
        if self.direction is FirewallDirection.INGRESS:
            return self.source
        return self.destination


Tags = Mapping[FirewallTagId, FirewallTag]


def decide(
    rules: Iterable[FirewallRule], tags: Tags, policy: FirewallPolicy, packet: Packet
) -> FirewallAction:
    """What happens to a packet."""
    rule = deciding(rules, tags, packet)
    if rule is not None:
        return rule.action
    return policy.ingress if packet.direction is FirewallDirection.INGRESS else policy.egress


def deciding(rules: Iterable[FirewallRule], tags: Tags, packet: Packet) -> FirewallRule | None:
    """The rule that decides over a packet; None: the policy does."""
    for rule in sorted(rules, key=_precedence):
        if matches(rule, tags, packet):
            return rule
    return None


def matches(rule: FirewallRule, tags: Tags, packet: Packet) -> bool:
    """Whether a rule is about a packet."""
    return (
        rule.direction in (packet.direction, FirewallDirection.BOTH)
        and _names(rule, tags, packet.far_end)
        and _speaks_of(rule, packet)
        and (not rule.destinations or _any_holds(rule.destinations, packet.destination))
    )


def _precedence(rule: FirewallRule) -> tuple[int, int, int, str]:
    match rule.selector:
        case PeerSelector():
            tier = 1
        case TagSelector():
            tier = 2
        case CidrSelector():
            tier = 3
        case AllSelector():
            tier = 4
    return (tier, rule.priority, rule.created_at_ms, rule.id)


def _names(rule: FirewallRule, tags: Tags, address: Address) -> bool:
    match rule.selector:
        case PeerSelector(prefixes=prefixes):
            return _any_holds(prefixes, address)
        case TagSelector(tag_id=tag_id):
            return tag_id in tags and _any_holds(tags[tag_id].members, address)
        case CidrSelector(prefix=prefix):
            return _any_holds([prefix], address)
        case AllSelector():
            return True


def _speaks_of(rule: FirewallRule, packet: Packet) -> bool:
    match rule.protocol:
        case FirewallProtocol.ANY:
            return True
        case FirewallProtocol.TCP:
            return packet.protocol == TCP and _has_port(rule, packet)
        case FirewallProtocol.UDP:
            return packet.protocol == UDP and _has_port(rule, packet)
        case FirewallProtocol.ICMP6:
            return packet.protocol == ICMP6 and packet.source.version == 6


def _has_port(rule: FirewallRule, packet: Packet) -> bool:
    if rule.port_range is None:
        return True
    return packet.port is not None and rule.port_range.first <= packet.port <= rule.port_range.last


def _any_holds(prefixes: Iterable[Prefix], address: Address) -> bool:
    return any(prefix.version == address.version and address in prefix for prefix in prefixes)
