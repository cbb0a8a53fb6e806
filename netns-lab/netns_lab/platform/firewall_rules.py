"""What may be said of a firewall rule: one set of rules for creating and updating.

A breach is an `ActionError` with the field and the rule, raised before anything is written. What
could never match, such as ICMPv6 from an IPv4 prefix, is refused here: on a node it would be a rule
that looks like protection and is none.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Network, ip_network
from typing import Annotated, Final, Literal

from pydantic import Field
from sqlalchemy import func, select

from netns_lab.platform import prefixes
from netns_lab.platform.context import Context
from netns_lab.platform.device_tables import UserDevice
from netns_lab.platform.errors import ActionError
from netns_lab.platform.filter_intent import (
    Destination,
    Direction,
    Everyone,
    OnePeer,
    OnePrefix,
    OneTag,
    Protocol,
    RuleIntent,
    Selector,
    ToPrefix,
    ToVirtualIp,
)
from netns_lab.platform.firewall_tags import tag_named
from netns_lab.platform.phase1_networks import Name
from netns_lab.platform.registry import Arguments
from netns_lab.platform.tables import FirewallRuleRow, Network, VirtualIp

MAX_RULES: Final = 20_000
"""On one network: what an agent takes. More is a generator that ran away."""
MAX_PRIORITY: Final = 2**31 - 1

Priority = Annotated[int, Field(ge=-MAX_PRIORITY - 1, le=MAX_PRIORITY)]
DirectionName = Literal["ingress", "egress", "both"]
ActionName = Literal["accept", "drop", "reject"]
ProtocolName = Literal["any", "tcp", "udp", "icmp6"]

_PORT: Final = re.compile(r"0|[1-9][0-9]{0,9}")
"""What int() takes besides (blanks, underscores, digits of other scripts) is no port."""
_MEMBERS: Final = {"peer": "peer_id", "tag": "tag", "cidr": "cidr", "all": None}


class SelectorArguments(Arguments):
    """The runbook's selector: `kind`, and the one member that goes with it."""

    kind: Literal["peer", "tag", "cidr", "all"]
    peer_id: str | None = None
    tag: Name | None = None
    cidr: str | None = None


def selector(context: Context, network: Network, given: SelectorArguments) -> Selector:
    """The selector; a tag that the network does not have is made. Raises `ActionError`."""
    wanted = _MEMBERS[given.kind]
    for member, value in (("peer_id", given.peer_id), ("tag", given.tag), ("cidr", given.cidr)):
        if (value is None) == (member == wanted):
            rule = "is required" if value is None else "must be left out"
            raise ActionError(f"selector.{member}", f"{rule} with kind {given.kind!r}")
    if given.peer_id is not None:
        device = context.session.get(UserDevice, given.peer_id)
        if device is not None and device.network_id == network.id and device.revoked_at is None:
            return OnePeer(device.id)
        peer = context.peer(given.peer_id, "selector.peer_id")
        if peer.network_id != network.id:
            raise ActionError(
                "selector.peer_id",
                f"must be a peer of network {network.name}; {peer.node.name} ({peer.id}) is on"
                f" network {peer.network.name}",
            )
        return OnePeer(peer.id)
    if given.tag is not None:
        return OneTag(tag_named(context, network, given.tag).id)
    if given.cidr is not None:
        return OnePrefix(str(prefixes.parse_selected("selector.cidr", given.cidr)))
    return Everyone()


def port_range(text: str | None) -> tuple[int, int] | None:
    """First and last port of "8443" or "8443-8480"; None: every port. Raises `ActionError`."""
    if text is None:
        return None
    ends = text.split("-")
    if len(ends) > 2 or not all(map(_PORT.fullmatch, ends)):
        raise ActionError(
            "port_range", f"must be a port or a range, such as '8443' or '8443-8480', got {text!r}"
        )
    first, last = int(ends[0]), int(ends[-1])
    if not (1 <= first <= 65535 and 1 <= last <= 65535):
        raise ActionError("port_range", f"must be ports from 1 to 65535, got {text!r}")
    if last < first:
        raise ActionError("port_range", f"must not end before it begins, got {text!r}")
    return first, last


def destination(context: Context, network: Network, text: str | None) -> Destination | None:
    """A virtual IP of the network by id, or a prefix; None: all that is behind the node. Raises
    `ActionError`."""
    if text is None:
        return None
    if "/" in text:
        return ToPrefix(str(prefixes.parse_selected("destination", text)))
    virtual_ip = context.session.get(VirtualIp, text)
    if virtual_ip is None or virtual_ip.network_id != network.id:
        raise ActionError(
            "destination",
            f"must be a prefix or the id of a virtual IP of network {network.name}, got {text!r}",
        )
    return ToVirtualIp(virtual_ip.id)


def check(context: Context, rule: RuleIntent) -> None:
    """Refuses a rule whose parts do not go together. Raises `ActionError`."""
    if rule.ports is not None and rule.protocol not in (Protocol.TCP, Protocol.UDP):
        raise ActionError(
            "port_range", f"must be left out with protocol {rule.protocol.value!r}, not tcp or udp"
        )
    if rule.destination is not None and rule.direction is not Direction.INGRESS:
        raise ActionError(
            "destination", f"must be left out with direction {rule.direction.value!r}, not ingress"
        )
    source = rule.selector.cidr if isinstance(rule.selector, OnePrefix) else None
    target = _destination_prefix(context, rule.destination)
    for field, prefix in (("selector.cidr", source), ("destination", target)):
        ipv4 = prefix is not None and isinstance(ip_network(prefix), IPv4Network)
        if ipv4 and rule.protocol is Protocol.ICMP6:
            raise ActionError(field, f"must be IPv6 with protocol 'icmp6', got {prefix}")
    if source and target and ip_network(source).version != ip_network(target).version:
        raise ActionError("destination", f"must be of the family of {source}, got {target}")


def check_room(context: Context, network: Network) -> None:
    """Refuses one rule more on a network that is full. Raises `ActionError`."""
    count = context.session.scalar(
        select(func.count())
        .select_from(FirewallRuleRow)
        .where(FirewallRuleRow.network_id == network.id)
    )
    if (count or 0) >= MAX_RULES:
        raise ActionError(
            "network_id", f"must have fewer than {MAX_RULES} firewall rules; {network.name} is full"
        )


def next_age(context: Context, network: Network) -> int:
    """Milliseconds since the epoch, later than any rule of the network: age decides between rules, also
    between two that were made in the same millisecond or before the clock was set back."""
    newest = context.session.scalar(
        select(func.max(FirewallRuleRow.created_at_ms)).where(
            FirewallRuleRow.network_id == network.id
        )
    )
    return max(int(context.now * 1000), (newest or 0) + 1)


def _destination_prefix(context: Context, target: Destination | None) -> str | None:
    match target:
        case ToPrefix(prefix=prefix):
            return prefix
        case ToVirtualIp(virtual_ip_id=id_):
            row = context.session.get(VirtualIp, id_)
            return None if row is None else row.address
        case None:
            return None
