"""What an operator wants of one network's firewall and port mappings, as plain frozen values.

Rules and mappings name peers, tags and virtual IPs by id and may outlive them. What such a name stands
for is worked out by the compiler; one that stands for nothing matches nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final


class Part(Enum):
    """The parts of a filter that change one at a time."""

    POLICY = "policy"
    RULE = "rule"
    TAG = "tag"
    PORT_MAPPING = "port_mapping"


@dataclass(frozen=True, slots=True)
class Touched:
    """A part of a network's filter whose rows changed. `id` is empty for the policy."""

    network_id: str
    part: Part
    id: str = ""


class FilterAction(Enum):
    """What is done with a packet."""

    ACCEPT = "accept"
    DROP = "drop"
    REJECT = "reject"


class Direction(Enum):
    """Which way, as seen from the node that holds the rule."""

    INGRESS = "ingress"
    EGRESS = "egress"
    BOTH = "both"


class Protocol(Enum):
    """The runbook's protocols of a rule."""

    ANY = "any"
    TCP = "tcp"
    UDP = "udp"
    ICMP6 = "icmp6"


class MappingProtocol(Enum):
    """Protocols of a port mapping."""

    TCP = "tcp"
    UDP = "udp"


@dataclass(frozen=True, slots=True)
class OnePeer:
    """A peer of the network, by id."""

    peer_id: str


@dataclass(frozen=True, slots=True)
class OneTag:
    """The members of a tag of the network, by id."""

    tag_id: str


@dataclass(frozen=True, slots=True)
class OnePrefix:
    """A prefix, IPv6 or IPv4."""

    cidr: str


@dataclass(frozen=True, slots=True)
class Everyone:
    """Everyone on the network."""


Selector = OnePeer | OneTag | OnePrefix | Everyone


@dataclass(frozen=True, slots=True)
class ToVirtualIp:
    """What goes to one virtual IP, by id."""

    virtual_ip_id: str


@dataclass(frozen=True, slots=True)
class ToPrefix:
    """What goes into one prefix."""

    prefix: str


Destination = ToVirtualIp | ToPrefix


@dataclass(frozen=True, slots=True)
class Policy:
    """What happens to packets that no rule matches."""

    ingress: FilterAction = FilterAction.ACCEPT
    egress: FilterAction = FilterAction.ACCEPT


@dataclass(frozen=True, slots=True)
class RuleIntent:
    """One rule. `ports` None: every port; `destination` None: all that is behind the node.

    `created_at_ms`: milliseconds since the epoch, later than that of any older rule of the network.
    """

    id: str
    direction: Direction
    action: FilterAction
    selector: Selector
    protocol: Protocol
    ports: tuple[int, int] | None
    priority: int
    destination: Destination | None
    created_at_ms: int


@dataclass(frozen=True, slots=True)
class TagIntent:
    """A tag: the peers (by id) and the free prefixes that are its members."""

    id: str
    name: str
    peers: frozenset[str]
    prefixes: frozenset[str]


@dataclass(frozen=True, slots=True)
class MappingIntent:
    """One port mapping. `target` is what it leads to; `hub_peer_id` the hub that serves it."""

    id: str
    hub_peer_id: str
    external_address: str
    external_port: int
    protocol: MappingProtocol
    target: OnePeer | ToVirtualIp
    internal_port: int


@dataclass(frozen=True, slots=True)
class FilterIntent:
    """Firewall and port mappings of one network. `virtual_ips` are (id, address) of all it has."""

    policy: Policy = Policy()
    rules: tuple[RuleIntent, ...] = ()
    tags: tuple[TagIntent, ...] = ()
    mappings: tuple[MappingIntent, ...] = ()
    virtual_ips: tuple[tuple[str, str], ...] = ()


NO_FILTER: Final = FilterIntent()
"""No rules, and everything is accepted."""
