"""Firewall rules, tags and policies as a node holds them (runbook, phase 5).

A rule is about packets that cross the overlay link of its network: ingress is what arrives by it (to
the node, or through it to a LAN or another peer), egress what leaves by it. Of all rules of a direction
the first that matches decides: `order` is peer > tag > cidr > all, then priority, then age. A selector
that names nothing (an empty or unknown tag, a peer that is gone) matches nothing, never anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Network
from typing import Final, NewType

from powernode_agent.model.checks import check_id, check_name, check_routable, raise_if
from powernode_agent.model.values import NetworkId, PeerId, Prefix
from powernode_agent.model.violation import Violation, violation

FirewallRuleId = NewType("FirewallRuleId", str)
FirewallTagId = NewType("FirewallTagId", str)

MAX_RULES: Final = 20_000
"""Rules on one network. Twice what the bench promises; beyond it a node would spend seconds and
hundreds of megabytes on one transaction, and a hundred thousand rules are a runaway generator."""
MAX_TAG_MEMBERS: Final = 100_000
"""Prefixes of one tag, for the same reason: the kernel keeps each in memory that is not swapped."""
MAX_PRIORITY: Final = 2**31 - 1


class FirewallAction(Enum):
    ACCEPT = "accept"
    DROP = "drop"
    REJECT = "reject"


class FirewallDirection(Enum):
    INGRESS = "ingress"
    EGRESS = "egress"
    BOTH = "both"


class FirewallProtocol(Enum):
    ANY = "any"
    TCP = "tcp"
    UDP = "udp"
    ICMP6 = "icmp6"

    @property
    def has_ports(self) -> bool:
        """Whether a port range makes sense with it."""
        return self in (FirewallProtocol.TCP, FirewallProtocol.UDP)


@dataclass(frozen=True, slots=True)
class FirewallPolicy:
    """What happens to packets that no rule matches."""

    ingress: FirewallAction = FirewallAction.ACCEPT
    egress: FirewallAction = FirewallAction.ACCEPT


ACCEPT_ALL: Final = FirewallPolicy()
"""The policy of a network that was given none."""


@dataclass(frozen=True, slots=True)
class PortRange:
    """Destination ports, both ends included."""

    first: int
    last: int

    def __str__(self) -> str:
        return str(self.first) if self.first == self.last else f"{self.first}-{self.last}"


@dataclass(frozen=True, slots=True)
class PeerSelector:
    """A peer by id; `prefixes` are its host addresses and LANs, none: it is gone, matches nothing."""

    peer_id: PeerId
    prefixes: tuple[Prefix, ...]


@dataclass(frozen=True, slots=True)
class TagSelector:
    """The members of a tag; a tag that the network does not have has none."""

    tag_id: FirewallTagId


@dataclass(frozen=True, slots=True)
class CidrSelector:
    """A prefix."""

    prefix: Prefix


@dataclass(frozen=True, slots=True)
class AllSelector:
    """Everyone."""


FirewallSelector = PeerSelector | TagSelector | CidrSelector | AllSelector

_TIERS: Final[dict[type, int]] = {PeerSelector: 0, TagSelector: 1, CidrSelector: 2, AllSelector: 3}


def check_rule_count(found: list[Violation], network: str, count: int) -> None:
    """Notes more rules on one network than a node takes. Asked for by `wire` too, before it spends
    anything on decoding them."""
    if count > MAX_RULES:
        found.append(violation(network, "firewall_rules", count, f"at most {MAX_RULES}"))


def check_member_count(found: list[Violation], tag: str, count: int) -> None:
    """Notes more members of one tag than a node takes; before they are decoded, as above."""
    if count > MAX_TAG_MEMBERS:
        found.append(violation(tag, "members", count, f"at most {MAX_TAG_MEMBERS}"))


@dataclass(frozen=True, slots=True)
class FirewallTag:
    """A named group of prefixes."""

    id: FirewallTagId
    network_id: NetworkId
    name: str
    members: frozenset[Prefix] = frozenset()

    def __post_init__(self) -> None:
        found: list[Violation] = []
        which = str(self)
        check_id(found, which, "id", self.id)
        check_id(found, which, "network_id", self.network_id)
        check_name(found, which, self.name)
        check_member_count(found, which, len(self.members))
        raise_if(found)

    def __str__(self) -> str:
        return f"firewall tag {self.name} ({self.id})"


@dataclass(frozen=True, slots=True)
class FirewallRule:
    """One rule. `port_range` None: every port; `destinations` empty: all that is behind this node.

    `created_at_ms`: when it was made, milliseconds since the epoch.
    """

    id: FirewallRuleId
    network_id: NetworkId
    direction: FirewallDirection
    action: FirewallAction
    selector: FirewallSelector
    protocol: FirewallProtocol
    created_at_ms: int
    port_range: PortRange | None = None
    priority: int = 0
    destinations: tuple[Prefix, ...] = ()

    def __post_init__(self) -> None:
        found: list[Violation] = []
        which = str(self)
        check_id(found, which, "id", self.id)
        check_id(found, which, "network_id", self.network_id)
        if self.created_at_ms < 1:
            found.append(
                violation(
                    which, "created_at_ms", self.created_at_ms, "milliseconds since the epoch"
                )
            )
        if not -MAX_PRIORITY - 1 <= self.priority <= MAX_PRIORITY:
            found.append(violation(which, "priority", self.priority, "a 32-bit integer"))
        self._check_ports(found, which)
        self._check_selector(found, which)
        if self.destinations and self.direction is not FirewallDirection.INGRESS:
            found.append(
                violation(
                    which,
                    "destination_prefixes",
                    ", ".join(map(str, self.destinations)),
                    f"none with direction {self.direction.value}",
                )
            )
        raise_if(found)

    def _check_ports(self, found: list[Violation], which: str) -> None:
        ports = self.port_range
        if ports is None:
            return
        if not self.protocol.has_ports:
            found.append(
                violation(which, "port_range", ports, f"none with protocol {self.protocol.value}")
            )
        if not 1 <= ports.first <= 65535:
            found.append(violation(which, "port_range.first", ports.first, "1 to 65535"))
        if not 1 <= ports.last <= 65535:
            found.append(violation(which, "port_range.last", ports.last, "1 to 65535"))
        elif 1 <= ports.first <= 65535 and ports.last < ports.first:
            found.append(violation(which, "port_range.last", ports.last, f"{ports.first} or more"))

    def _check_selector(self, found: list[Violation], which: str) -> None:
        match self.selector:
            case PeerSelector(peer_id=peer_id):
                check_id(found, which, "selector.peer_id", peer_id)
            case TagSelector(tag_id=tag_id):
                check_id(found, which, "selector.tag_id", tag_id)
            case CidrSelector(prefix=prefix):
                check_routable(found, which, "selector.cidr", prefix)
                if self.protocol is FirewallProtocol.ICMP6 and isinstance(prefix, IPv4Network):
                    found.append(
                        violation(
                            which, "selector.cidr", prefix, "an IPv6 prefix with protocol icmp6"
                        )
                    )

    def __str__(self) -> str:
        return f"firewall rule {self.id}"

    @property
    def order(self) -> tuple[int, int, int, str]:
        """Sort key: of the rules that match a packet the one with the lowest decides (runbook, phase
        5: more specific selectors win). The id makes it total, so that all nodes agree."""
        return (_TIERS[type(self.selector)], self.priority, self.created_at_ms, self.id)
